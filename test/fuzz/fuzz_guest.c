/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libFuzzer's target: a guest's requests (program.h) on a filesystem in memory, with a window; its queues
 * stop and go on, its VMM goes and another comes, and the host changes the same files meanwhile.
 *
 *   No input crashes, hangs, leaks, or reaches outside the guest's memory or the pool.
 *   Every request is answered once, by one answer that is whole, or given up when its session ends.
 *   Afterwards nothing is referenced, open or mapped, and the pool is clean for fsck.
 *
 * FUZZ_SAY=1 in the environment: the requests and their answers, on stderr.
 */
#include "base.h"
#include "program.h"

#include "../race/window.h"
#include "../unit/guest_fake.h"
#include "base/log.h"
#include "tools/fsck.h"
#include "transport/virtiofs/guest.h"
#include "transport/virtiofs/wire.h"
#include "transport/worker.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);
size_t LLVMFuzzerMutate(uint8_t *input, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *input, size_t size, size_t room, unsigned seed);

#define POOL_SIZE (32u << 20)
#define GUARD (4u << 20)
#define WAITING 16
#define GIVEN_UP 64
#define CHECK_EVERY 8 /* inputs a check of the pool; the first of a process is */
#define HANG_US (20u * 1000 * 1000)

/* What a command is that is no request. */
enum own {
    OWN_STOP,       /* queues stop */
    OWN_STOP_AFTER, /* ... in a while */
    OWN_GO,
    OWN_RESET, /* the VMM is gone */
    OWN_INIT,  /* a right one */
    OWN_FAIL,  /* the VMM refuses to map */
    OWN_STORE, /* through the window */
    OWN_LOAD,
    OWN_HOST, /* the host does something to a file */
    OWN_COLLECT,
    OWN_COMMANDS
};

enum option {
    OPTION_DAX_MASK = 3,
    OPTION_NO_CACHE = 4,
    OPTION_READ_ONLY = 8,
    OPTION_NO_WINDOW = 16,
    OPTION_NO_INIT = 32,
    OPTION_SUBTREE = 64,
};

struct waiting {
    struct vhost_request *request;
    uint32_t opcode;
    uint64_t unique, node;
    bool silent;
};

static bool say;
static uint8_t *memory; /* the pool: private, of image */
static uint8_t *scratch, *answer;
static struct worker_pool *workers;
static const struct fs_request *const rq = &base_request;

/* Of one input. */
static struct pool *pool;
static struct fs *fs;
static struct guest *guest;
static struct window window;
static bool has_window, left;
static struct program program;
static struct waiting waiting[WAITING], given_up[GIVEN_UP];
static unsigned waiting_count, given_up_count;
static _Atomic int stop_after;
/* Who goes on is not stopped once more by who was just about to, nor waits for who was. */
static pthread_mutex_t stop_mutex = PTHREAD_MUTEX_INITIALIZER;

static _Noreturn void wrong(const char *what, uint32_t opcode)
{
    fprintf(stderr, "fuzz_guest: %s (opcode %u)\n", what, opcode);
    abort();
}

static void must(int64_t result, const char *what)
{
    if (result >= 0)
        return;
    errno = (int)-result;
    err(2, "%s", what);
}

/* ---- the pool -------------------------------------------------------------------------------------- */

static void make_file(uint64_t parent, const char *name, uint64_t offset, size_t length)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    uint8_t *bytes = malloc(length + 1);

    memset(bytes, 'x', length);
    must(fs_create(fs, rq, parent, fs_name(name), 0666, O_RDWR, &attr, &handle), name);
    must(fs_pwrite(fs, rq, handle, bytes, length, offset), name);
    fs_release(fs, handle);
    fs_forget(fs, attr.ino, 1);
    free(bytes);
}

