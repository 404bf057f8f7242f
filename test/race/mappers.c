/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mappers that check what they show, under random programs that run at the same time.
 *
 *   race_mappers [--seeds N] [--seed S] [--steps N] [--free] [--bug NAME] [--trace]
 *
 * Threads map chunks of a few files in a pool that has pieces for about half of them, load and store
 * there, read and write the files, and take bytes away in every way; the ledger (ledger.h) says of each
 * load whether it may be. Some doors can revoke, one cannot. After each round, when all have stopped,
 * every slot must show what the file reads, and at the end of a seed no block may be lost.
 *
 * Threads hand on a baton (baton.h), so a seed shows the same again. --free: they run as they like.
 *
 * --bug puts in what must be found: no-revoke (a mapper says it has and has not), early-release (the
 * fault lets its range go before the slot shows the chunk), no-zeroing (what is to be zero is not).
 *
 * Exit status: 0 nothing is wrong, 1 something is, with what shows it again; 2 it could not run.
 */
#include "baton.h"
#include "ledger.h"
#include "window.h"

#include "dax/range_lock.h"
#include "engine.h"
#include "media/persist.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <malloc.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#define POOL_SIZE (40u << 20)
#define FILES 3u
#define CHUNKS 4u /* of a file, about */
#define SIZE_MAX_BYTES (6 * DAX_CHUNK_SIZE)
#define THREADS 4u
#define DOORS 3u
#define SLOTS_EACH 3u /* of a thread in a door */
#define ROUND 400u    /* steps of a thread between two looks at everything */
#define SEAM_ODDS 6

enum bug { NO_BUG, NO_REVOKE, EARLY_RELEASE, NO_ZEROING };

static const char *const bug_names[] = { "none", "no-revoke", "early-release", "no-zeroing" };

struct file {
    struct ledger_file *ledger;
    struct fs_handle *handle;
    uint64_t number; /* in its name */
    unsigned users;
};

/* Of one thread, or of the look at everything. */
struct slot {
    struct ledger_file *file; /* NULL: empty */
    struct file *open;        /* NULL: only the mapping keeps the inode */
    uint64_t ino, chunk;
    bool write;
};

struct worker {
    pthread_t thread;
    unsigned index;
    uint64_t state, steps;
    struct slot slot[DOORS][SLOTS_EACH];
};

static struct image image;
static struct fs *fs;
static const struct fs_request rq = { .in_group = true };
static struct window windows[DOORS];
static struct worker workers[THREADS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct file *files[FILES];
static uint64_t names, seed = 1, steps_done;
static enum bug bug;
static bool baton = true;

static _Noreturn void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void violation(const char *format, ...)
{
    va_list arguments;

    printf("seed %llu, step %llu: ", (unsigned long long)seed, (unsigned long long)steps_done);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\nagain: race_mappers --seed %llu%s%s%s\n", (unsigned long long)seed,
           bug ? " --bug " : "", bug ? bug_names[bug] : "", baton ? "" : " --free");
    fflush(stdout);
    _exit(1);
}

static uint64_t draw(struct worker *worker, uint64_t below)
{
    worker->state ^= worker->state << 13;
    worker->state ^= worker->state >> 7;
    worker->state ^= worker->state << 17;
    return (worker->state >> 11) % below;
}

static void check(const char *what, int64_t r, const int *may)
{
    if (r >= 0)
        return;
    for (; *may; may++)
        if (r == -*may)
            return;
    violation("%s: %s", what, strerror((int)-r));
}

#define MAY(...) ((const int[]){ __VA_ARGS__, 0 })

/* ---- the bugs, put in where the linker lets them (meson.build) ------------------------------------- */

static _Thread_local struct {
    struct range_lock *lock;
    struct range_node *node;
    uint64_t start, end, inode;
} last_range;

int __real_range_lock_acquire(struct range_lock *rl, struct range_node *node, uint64_t start,
                              uint64_t end, enum range_mode mode, uint64_t inode,
                              const struct lock_wait *wait);
int __wrap_range_lock_acquire(struct range_lock *rl, struct range_node *node, uint64_t start,
                              uint64_t end, enum range_mode mode, uint64_t inode,
                              const struct lock_wait *wait);
int __real_dax_show(struct dax_registry *registry, struct mapping *mapping, uint64_t offset,
                    bool write, dax_gone_fn gone, void *arg);
