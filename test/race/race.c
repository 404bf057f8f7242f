/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "race.h"

#include "base/lock.h"
#include "engine.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Few pieces, so that what is freed is taken again soon. */
#define POOL_SIZE (24u << 20)

/* How a child ends whose pool has failed; and all above, or by a signal. */
#define FAILED 4

struct fs *fs;
const struct fs_request rq = { .in_group = true };
struct window windows[3];

static struct image image;
static bool lock_on = true;
static double seconds = 1;
static uint64_t iterations = UINT64_MAX, done;
static atomic_bool stop;
static atomic_flag said = ATOMIC_FLAG_INIT;
static struct timespec started;
static pthread_barrier_t barrier;
static atomic_uint_fast64_t changes; /* odd: one is under way */
static atomic_uint_fast64_t steps;   /* of the second thread */

static double elapsed(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - started.tv_sec) + (double)(now.tv_nsec - started.tv_nsec) * 1e-9;
}

void wrong(const char *format, ...)
{
    va_list arguments;

    if (atomic_flag_test_and_set(&said))
        for (;;)
            pause();
    printf("%s: wrong bytes after %.3f s: %s: ", race.name, elapsed(), race.what);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

bool lock_is_on(void)
{
    return lock_on;
}

void must(int64_t result, const char *what)
{
    if (result < 0 && lock_on) {
        errno = (int)-result;
        err(2, "%s: %s", race.name, what);
    }
}

/* ---- files -------------------------------------------------------------------------------------- */

struct fs_handle *make_file(const char *name, uint64_t size)
{
    struct fs_handle *handle;
    struct fs_attr attr;
    int r;

    r = fs_create(fs, &rq, 1, fs_name(name), 0644, O_RDWR | O_EXCL, &attr, &handle);
    if (r < 0) {
        errno = -r;
        err(2, "%s", name);
    }
    set_size(handle, size);
    return handle;
}

void set_size(struct fs_handle *handle, uint64_t size)
{
    struct fs_attr attr = { .size = size }, after;

    must(fs_setattr(fs, &rq, fs_handle_ino(handle), &attr, FS_SET_SIZE, &after), "truncate");
}

void allocate(struct fs_handle *handle, int mode, uint64_t offset, uint64_t length)
{
    must(fs_fallocate(fs, &rq, handle, mode, offset, length), "fallocate");
}

/* ---- stamps ------------------------------------------------------------------------------------- */

uint64_t stamp_place(unsigned i)
{
    return i * (CHUNK_BYTES / STAMPS) + i * 5 * 4096;
}

struct stamp stamp_make(uint64_t owner, uint64_t place, uint64_t version)
{
    struct stamp stamp = { .owner = owner, .place = place, .version = version };

    for (unsigned i = 0; i < 5; i++)
        stamp.check[i] = (owner ^ place << 20 ^ version << 8) * 0x9e3779b97f4a7c15u + i;
    return stamp;
}

bool stamp_is_zero(const struct stamp *stamp)
{
    static const struct stamp zero;

    return memcmp(stamp, &zero, sizeof(zero)) == 0;
}

bool stamp_is(const struct stamp *stamp, uint64_t owner)
{
    struct stamp whole = stamp_make(owner, stamp->place, stamp->version);

    return memcmp(stamp, &whole, sizeof(whole)) == 0;
}

void stamps_write(struct fs_handle *handle, uint64_t chunk, uint64_t owner, uint64_t version)
{
    for (unsigned i = 0; i < STAMPS; i++) {
        struct stamp stamp = stamp_make(owner, chunk, version);

        must(
            fs_pwrite(fs, &rq, handle, &stamp, sizeof(stamp), chunk * CHUNK_BYTES + stamp_place(i)),
            "write");
    }
}

void chunk_write(struct fs_handle *handle, uint64_t chunk, uint64_t owner, uint64_t version)
{
    static __thread uint8_t bytes[CHUNK_BYTES];
    struct stamp stamp = stamp_make(owner, chunk, version);

    for (unsigned i = 0; i < STAMPS; i++)
        memcpy(bytes + stamp_place(i), &stamp, sizeof(stamp));
    must(fs_pwrite(fs, &rq, handle, bytes, CHUNK_BYTES, chunk * CHUNK_BYTES), "write");
}

void stamps_check(struct fs_handle *handle, uint64_t chunk, uint64_t owner)
{
    for (unsigned i = 0; i < STAMPS; i++) {
        struct stamp stamp;
        ssize_t got =
            fs_pread(fs, &rq, handle, &stamp, sizeof(stamp), chunk * CHUNK_BYTES + stamp_place(i));

        must(got, "read");
        if (got == sizeof(stamp) && !stamp_is_zero(&stamp) && !stamp_is(&stamp, owner))
            wrong("file %c has bytes of file %c", (char)owner, (char)stamp.owner);
    }
}

/* ---- mappings ----------------------------------------------------------------------------------- */

bool map_chunk(struct window *window, struct fs_handle *handle, uint64_t chunk, uint64_t slot)
{
    int r =
        fs_fault(fs, &rq, &window->door, fs_handle_ino(handle), chunk * CHUNK_BYTES, slot, true);

    if (r != -ENXIO && r != -EBUSY && r != -ENOSPC)
        must(r, "fault");
    return r == 0;
}

void unmap_slot(struct window *window, uint64_t slot)
{
    int r = fs_unmap(fs, &rq, &window->door, slot);

    if (r != -ENOENT)
        must(r, "unmap");
}

void change_begin(void)
{
    atomic_fetch_add(&changes, 1);
}

void change_end(void)
{
    atomic_fetch_add(&changes, 1);
}

void let_other_run(void)
{
    uint64_t from = atomic_load(&steps);

    while (atomic_load(&steps) < from + 2 && !atomic_load(&stop))
        sched_yield();
}

bool quiet_begin(uint64_t *ret_seen)
{
    *ret_seen = atomic_load(&changes);
    return *ret_seen % 2 == 0;
}

bool quiet_end(uint64_t seen)
{
    return atomic_load(&changes) == seen;
}

/* ---- the loop ----------------------------------------------------------------------------------- */

static void count(void)
{
    if (!lock_on && atomic_load(&image.pool->failed))
        _exit(FAILED);
    done++;
    if (done >= iterations || (done % 16 == 0 && elapsed() >= seconds))
        atomic_store(&stop, true);
}

static void *run(void *arg)
{
    unsigned index = (unsigned)(uintptr_t)arg;

    for (;;) {
        if (race.phases)
            pthread_barrier_wait(&barrier);
        if (atomic_load(&stop))
            return NULL;
        for (unsigned phase = 0; phase < race.phases || phase == 0; phase++) {
            if (race.phases)
                pthread_barrier_wait(&barrier);
            race.thread[index](phase);
        }
        /* All of them must see the same, after the next barrier. */
        if (race.phases)
            pthread_barrier_wait(&barrier);
        if (index == 0)
            count();
        if (index == 1)
            atomic_fetch_add(&steps, 1);
    }
}

static void run_all(void)
{
    pthread_t threads[THREADS_MAX];
    unsigned count = 0;

    while (count < THREADS_MAX && race.thread[count])
        count++;
    pthread_barrier_init(&barrier, NULL, count);
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) != 0)
            errx(2, "pthread_create");
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        { "lock", required_argument, NULL, 'l' },
        { "seconds", required_argument, NULL, 's' },
        { "iterations", required_argument, NULL, 'i' },
        { "seed", required_argument, NULL, 'S' },
        { NULL, 0, NULL, 0 },
    };
    uint64_t seed = 1;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'l':
            lock_on = strcmp(optarg, "off") != 0;
            break;
        case 's':
            seconds = strtod(optarg, NULL);
            break;
        case 'i':
            iterations = strtoull(optarg, NULL, 10);
            break;
        case 'S':
            seed = strtoull(optarg, NULL, 10);
            break;
        default:
            exit(2);
        }
    }