static void make_pool(void)
{
    int image = memfd_create("fuzz", MFD_CLOEXEC);
    struct fs_attr sub, attr;
    uint8_t *room;

    if (image < 0 || ftruncate(image, POOL_SIZE) < 0)
        err(2, "memfd");
    /* What lies around it is out of reach. */
    room = mmap(NULL, POOL_SIZE + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
    if (room == MAP_FAILED)
        err(2, "mmap");
    room = (uint8_t *)(((uintptr_t)room + GUARD) & ~(uintptr_t)(DAX_CHUNK_SIZE - 1));
    memory = mmap(room, POOL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, image, 0);
    if (memory == MAP_FAILED)
        err(2, "mmap");
    base_format(memory, POOL_SIZE);
    must(base_mount(memory, POOL_SIZE, &pool, &fs), "mount");
    make_file(1, "a", 0, 10000);
    make_file(1, "big", 0, 3 * DAX_CHUNK_SIZE / 2);
    make_file(1, "x", 3 * DAX_CHUNK_SIZE, 100); /* mostly a hole */
    must(fs_mkdir(fs, rq, 1, fs_name("sub"), 0777, &sub), "sub");
    make_file(sub.ino, "a", 0, DAX_CHUNK_SIZE);
    make_file(sub.ino, "b", 0, 5000);
    must(fs_mkdir(fs, rq, sub.ino, fs_name("sub"), 0777, &attr), "sub");
    fs_forget(fs, attr.ino, 1);
    must(fs_symlink(fs, rq, 1, fs_name("link"), fs_name("a"), &attr), "link");
    must(fs_setxattr(fs, rq, attr.ino, "trusted.z", "value", 5, 0, false), "xattr");
    fs_forget(fs, attr.ino, 1);
    fs_forget(fs, sub.ino, 1);
    base_umount(pool, fs);
    if (mmap(memory, POOL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, image, 0) ==
        MAP_FAILED)
        err(2, "mmap");
}

static void check_pool(void)
{
    struct fsck_options options = { .mode = FSCK_CHECK, .out = say ? stderr : NULL };
    struct fsck_result *result = malloc(sizeof(*result));
    int r = base_pool(memory, POOL_SIZE, &pool);

    if (r == 0) {
        r = fsck_run(pool, &options, result);
        pool_close(pool);
    }
    if (r < 0 || result->found > 0)
        wrong("fsck finds something", 0);
    free(result);
}

/* ---- requests -------------------------------------------------------------------------------------- */

static void on_access(struct vhost_request *request)
{
    (void)request;
    if (atomic_load(&stop_after) <= 0)
        return;
    pthread_mutex_lock(&stop_mutex);
    if (atomic_load(&stop_after) > 0 && atomic_fetch_sub(&stop_after, 1) == 1)
        atomic_store(&fake_stopped, true);
    pthread_mutex_unlock(&stop_mutex);
}

/* Whether queues stand, or will after more accesses. */
static bool may_stand(void)
{
    pthread_mutex_lock(&stop_mutex);
    bool may = atomic_load(&fake_stopped) || atomic_load(&stop_after) > 0;
    pthread_mutex_unlock(&stop_mutex);
    return may;
}

/* Looks at what was answered. */
static void collect(struct waiting *one)
{
    size_t written = fake_wait(one->request), size;
    const struct fuse_out_header *header = (const void *)answer;

    if (say)
        fprintf(stderr, "    %u, unique %lu: %zu bytes", one->opcode, (unsigned long)one->unique,
                written);
    if (written == 0) {
        fake_free(one->request);
        if (say)
            fprintf(stderr, "\n");
        return;
    }
    if (one->silent)
        wrong("an answer nobody waits for", one->opcode);
    size = fake_answer(one->request, answer, PROGRAM_REQUEST_MAX);
    fake_free(one->request);
    if (say)
        fprintf(stderr, ", error %d\n", header->error);
    if (written < sizeof(*header) || header->len != written || written > size)
        wrong("an answer of another length", one->opcode);
    if (header->error > 0 || header->error < -999)
        wrong("an error that is none", one->opcode);
    if (header->error != 0 && written != sizeof(*header))
        wrong("an error with an answer", one->opcode);
    if (header->error == 0 && header->unique != one->unique)
        wrong("an answer to another request", one->opcode);
    if (header->error == 0)
        program_remember(&program, one->opcode, one->node, header + 1, written - sizeof(*header));
}

static void wait_done(const struct waiting *one)
{
    for (unsigned us = 0; !fake_is_done(one->request); us += 200) {
        if (us > HANG_US)
            wrong("a request is not answered", one->opcode);
        usleep(us < 10000 ? 20 : 200);
    }
}

/* Nothing of what goes through the queues is under way: it is answered, or kept for later. */
static void wait_idle(void)
{
    for (unsigned us = 0;; us += 200) {
        pthread_mutex_lock(&guest->mutex);
        unsigned active = guest->active;
        pthread_mutex_unlock(&guest->mutex);
        if (active == 0)
            return;
        if (us > HANG_US)
            wrong("a request does not end", 0);
        usleep(us < 10000 ? 20 : 200);
    }
}

static void go_on(void)
{
    pthread_mutex_lock(&stop_mutex);
    atomic_store(&stop_after, 0);
    pthread_mutex_unlock(&stop_mutex);
    atomic_store(&window.fails[WINDOW_MAP], 0);
    atomic_store(&window.fails[WINDOW_MAP_ZEROS], 0);
    atomic_store(&window.fails[WINDOW_UNMAP], 0);
    if (has_window && !left) {
        fs_door_resume(fs, &window.door);
        fs_door_fill(fs, &window.door);
    }
    if (atomic_exchange(&fake_stopped, false))
        guest_resume(guest);
}

static void stop(void)
{
    for (unsigned call = 0; call < WINDOW_CALLS; call++)
        atomic_store(&window.fails[call], -ENODEV);
    atomic_store(&fake_stopped, true);
    if (has_window && !left)
        fs_door_stop(fs, &window.door);
}

static void collect_all(void)
{
    go_on();
    for (unsigned i = 0; i < waiting_count; i++) {
        wait_done(&waiting[i]);
        collect(&waiting[i]);
    }
    waiting_count = 0;
}

static void send_request(const struct program_request *request, unsigned how, unsigned extra)
{
    /* A lock may be waited for for ever: until the guest ends. */
    bool lock = request->opcode == FUSE_SETLKW;
    struct waiting *one;

    if (waiting_count == WAITING)
        collect_all();
    if (lock && given_up_count == GIVEN_UP)
        return;
    one = lock ? &given_up[given_up_count++] : &waiting[waiting_count];
    *one = (struct waiting){
        .request = fake_request(request->bytes, request->size, request->room, request->piece),
        .opcode = request->opcode,
        .unique = request->unique,
        .node = request->node,
        /* Who cannot read which operation it is answers. */
        .silent = request->silent && !(how & (HOW_CUT | HOW_BREAK_IN)),
    };
    if (how & HOW_BREAK_IN)
        fake_break_in(one->request, extra % (request->size + 1));
    if (how & HOW_BREAK_OUT)
        fake_break_out(one->request, extra % (request->room + 1));
    if (say)
        fprintf(stderr, "opcode %u, node %#lx, unique %lu: %zu bytes, room for %zu, how %#x\n",
                one->opcode, (unsigned long)one->node, (unsigned long)one->unique, request->size,
                request->room, how);
    guest_dispatch(guest, one->request);
    if (lock)
        return;
    if (how & HOW_LATER || may_stand()) {
        waiting_count++;
        return;
    }
    /* What was given up: the session ended, or its queue stopped meanwhile. */
    wait_done(one);
    collect(one);
}

static void run_request(const struct program_command *command)
{
    struct program_request request = { .bytes = scratch };

    program_request(&program, command, &request);
    send_request(&request, command->how, command->extra);
}

static void right_init(void)
{
    struct program_request request = { .bytes = scratch };
    struct program_command command = { .what = FUSE_INIT, .number = { 1, 14, 1, 1 } };

    program_request(&program, &command, &request);
    send_request(&request, 0, 0);
}

/* ---- what else happens ----------------------------------------------------------------------------- */

/* The VMM is gone, with all that it mapped. What it waited for is not answered any more. */
static void reset(void)
{
    stop();
    while (waiting_count > 0 && given_up_count < GIVEN_UP)
        given_up[given_up_count++] = waiting[--waiting_count];
    for (unsigned i = 0; i < given_up_count; i++)
        fake_cancel(given_up[i].request);
    guest_reset(guest);
    wait_idle();
    if (has_window) {
        fs_door_stop(fs, &window.door);
        fs_door_over(fs, &window.door);
        fs_door_stop(fs, &window.door);
        for (unsigned i = 0; i < WINDOW_SLOTS; i++)
            window.slot[i].offset = UINT64_MAX;
    }
    left = true;
    program_forget(&program);
    atomic_store(&fake_stopped, false);
}

static int renew(void *arg)
{
    (void)arg;
    if (atomic_load(&fake_stopped))
        return -ECANCELED;
    if (left) {
        for (unsigned call = 0; call < WINDOW_CALLS; call++)
            atomic_store(&window.fails[call], 0);
        fs_door_over(fs, &window.door); /* goes on with nothing */
        left = false;
    }
    return 0;
}

static void fail_calls(const struct program_command *command)
{
    static const int errors[] = { 0, -EIO, -ETIMEDOUT, -ENODEV };

    atomic_store(&window.fails[command->number[0] % WINDOW_CALLS], errors[command->number[1] % 4]);
}

static void touch(const struct program_command *command, bool store)
{
    uint64_t slot = command->number[0] % WINDOW_SLOTS, offset = command->number[1] % 512 * 4096;
    uint8_t bytes[64];

    if (!has_window)
        return;
    memset(bytes, command->number[2], sizeof(bytes));
    if (store)
        window_store(&window, slot, offset, bytes, sizeof(bytes));
    else
        window_load(&window, slot, offset, bytes, sizeof(bytes));
}

/* From outside, through no door of a guest's. */
static void host(const struct program_command *command)
{
    uint64_t offset = program_number(&program, command->number[1]) % (4 * DAX_CHUNK_SIZE);
    uint64_t length = program_number(&program, command->number[2]) % (2 * DAX_CHUNK_SIZE);
    static const int modes[] = { 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE, FALLOC_FL_COLLAPSE_RANGE,
                                 FALLOC_FL_INSERT_RANGE };
    const char *name = program_name(command->name[0]), *other = program_name(command->name[1]);
    struct fs_handle *handle;
    struct fs_attr attr, set;
    uint64_t parent = 1;
    bool regular;

    if (command->number[3] & 1 && fs_lookup(fs, rq, 1, fs_name("sub"), &attr) == 0)
        parent = attr.ino;
    if (strlen(name) > 255 || strlen(other) > 255 || strchr(name, '/') || strchr(other, '/') ||
        fs_lookup(fs, rq, parent, fs_name(name), &attr) < 0)
        goto out;
    regular = S_ISREG(attr.mode);
    switch (command->number[0] % 8) {
    case 0:
    case 1:
        if (regular && fs_open_file(fs, rq, attr.ino, O_RDWR, false, &handle) == 0) {
            memset(scratch, 'h', length % 100000);
            (void)fs_pwrite(fs, rq, handle, scratch, length % 100000, offset);
            fs_release(fs, handle);
        }
        break;
    case 2:
    case 3:
        if (regular && fs_open_file(fs, rq, attr.ino, O_RDWR, false, &handle) == 0) {
            (void)fs_fallocate(fs, rq, handle, modes[command->number[3] / 2 % 5],
                               offset & ~(uint64_t)4095, length & ~(uint64_t)4095);
            fs_release(fs, handle);
        }
        break;
    case 4:
        set = (struct fs_attr){ .size = offset };
        if (regular)
            (void)fs_setattr(fs, rq, attr.ino, &set, FS_SET_SIZE, &set);
        break;
    case 5:
        (void)fs_unlink(fs, rq, parent, fs_name(name));
        break;
    case 6:
        (void)fs_rename(fs, rq, parent, fs_name(name), 1, fs_name(other), 0);
        break;
    default:
        (void)fs_rmdir(fs, rq, parent, fs_name(name));
        break;
    }
    fs_forget(fs, attr.ino, 1);
out:
    if (parent != 1)
        fs_forget(fs, parent, 1);
}

static void run_own(const struct program_command *command)
{
    enum own what = (command->what - PROGRAM_OPCODES) % OWN_COMMANDS;

    if (say)
        fprintf(stderr, "own command %d\n", what);
    switch (what) {
    case OWN_STOP:
        stop();
        break;
    case OWN_STOP_AFTER:
        atomic_store(&stop_after, 1 + command->number[0] % 8);
        break;
    case OWN_GO:
        go_on();
        break;
    case OWN_RESET:
        reset();
        break;
    case OWN_INIT:
        go_on();
        right_init();
        break;
    case OWN_FAIL:
        fail_calls(command);
        break;
    case OWN_STORE:
    case OWN_LOAD:
        touch(command, what == OWN_STORE);
        break;
    case OWN_HOST:
        host(command);
        break;
    default:
        collect_all();
        break;
    }
}

/* ---- an input -------------------------------------------------------------------------------------- */

static void begin(uint8_t options)
{
    struct guest_options guest_options = {
        .root = 1,
        .read_only = options & OPTION_READ_ONLY,
        .cache = options & OPTION_NO_CACHE ? GUEST_CACHE_NEVER : GUEST_CACHE_AUTO,
        .dax = options & OPTION_DAX_MASK,
        .dax_threshold = 1u << 20,
        .workers = workers,
        .renew = renew,
    };
    struct fs_attr attr;

    if (madvise(memory, POOL_SIZE, MADV_DONTNEED) < 0)
        err(2, "madvise");
    must(base_mount(memory, POOL_SIZE, &pool, &fs), "mount");
    guest_options.fs = fs;
    window_init(&window, pool, "guest", false);
    has_window = !(options & OPTION_NO_WINDOW);
    left = false;
    if (has_window) {
        must(fs_door_add(fs, &window.door), "window");
        guest_options.dax_door = &window.door;
    }
    if (options & OPTION_SUBTREE) {
        must(fs_lookup(fs, rq, 1, fs_name("sub"), &attr), "sub");
        guest_options.root = attr.ino;
    }
    must(guest_open(&guest_options, &guest), "guest");
    program_init(&program, DAX_CHUNK_SIZE);
    waiting_count = given_up_count = 0;
    atomic_store(&stop_after, 0);
    atomic_store(&fake_stopped, false);
    if (!(options & OPTION_NO_INIT))
        right_init();
}

static void end(void)
{
    struct fs_mapping *list;
    struct fs_info info;
    size_t count;

    if (say)
        fprintf(stderr, "the end, with %u waiting\n", waiting_count);
    collect_all();
    guest_close(guest);
    while (given_up_count > 0) {
        struct waiting *one = &given_up[--given_up_count];

        wait_done(one);
        collect(one);
    }
    fs_get_info(fs, &info);
    if (info.lookups || info.handles)
        wrong("something is referenced or open for ever", 0);
    if (has_window) {
        fs_door_stop(fs, &window.door);
        fs_door_over(fs, &window.door);
        fs_door_remove(fs, &window.door);
    }
    must(fs_mappings(fs, &list, &count), "mappings");
    if (count > 0)
        wrong("something is mapped for ever", 0);
    free(list);
    window_destroy(&window);
    base_umount(pool, fs);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct program_command command;
    static unsigned inputs;

    if (size == 0)
        return 0;
    begin(input[0]);
    for (size_t at = 1; at + sizeof(command) <= size; at += sizeof(command)) {
        memcpy(&command, input + at, sizeof(command));
        if (command.what < PROGRAM_OPCODES)
            run_request(&command);
        else
            run_own(&command);
    }
    end();
    if (inputs++ % CHECK_EVERY == 0)
        check_pool();
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    say = getenv("FUZZ_SAY") != NULL;
    log_open("fuzz_guest", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    if (!say)
        log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1));
    scratch = malloc(PROGRAM_REQUEST_MAX);
    answer = malloc(PROGRAM_REQUEST_MAX);
    if (!scratch || !answer)
        err(2, "memory");
    make_pool();
    must(worker_pool_create(3, &workers), "workers");
    fake_on_access = on_access;
    return 0;
}