int __wrap_dax_show(struct dax_registry *registry, struct mapping *mapping, uint64_t offset,
                    bool write, dax_gone_fn gone, void *arg);
void __real_persist_set(struct persist *persist, void *to, int value, size_t length,
                        enum persist_class what);
void __wrap_persist_set(struct persist *persist, void *to, int value, size_t length,
                        enum persist_class what);

int __wrap_range_lock_acquire(struct range_lock *rl, struct range_node *node, uint64_t start,
                              uint64_t end, enum range_mode mode, uint64_t inode,
                              const struct lock_wait *wait)
{
    last_range.lock = rl;
    last_range.node = node;
    last_range.start = start;
    last_range.end = end;
    last_range.inode = inode;
    return __real_range_lock_acquire(rl, node, start, end, mode, inode, wait);
}

int __wrap_dax_show(struct dax_registry *registry, struct mapping *mapping, uint64_t offset,
                    bool write, dax_gone_fn gone, void *arg)
{
    int r;

    if (bug == EARLY_RELEASE)
        range_lock_release(last_range.lock, last_range.node);
    r = __real_dax_show(registry, mapping, offset, write, gone, arg);
    if (bug == EARLY_RELEASE)
        __real_range_lock_acquire(last_range.lock, last_range.node, last_range.start,
                                  last_range.end, RANGE_SHARED, last_range.inode, NULL);
    return r;
}

void __wrap_persist_set(struct persist *persist, void *to, int value, size_t length,
                        enum persist_class what)
{
    if (bug != NO_ZEROING || what != PERSIST_DATA)
        __real_persist_set(persist, to, value, length, what);
}

/* ---- files ---------------------------------------------------------------------------------------- */

static struct fs_name name_of(uint64_t number, char room[24])
{
    snprintf(room, 24, "%llu", (unsigned long long)number);
    return fs_name(room);
}

/* NULL: no space. */
static struct file *make_file(void)
{
    struct file *file = calloc(1, sizeof(*file));
    struct fs_attr attr;
    char room[24];
    int r;

    if (!file || !(file->ledger = ledger_file_new(0)))
        err(2, "memory");
    pthread_mutex_lock(&mutex);
    file->number = names++;
    pthread_mutex_unlock(&mutex);
    file->users = 1;
    r = fs_create(fs, &rq, 1, name_of(file->number, room), 0644, O_RDWR | O_EXCL, &attr,
                  &file->handle);
    check("create", r, MAY(ENOSPC));
    if (r < 0) {
        ledger_file_put(file->ledger);
        free(file);
        return NULL;
    }
    fs_forget(fs, attr.ino, 1);
    return file;
}

static struct file *use_file(struct file *file)
{
    pthread_mutex_lock(&mutex);
    file->users++;
    pthread_mutex_unlock(&mutex);
    return file;
}

static struct file *get_file(unsigned index)
{
    struct file *file;

    pthread_mutex_lock(&mutex);
    file = files[index];
    file->users++;
    pthread_mutex_unlock(&mutex);
    return file;
}

static void put_file(struct file *file)
{
    unsigned left;

    pthread_mutex_lock(&mutex);
    left = --file->users;
    pthread_mutex_unlock(&mutex);
    if (left)
        return;
    fs_release(fs, file->handle);
    ledger_file_put(file->ledger);
    free(file);
}

static void unlink_file(const struct file *file)
{
    char room[24];
    int r = fs_unlink(fs, &rq, 1, name_of(file->number, room));

    if (r < 0)
        violation("unlink: %s", strerror(-r));
}

/* ---- places ---------------------------------------------------------------------------------------- */

static uint64_t place_in_chunk(struct worker *worker)
{
    static const uint16_t hot[] = { 0, 1, 255, 511 };

    return hot[draw(worker, 4)];
}

static uint64_t place(struct worker *worker)
{
    return (draw(worker, CHUNKS) * 512 + place_in_chunk(worker)) * LEDGER_BLOCK;
}

/* A byte where a range may begin or end, now and then within a block. */
static uint64_t edge(struct worker *worker)
{
    static const uint16_t within[] = { 0, 0, 0, 1024, 3072, 4095 };

    return place(worker) + within[draw(worker, 6)];
}

/* ---- steps ---------------------------------------------------------------------------------------- */

static struct slot *random_slot(struct worker *worker, unsigned *ret_door, uint64_t *ret_number)
{
    unsigned door = (unsigned)draw(worker, 2 * DOORS - 1) / 2,
             at = (unsigned)draw(worker, SLOTS_EACH);