#ifdef DAXFUSE_TEST_SEAMS
    lock_seam_seed(seed);
    lock_seam_range_locks(lock_on);
#else
    (void)seed;
    if (!lock_on)
        errx(2, "this build cannot turn the range lock off (test_seams)");
#endif
}

/* Without the lock a pool may fail, or the program with it, before bytes are wrong: then begin again. */
static void fork_until_wrong(void)
{
    for (;;) {
        pid_t child = fork();
        int status;

        if (child < 0)
            err(2, "fork");
        if (child == 0) {
            alarm((unsigned)seconds + 10); /* it may also wait for ever */
            return;
        }
        if (waitpid(child, &status, 0) != child)
            err(2, "waitpid");
        if (WIFEXITED(status) && WEXITSTATUS(status) < FAILED)
            exit(WEXITSTATUS(status));
        if (elapsed() >= seconds) {
            printf("%s: no wrong bytes, %.1f s\n", race.name, elapsed());
            exit(0);
        }
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    clock_gettime(CLOCK_MONOTONIC, &started);
    if (!lock_on)
        fork_until_wrong();
    image_create(&image, POOL_SIZE, true);
    fs = image.fs;
    for (unsigned i = 0; i < 3; i++) {
        window_init(&windows[i], image.pool, i < 2 ? "revocable" : "fixed", i < 2);
        must(fs_door_add(fs, &windows[i].door), "door");
    }
    race.set_up();
    run_all();
    printf("%s: no wrong bytes in %llu iterations, %.1f s\n", race.name, (unsigned long long)done,
           elapsed());
    fflush(stdout);
    /* Without the lock nobody can say what is left. */
    if (!lock_on)
        _exit(0);
    for (unsigned i = 0; i < 3; i++) {
        fs_door_stop(fs, &windows[i].door);
        fs_door_over(fs, &windows[i].door);
        fs_door_remove(fs, &windows[i].door);
        window_destroy(&windows[i]);
    }
    image_destroy(&image);
    return 0;
}