/* ---- inputs ---------------------------------------------------------------------------------------- */

static uint64_t mutator_state;

static uint32_t dice(uint32_t sides)
{
    mutator_state = mutator_state * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(mutator_state >> 33) % sides;
}

/* Whole commands: one more, one less, one other. Else what libFuzzer does to any bytes. */
size_t LLVMFuzzerCustomMutator(uint8_t *input, size_t size, size_t room, unsigned seed)
{
    struct program_command command;
    size_t count = size == 0 ? 0 : (size - 1) / sizeof(command), at;

    mutator_state = seed * 0x9e3779b97f4a7c15 + 1;
    dice(2);
    if (size == 0 && room > 0) {
        input[0] = (uint8_t)dice(4);
        size = 1;
    }
    if (room < 1 + sizeof(command))
        return size;
    if (count == 0 || (dice(2) && 1 + (count + 1) * sizeof(command) <= room)) {
        command = program_random(dice, OWN_COMMANDS);
        at = 1 + dice((uint32_t)count + 1) * sizeof(command);
        memmove(input + at + sizeof(command), input + at, 1 + count * sizeof(command) - at);
        memcpy(input + at, &command, sizeof(command));
        return 1 + (count + 1) * sizeof(command);
    }
    at = 1 + dice((uint32_t)count) * sizeof(command);
    switch (dice(8)) {
    case 0:
        input[0] ^= (uint8_t)(1u << dice(7));
        return size;
    case 1:
        memmove(input + at, input + at + sizeof(command), size - at - sizeof(command));
        return size - sizeof(command);
    case 2:
    case 3:
        LLVMFuzzerMutate(input + at, sizeof(command), sizeof(command));
        return size;
    case 4:
        return LLVMFuzzerMutate(input, size, room);
    case 5:
        input[at + 3] ^= (uint8_t)(1u << dice(8));
        return size;
    default:
        command = program_random(dice, OWN_COMMANDS);
        memcpy(input + at, &command, sizeof(command));
        return size;
    }
}