    *ret_door = door;
    *ret_number = worker->index * SLOTS_EACH + at;
    return &worker->slot[door][at];
}

static void empty_slot(struct slot *slot)
{
    ledger_file_put(slot->file);
    if (slot->open)
        put_file(slot->open);
    slot->open = NULL;
    slot->file = NULL;
}

static void step_unmap(unsigned door, uint64_t number, struct slot *slot)
{
    struct call call = { .kind = CALL_UNMAP,
                         .file = slot->file,
                         .from = slot->chunk << DAX_CHUNK_SHIFT,
                         .to = (slot->chunk + 1) << DAX_CHUNK_SHIFT };
    int r;

    ledger_begin(&call);
    r = fs_unmap(fs, &rq, &windows[door].door, number);
    ledger_end(&call, r);
    check("unmap", r, MAY(ENOENT));
    empty_slot(slot);
}

static void step_fault(struct worker *worker, struct file *file)
{
    unsigned door;
    uint64_t number, ino = fs_handle_ino(file->handle);
    struct slot *slot = random_slot(worker, &door, &number);
    bool write = draw(worker, 3) > 0;
    uint64_t chunk = draw(worker, CHUNKS);
    struct call call = { .kind = CALL_FAULT };
    int r;

    /* Again what it shows, or something else. */
    if (slot->open && draw(worker, 2)) {
        chunk = slot->chunk;
        ino = slot->ino;
        call.file = slot->file;
    } else {
        if (slot->file)
            step_unmap(door, number, slot);
        call.file = file->ledger;
    }
    call.from = chunk << DAX_CHUNK_SHIFT;
    call.to = call.from + DAX_CHUNK_SIZE;
    ledger_begin(&call);
    r = fs_fault(fs, &rq, &windows[door].door, ino, call.from, number, write);
    ledger_end(&call, r);
    check("fault", r, MAY(ENXIO, ENOSPC));
    if (r < 0)
        return;
    if (!slot->file) {
        slot->file = ledger_file_ref(call.file);
        slot->open = draw(worker, 4) ? use_file(file) : NULL;
        slot->write = false;
    }
    slot->ino = ino;
    slot->chunk = chunk;
    slot->write |= write;
}

static void step_touch(struct worker *worker, bool store)
{
    unsigned door;
    uint64_t number, stamp, block = place_in_chunk(worker);
    struct slot *slot = random_slot(worker, &door, &number);
    struct call call = { .kind = store ? CALL_STORE : CALL_LOAD, .file = slot->file };
    const char *why;

    if (!slot->file || (store && !slot->write))
        return;
    call.from = (slot->chunk * 512 + block) * LEDGER_BLOCK;
    call.to = call.from + LEDGER_BLOCK;
    block = block * LEDGER_BLOCK + LEDGER_STAMP_AT;
    ledger_begin(&call);
    if (store) {
        stamp = ledger_stamp(&call);
        ledger_end(&call,
                   window_store(&windows[door], number, block, &stamp, sizeof(stamp)) ? 0 : -1);
        return;
    }
    if (!window_load(&windows[door], number, block, &stamp, sizeof(stamp))) {
        ledger_end(&call, -1);
        return;
    }
    why = ledger_saw(&call, stamp);
    if (why)
        violation("load through %s, chunk %llu, block %llu: %s: %llx", windows[door].door.name,
                  (unsigned long long)slot->chunk, (unsigned long long)(block / LEDGER_BLOCK), why,
                  (unsigned long long)stamp);
}

static void step_read(struct worker *worker, struct file *file)
{
    uint64_t from = place(worker), stamp;
    struct call call = {
        .kind = CALL_READ, .file = file->ledger, .from = from, .to = from + LEDGER_BLOCK
    };
    const char *why;
    ssize_t r;

    ledger_begin(&call);
    r = fs_pread(fs, &rq, file->handle, &stamp, sizeof(stamp), from + LEDGER_STAMP_AT);
    check("read", r, MAY(ENXIO));
    if (r != sizeof(stamp)) {
        ledger_end(&call, -1);
        return;
    }
    why = ledger_saw(&call, stamp);
    if (why)
        violation("read of block %llu: %s: %llx", (unsigned long long)(from / LEDGER_BLOCK), why,
                  (unsigned long long)stamp);
}

static void step_write(struct worker *worker, struct file *file)
{
    uint64_t from = place(worker), stamp;
    struct call call = { .kind = CALL_WRITE,
                         .file = file->ledger,
                         .from = from,
                         .to = from + LEDGER_STAMP_AT + sizeof(stamp) };
    ssize_t r;

    ledger_begin(&call);
    stamp = ledger_stamp(&call);
    r = fs_pwrite(fs, &rq, file->handle, &stamp, sizeof(stamp), from + LEDGER_STAMP_AT);
    ledger_end(&call, r);
    check("write", r, MAY(ENOSPC));
}

static void step_truncate(struct worker *worker, struct file *file)
{
    uint64_t size = edge(worker), before = ledger_size(file->ledger);
    struct call call = { .kind = size < before ? CALL_CUT : CALL_GROW,
                         .file = file->ledger,
                         .from = size < before ? size : before,
                         .to = size < before ? SIZE_MAX_BYTES : size };
    struct fs_attr attr = { .size = size }, after;
    int r;

    ledger_begin(&call);
    r = fs_setattr(fs, &rq, fs_handle_ino(file->handle), &attr, FS_SET_SIZE, &after);
    ledger_end(&call, r);
    check("truncate", r, MAY(ENOSPC));
}

static void step_fallocate(struct worker *worker, struct file *file, enum call_kind kind)
{
    uint64_t from = edge(worker), to = edge(worker);
    struct call call = { .kind = kind, .file = file->ledger, .keep = draw(worker, 2) };
    int mode = call.keep ? FALLOC_FL_KEEP_SIZE : 0, r;

    call.from = from < to ? from : to;
    call.to = (from < to ? to : from) + 1024;
    if (kind == CALL_PUNCH) {
        call.keep = true;
        mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    } else if (kind == CALL_ZERO) {
        mode |= FALLOC_FL_ZERO_RANGE;
    }
    ledger_begin(&call);
    r = fs_fallocate(fs, &rq, file->handle, mode, call.from, call.to - call.from);
    ledger_end(&call, r);
    check("fallocate", r, MAY(ENOSPC));
}

static void step_shift(struct worker *worker, struct file *file, bool collapse)
{
    static const uint16_t counts[] = { 512, 512, 256, 1 };
    uint64_t from = place(worker), length = counts[draw(worker, 4)] * (uint64_t)LEDGER_BLOCK;
    struct call call = { .kind = collapse ? CALL_COLLAPSE : CALL_INSERT,
                         .file = file->ledger,
                         .from = from,
                         .to = from + length };
    int r;

    if (!collapse && ledger_size(file->ledger) + length > SIZE_MAX_BYTES)
        return;
    ledger_begin(&call);
    r = fs_fallocate(fs, &rq, file->handle,
                     collapse ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE, from, length);
    ledger_end(&call, r);
    check(collapse ? "collapse" : "insert", r, MAY(EINVAL, EBUSY, ENOSPC));
}

static void step_unlink(struct worker *worker)
{
    unsigned index = (unsigned)draw(worker, FILES);
    struct file *fresh = make_file(), *file;
    struct call call = { .kind = CALL_UNLINK };

    if (!fresh)
        return;
    pthread_mutex_lock(&mutex);
    file = files[index];
    files[index] = fresh;
    pthread_mutex_unlock(&mutex);
    call.file = ledger_file_ref(file->ledger);
    call.to = SIZE_MAX_BYTES;
    ledger_begin(&call);
    unlink_file(file);
    put_file(file);
    ledger_end(&call, 0);
    ledger_file_put(call.file);
}

static void step(struct worker *worker)
{
    struct file *file = get_file((unsigned)draw(worker, FILES));
    uint64_t what = draw(worker, 1000);
    unsigned door;
    uint64_t number;
    struct slot *slot;

    if (what < 240)
        step_touch(worker, false);
    else if (what < 380)
        step_touch(worker, true);
    else if (what < 460)
        step_read(worker, file);
    else if (what < 540)
        step_write(worker, file);
    else if (what < 720)
        step_fault(worker, file);
    else if (what < 820 && (slot = random_slot(worker, &door, &number))->file)
        step_unmap(door, number, slot);
    else if (what < 850)
        step_fallocate(worker, file, CALL_PUNCH);
    else if (what < 870)
        step_fallocate(worker, file, CALL_ZERO);
    else if (what < 880)
        step_fallocate(worker, file, CALL_ALLOCATE);
    else if (what < 925)
        step_truncate(worker, file);
    else if (what < 950)
        step_shift(worker, file, true);
    else if (what < 975)
        step_shift(worker, file, false);
    else
        step_unlink(worker);
    put_file(file);
}

static void *work(void *arg)
{
    struct worker *worker = arg;

    for (unsigned i = 0; i < ROUND; i++)
        step(worker);
    return NULL;
}

/* ---- all have stopped ------------------------------------------------------------------------------ */

struct find {
    uint64_t offset, pool_offset;
};

static int find_extent(void *arg, const struct fs_extent *extent)
{
    struct find *find = arg;

    if (find->offset >= extent->offset && find->offset < extent->offset + extent->length)
        find->pool_offset = extent->pool_offset + (find->offset - extent->offset);
    return 0;
}

static void look_at_slot(unsigned door, uint64_t number, const struct slot *slot)
{
    struct find find = { .offset = slot->chunk << DAX_CHUNK_SHIFT };
    const uint8_t *at = window_at(&windows[door], number, 0);
    int r;

    if (!at || window_shows_zeros(&windows[door], number))
        return;
    r = fs_extents(fs, &rq, slot->ino, find_extent, &find);
    if (r < 0)
        violation("extents: %s", strerror(-r));
    if (at != (const uint8_t *)pool_at(image.pool, find.pool_offset))
        violation("slot %llu of %s shows another piece than the file has",
                  (unsigned long long)number, windows[door].door.name);
}

static void look_at_file(const struct file *file)
{
    uint64_t ino = fs_handle_ino(file->handle);
    struct fs_attr attr;
    int r = fs_getattr(fs, &rq, ino, &attr);

    if (r < 0)
        violation("getattr: %s", strerror(-r));
    ledger_quiet(file->ledger, attr.size);
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned i = 0; i < DOORS * SLOTS_EACH; i++) {
            const struct slot *slot = &workers[t].slot[i / SLOTS_EACH][i % SLOTS_EACH];
            const uint8_t *at;
            uint64_t stamp;

            if (slot->file != file->ledger)
                continue;
            at = window_at(&windows[i / SLOTS_EACH], t * SLOTS_EACH + i % SLOTS_EACH, 0);
            for (uint64_t b = 0; at && b < 512; b++) {
                uint64_t offset = b * LEDGER_BLOCK + LEDGER_STAMP_AT;

                if (fs_pread(fs, &rq, file->handle, &stamp, sizeof(stamp),
                             (slot->chunk << DAX_CHUNK_SHIFT) + offset) == sizeof(stamp) &&
                    memcmp(&stamp, at + offset, sizeof(stamp)) != 0)
                    violation("block %llu of chunk %llu reads %llx, and is shown otherwise",
                              (unsigned long long)b, (unsigned long long)slot->chunk,
                              (unsigned long long)stamp);
            }
        }
}

static void look_at_all(void)
{
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned i = 0; i < DOORS * SLOTS_EACH; i++)
            if (workers[t].slot[i / SLOTS_EACH][i % SLOTS_EACH].file)
                look_at_slot(i / SLOTS_EACH, t * SLOTS_EACH + i % SLOTS_EACH,
                             &workers[t].slot[i / SLOTS_EACH][i % SLOTS_EACH]);
    for (unsigned i = 0; i < FILES; i++)
        look_at_file(files[i]);
}

/* ---- a seed ---------------------------------------------------------------------------------------- */

static void say_call(struct window *window, enum window_call call, uint64_t slot, uint64_t offset)
{
    static const char *const kinds[] = { "map", "map zeros", "unmap", "revoke" };

    if (ledger_trace)
        fprintf(stderr, "         %s slot %llu: %s %llx\n", window->door.name,
                (unsigned long long)slot, kinds[call], (unsigned long long)offset);
}

static void set_up(void)
{
    image_create(&image, POOL_SIZE, true);
    fs = image.fs;
    for (unsigned i = 0; i < DOORS; i++) {
        window_init(&windows[i], image.pool, i < 2 ? "revocable" : "fixed", i < 2);
        windows[i].on_call = say_call;
        windows[i].forgets[WINDOW_REVOKE] = bug == NO_REVOKE;
        if (fs_door_add(fs, &windows[i].door) < 0)
            err(2, "door");
    }
    names = 0;
    for (unsigned i = 0; i < FILES; i++)
        if (!(files[i] = make_file()))
            errx(2, "no space at the beginning");
    for (unsigned t = 0; t < THREADS; t++)
        workers[t] =
            (struct worker){ .index = t, .state = (seed * THREADS + t + 1) * 0x9e3779b97f4a7c15u };
}

static void tear_down(uint64_t used)
{
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned i = 0; i < DOORS * SLOTS_EACH; i++)
            if (workers[t].slot[i / SLOTS_EACH][i % SLOTS_EACH].file)
                step_unmap(i / SLOTS_EACH, t * SLOTS_EACH + i % SLOTS_EACH,
                           &workers[t].slot[i / SLOTS_EACH][i % SLOTS_EACH]);
    for (unsigned i = 0; i < FILES; i++) {
        unlink_file(files[i]);
        put_file(files[i]);
    }
    fs_settle(fs);
    for (unsigned i = 0; i < DOORS; i++) {
        fs_door_stop(fs, &windows[i].door);
        fs_door_over(fs, &windows[i].door);
        fs_door_remove(fs, &windows[i].door);
        window_destroy(&windows[i]);
    }
    if (image_remount(&image, false) != 0)
        violation("it can not be mounted again");
    /* Tables of the filesystem have grown by some blocks, which they keep. */
    if (image_blocks_used(&image) > used + 8)
        violation("%llu blocks are lost", (unsigned long long)(image_blocks_used(&image) - used));
    image_destroy(&image);
}

static void run_seed(uint64_t steps)
{
    uint64_t used;

    if (baton)
        baton_start(seed, SEAM_ODDS);
    else
        lock_seam_seed(seed);
    set_up();
    used = image_blocks_used(&image);
    for (uint64_t done = 0; done < steps; done += ROUND * THREADS) {
        for (unsigned t = 0; t < THREADS; t++)
            if (pthread_create(&workers[t].thread, NULL, work, &workers[t]) != 0)
                errx(2, "pthread_create");
        for (unsigned t = 0; t < THREADS; t++)
            pthread_join(workers[t].thread, NULL);
        steps_done += ROUND * THREADS;
        fs_settle(fs);
        if (atomic_load(&image.pool->failed))
            violation("the pool has failed");
        look_at_all();
    }
    tear_down(used);
    if (baton)
        baton_stop();
}

static void parse(int argc, char **argv, uint64_t *seeds, uint64_t *steps)
{
    static const struct option options[] = {
        { "seeds", required_argument, NULL, 'n' },
        { "seed", required_argument, NULL, 's' },
        { "steps", required_argument, NULL, 't' },
        { "bug", required_argument, NULL, 'b' },
        { "free", no_argument, NULL, 'f' },
        { "trace", no_argument, NULL, 'T' },
        { 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'n':
            *seeds = strtoull(optarg, NULL, 10);
            break;
        case 's':
            seed = strtoull(optarg, NULL, 10);
            break;
        case 't':
            *steps = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            baton = false;
            break;
        case 'T':
            ledger_trace = true;
            break;
        case 'b':
            for (bug = NO_ZEROING; bug && strcmp(optarg, bug_names[bug]) != 0; bug--)
                ;
            break;
        default:
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t seeds = 1, steps = 20000, switches = 0;
    cpu_set_t one;

    parse(argc, argv, &seeds, &steps);
    /* Which locks share an internal one depends on their addresses; and these on who was quicker, if each
     * thread has an arena, or gives back what it kept for itself when it ends. */
    if (baton && !(personality(0xffffffff) & ADDR_NO_RANDOMIZE) &&
        personality(ADDR_NO_RANDOMIZE) >= 0) {
        setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0", 1);
        execv("/proc/self/exe", argv);
    }
    if (baton && sched_getaffinity(0, sizeof(one), &one) == 0) {
        /* To hand on a baton between CPUs takes longer. */
        int cpu = (int)(seed % (uint64_t)CPU_COUNT(&one));

        for (int i = 0; i < CPU_SETSIZE; i++)
            if (CPU_ISSET(i, &one) && cpu-- != 0)
                CPU_CLR(i, &one);
        sched_setaffinity(0, sizeof(one), &one);
    }
    for (uint64_t i = 0; i < seeds; i++, seed++) {
        run_seed(steps);
        switches += baton_switches();
    }
    printf("%llu seeds, %llu steps, %llu switches of threads, schedule %016llx\n",
           (unsigned long long)seeds, (unsigned long long)steps_done, (unsigned long long)switches,
           (unsigned long long)baton_trace());
    ledger_print(stdout);
    return 0;
}
