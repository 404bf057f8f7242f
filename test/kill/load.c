/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill-load: threads that change a filesystem until its server is killed, each in a directory of
 * its own, and write down in a ledger (ledger.h) what they begin and what has returned.
 *
 * usage: kill-load [-t THREADS] [-n OPERATIONS] [-s SEED] [-p] [-f] [-c] DIRECTORY LEDGER-DIRECTORY
 *   -n  each thread stops after so many operations (without: at the first error)
 *   -p  partial: an operation that the filesystem does not offer is passed over
 *   -f  at the end fsync everything (with -n)
 *   -c  mostly collapse, insert and mapped stores
 * Thread N works in DIRECTORY/tN and writes LEDGER-DIRECTORY/tN.
 * LEDGER-DIRECTORY/ready appears when all have begun.
 * LEDGER-DIRECTORY/differs appears when a file was read back differently while the server lived.
 * Exit: 0; 1 set-up failed; 3 a file was read back differently.
 */
#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <daxfuse/ioctl.h>

#define THREAD_LIMIT 16
#define ORPHAN_COUNT 4 /* unlinked files a thread keeps open */

struct worker {
    pthread_t thread;
    unsigned number;
    unsigned limit; /* operations, 0: none */
    bool partial, finish, shifts;
    bool wrong; /* read back something else */
    uint64_t random;
    int root, ledger; /* descriptors */
    uint32_t sequence;
    int orphans[ORPHAN_COUNT];
    struct model model;
    uint8_t buf[FILE_LIMIT];
};

/* How often each kind is tried; several tries are impossible in the state met and chosen anew. */
static const uint8_t op_weights[OP_KIND_COUNT] = {
    [OP_CREATE] = 12,      [OP_MKDIR] = 3,         [OP_SYMLINK] = 3, [OP_LINK] = 5,
    [OP_TMPFILE_LINK] = 3, [OP_UNLINK] = 9,        [OP_RMDIR] = 3,   [OP_RENAME] = 9,
    [OP_EXCHANGE] = 4,     [OP_WRITE] = 14,        [OP_APPEND] = 10, [OP_TRUNCATE] = 5,
    [OP_ALLOCATE] = 3,     [OP_ALLOCATE_KEEP] = 3, [OP_PUNCH] = 4,   [OP_ZERO] = 3,
    [OP_COLLAPSE] = 4,     [OP_INSERT] = 5,        [OP_STORE] = 8,   [OP_SETXATTR] = 5,
    [OP_REMOVEXATTR] = 2,  [OP_CHMOD] = 4,         [OP_FSYNC] = 8,   [OP_FSYNCDIR] = 5,
};

/* -c */
#define SHIFTS_WEIGHT 10u

static unsigned op_weight(const struct worker *worker, unsigned kind)
{
    bool shift = kind == OP_COLLAPSE || kind == OP_INSERT || kind == OP_STORE;

    return op_weights[kind] * (worker->shifts && shift ? SHIFTS_WEIGHT : 1);
}

static uint64_t random_below(struct worker *worker, uint64_t limit)
{
    worker->random += 0x632be59bd9b4e019U;
    return pattern_mix(worker->random) % limit;
}

/* Mostly small, sometimes large; often at block borders. */
static uint64_t random_length(struct worker *worker, uint64_t limit)
{
    uint64_t length = 1 + random_below(worker, random_below(worker, 4) ? 6000 : limit);

    if (random_below(worker, 3) == 0)
        length = (length + 4095) / 4096 * 4096;
    return length < limit ? length : limit;
}

static uint64_t random_offset(struct worker *worker, uint64_t limit)
{
    uint64_t offset = random_below(worker, limit + 1);

    return random_below(worker, 3) == 0 ? offset / 4096 * 4096 : offset;
}

static void choose_name(struct worker *worker, uint16_t *ret_dir, uint16_t *ret_name)
{
    unsigned dir;

    do
        dir = (unsigned)random_below(worker, OBJECT_COUNT);
    while (worker->model.objects[dir].type != OBJECT_DIR);
    *ret_dir = (uint16_t)dir;
    *ret_name = (uint16_t)random_below(worker, NAME_COUNT);
}

static bool dir_is_empty(const struct object *dir)
{
    for (unsigned n = 0; n < NAME_COUNT; n++) {
        if (dir->entries[n] != NO_OBJECT)
            return false;
    }
    return true;
}

/* Rename and exchange of directories: never below themselves, never over one that is not empty. */
static bool rename_is_possible(struct worker *worker, const struct op *op,
                               const struct object *target, const struct object *second)
{
    struct model *model = &worker->model;
    unsigned index = (unsigned)(target - model->objects);

    if (target == second)
        return false;
    if (target->type == OBJECT_DIR && model_below(model, op->dir2, index))
        return false;
    if (op->kind == OP_EXCHANGE)
        return second && !(second->type == OBJECT_DIR &&
                           model_below(model, op->dir, (unsigned)(second - model->objects)));
    if (!second)
        return true;
    if ((target->type == OBJECT_DIR) != (second->type == OBJECT_DIR))
        return false;
    return second->type != OBJECT_DIR || dir_is_empty(second);
}

/* Whole blocks that may be taken out of the file, or put into it. */
static bool choose_shift(struct worker *worker, struct op *op, const struct object *file)
{
    uint64_t blocks = file->size > 0 ? (file->size - 1) / 4096 : 0; /* before the one of the end */
    uint64_t room = (FILE_LIMIT - file->size) / 4096;

    if (op->kind == OP_COLLAPSE ? blocks == 0 : file->size == 0 || room == 0)
        return false;
    op->offset = random_below(worker, blocks + (op->kind == OP_INSERT));
    if (op->kind == OP_COLLAPSE)
        room = blocks - op->offset;
    op->length = 1 + random_below(worker, random_below(worker, 4) && room > 4 ? 4 : room);
    op->offset *= 4096;
    op->length *= 4096;
    return true;
}

static bool choose_data(struct worker *worker, struct op *op, const struct object *file)
{
    switch (op->kind) {
    case OP_WRITE:
        op->offset = random_offset(worker, random_below(worker, 5) ? file->size : FILE_LIMIT - 1);
        if (op->offset >= FILE_LIMIT)
            return false;
        op->length = random_length(worker, FILE_LIMIT - op->offset);
        return true;
    case OP_APPEND:
        if (file->size >= FILE_LIMIT)
            return false;
        op->length = random_length(worker, FILE_LIMIT - file->size);
        return true;
    case OP_TRUNCATE:
        op->length = random_offset(worker, random_below(worker, 3) ? file->size : FILE_LIMIT);
        return true;
    case OP_ALLOCATE:
    case OP_ALLOCATE_KEEP:
    case OP_PUNCH:
    case OP_ZERO:
        op->offset = random_offset(worker, file->size);
        if (op->offset >= FILE_LIMIT)
            return false;
        op->length = random_length(worker, FILE_LIMIT - op->offset);
        return true;
    case OP_COLLAPSE:
    case OP_INSERT:
        return choose_shift(worker, op, file);
    case OP_STORE:
        if (file->size == 0)
            return false;
        op->offset = random_offset(worker, file->size - 1);
        op->length = random_length(worker, file->size - op->offset);
        return true;
    case OP_SETXATTR:
        op->offset = random_below(worker, XATTR_COUNT);
        op->length = 1 + random_below(worker, random_below(worker, 4) ? 100 : 1200);
        return true;
    case OP_REMOVEXATTR:
        op->offset = random_below(worker, XATTR_COUNT);
        return file->xattr_length[op->offset] > 0;
    case OP_CHMOD:
        op->length = 0600 | random_below(worker, 0200);
        return true;
    default:
        return op->kind == OP_FSYNC;
    }
}

static bool choose_op(struct worker *worker, struct op *op)
{
    struct model *model = &worker->model;
    unsigned sum = 0, at = 0;
    uint64_t pick;

    for (unsigned i = 0; i < OP_KIND_COUNT; i++)
        sum += op_weight(worker, i);
    pick = random_below(worker, sum);
    while (pick >= op_weight(worker, at))
        pick -= op_weight(worker, at++);

    memset(op, 0, sizeof(*op));
    op->kind = (uint8_t)at;
    op->key = pattern_mix(worker->random);
    choose_name(worker, &op->dir, &op->name);
    choose_name(worker, &op->dir2, &op->name2);

    struct object *target = model_target(model, op);

    switch (op->kind) {
    case OP_CREATE:
        return !target && model->files + model->dirs < OBJECT_COUNT;
    case OP_TMPFILE_LINK:
        op->length = random_length(worker, FILE_LIMIT / 4);
        return !target && model->files + model->dirs < OBJECT_COUNT;
    case OP_SYMLINK:
        op->length = 1 + random_below(worker, random_below(worker, 3) ? 50 : 1000);
        return !target && model->files + model->dirs < OBJECT_COUNT;
    case OP_MKDIR:
        return !target && model->dirs < DIR_LIMIT && model->files + model->dirs < OBJECT_COUNT;
    case OP_LINK:
        return target && target->type == OBJECT_FILE && !model_entry(model, op->dir2, op->name2);
    case OP_UNLINK:
        return target && target->type != OBJECT_DIR;
    case OP_RMDIR:
        return target && target->type == OBJECT_DIR && dir_is_empty(target);
    case OP_RENAME:
    case OP_EXCHANGE:
        return target &&
               rename_is_possible(worker, op, target, model_entry(model, op->dir2, op->name2));
    case OP_FSYNCDIR:
        return true;
    default:
        return target && target->type == OBJECT_FILE && choose_data(worker, op, target);
    }
}

/* Records are small and the file is O_APPEND on another filesystem: whole or not at all. */
static void ledger_write(struct worker *worker, struct op *op, enum op_phase phase, int error)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    op->time = (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
    op->phase = (uint8_t)phase;
    op->error = (uint16_t)error;
    if (write(worker->ledger, op, sizeof(*op)) != (ssize_t)sizeof(*op)) {
        fprintf(stderr, "kill-load: the ledger cannot be written: %s\n", strerror(errno));
        exit(1);
    }
}

static int name_path(struct worker *worker, unsigned dir, unsigned name, char *buf, size_t size)
{
    if (!model_path(&worker->model, dir, buf, size - 8))
        return -ENAMETOOLONG;
    sprintf(buf + strlen(buf), "/n%02u", name % 100U);
    return 0;
}

static int write_whole(int fd, const uint8_t *buf, size_t length, off_t offset)
{
    ssize_t n = offset < 0 ? write(fd, buf, length) : pwrite(fd, buf, length, offset);

    if (n < 0)
        return -errno;
    return (size_t)n == length ? 0 : -EIO;
}

static int make_tmpfile(struct worker *worker, const struct op *op, const char *path)
{
    char dir[64], self[32];
    int fd, r;

    if (!model_path(&worker->model, op->dir, dir, sizeof(dir)))
        return -ENAMETOOLONG;
    fd = openat(worker->root, dir, O_TMPFILE | O_RDWR, 0644);
    if (fd < 0)
        return -errno;
    pattern_fill(worker->buf, op->key, 0, op->length);
    r = write_whole(fd, worker->buf, op->length, 0);
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (r == 0 && linkat(AT_FDCWD, self, worker->root, path, AT_SYMLINK_FOLLOW) < 0)
        r = -errno;
    close(fd);
    return r;
}

/* Sometimes the file stays open after its last name is gone, and is written to. */
static int remove_file(struct worker *worker, const char *path)
{
    int *orphan = NULL;

    if (random_below(worker, 3) == 0)
        orphan = &worker->orphans[random_below(worker, ORPHAN_COUNT)];
    if (orphan) {
        if (*orphan >= 0)
            close(*orphan);
        *orphan = openat(worker->root, path, O_RDWR | O_NOFOLLOW);
    }
    if (unlinkat(worker->root, path, 0) < 0)
        return -errno;
    if (orphan && *orphan >= 0) {
        struct stat st;

        if (fstat(*orphan, &st) == 0 && st.st_nlink == 0) {
            int r = write_whole(*orphan, worker->buf, 5000, 0);

            if (r < 0)
                return 0; /* the unlink has returned; the next operation meets the error */
        }
    }
    return 0;
}

static int run_on_name(struct worker *worker, struct op *op, const char *path, const char *path2)
{
    char target[1024];
    int fd;

    switch (op->kind) {
    case OP_CREATE:
        fd = openat(worker->root, path, O_CREAT | O_EXCL | O_RDWR, 0644);
        if (fd < 0)
            return -errno;
        close(fd);
        return 0;
    case OP_MKDIR:
        return mkdirat(worker->root, path, 0755) < 0 ? -errno : 0;
    case OP_SYMLINK:
        pattern_target(target, op->key, op->length);
        return symlinkat(target, worker->root, path) < 0 ? -errno : 0;
    case OP_LINK:
        return linkat(worker->root, path, worker->root, path2, 0) < 0 ? -errno : 0;
    case OP_TMPFILE_LINK:
        return make_tmpfile(worker, op, path);
    case OP_UNLINK:
        return remove_file(worker, path);
    case OP_RMDIR:
        return unlinkat(worker->root, path, AT_REMOVEDIR) < 0 ? -errno : 0;
    case OP_RENAME:
        return renameat2(worker->root, path, worker->root, path2, 0) < 0 ? -errno : 0;
    default:
        return renameat2(worker->root, path, worker->root, path2, RENAME_EXCHANGE) < 0 ? -errno : 0;
    }
}

static _Thread_local sigjmp_buf no_page;

static void page_missing(int signal_number)
{
    siglongjmp(no_page, signal_number);
}

/* A page that a dead server cannot give, or no filesystem: -EIO. */
static int store_bytes(uint8_t *to, const uint8_t *from, size_t length)
{
    if (sigsetjmp(no_page, 1) != 0)
        return -EIO;
    memcpy(to, from, length);
    return 0;
}

static int store_mapped(struct worker *worker, const struct op *op, int fd)
{
    size_t before = op->offset % 4096, length = before + op->length;
    uint8_t *map;
    int r;

    map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(op->offset - before));
    if (map == MAP_FAILED)
        return -errno;
    pattern_fill(worker->buf, op->key, op->offset, op->length);
    r = store_bytes(map + before, worker->buf, op->length);
    if (r == 0 && msync(map, length, MS_SYNC) < 0)
        r = -errno;
    munmap(map, length);
    return r;
}

static int run_on_file(struct worker *worker, struct op *op, int fd)
{
    static const char *const xattrs[XATTR_COUNT] = { "user.x0", "user.x1", "user.x2" };
    off_t offset = (off_t)op->offset, length = (off_t)op->length;
    int r;

    switch (op->kind) {
    case OP_WRITE:
        pattern_fill(worker->buf, op->key, op->offset, op->length);
        return write_whole(fd, worker->buf, op->length, offset);
    case OP_APPEND:
        pattern_fill(worker->buf, op->key, model_target(&worker->model, op)->size, op->length);
        return write_whole(fd, worker->buf, op->length, -1);
    case OP_TRUNCATE:
        r = ftruncate(fd, length);
        break;
    case OP_ALLOCATE:
        r = fallocate(fd, 0, offset, length);
        break;
    case OP_ALLOCATE_KEEP:
        r = fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, length);
        break;
    case OP_PUNCH:
        r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
        break;
    case OP_ZERO:
        r = fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, length);
        break;
    case OP_COLLAPSE:
        r = daxfuse_fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, offset, length);
        break;
    case OP_INSERT:
        r = daxfuse_fallocate(fd, FALLOC_FL_INSERT_RANGE, offset, length);
        break;
    case OP_STORE:
        return store_mapped(worker, op, fd);
    case OP_SETXATTR:
        pattern_fill(worker->buf, op->key, 0, op->length);
        r = fsetxattr(fd, xattrs[op->offset], worker->buf, op->length, 0);
        break;
    case OP_REMOVEXATTR:
        r = fremovexattr(fd, xattrs[op->offset]);
        break;
    case OP_CHMOD:
        r = fchmod(fd, (mode_t)op->length);
        break;
    default:
        r = fsync(fd);
        break;
    }
    return r < 0 ? -errno : 0;
}

static int run_op(struct worker *worker, struct op *op)
{
    char path[64], path2[64];
    int fd, r;

    r = name_path(worker, op->dir, op->name, path, sizeof(path));
    if (r == 0)
        r = name_path(worker, op->dir2, op->name2, path2, sizeof(path2));
    if (r < 0)
        return r;
    if (op->kind <= OP_EXCHANGE)
        return run_on_name(worker, op, path, path2);

    if (op->kind == OP_FSYNCDIR)
        *strrchr(path, '/') = '\0';
    fd = openat(worker->root, path,
                op->kind == OP_FSYNCDIR ? O_RDONLY | O_DIRECTORY
                                        : O_RDWR | (op->kind == OP_APPEND ? O_APPEND : 0));
    if (fd < 0)
        return -errno;
    r = run_on_file(worker, op, fd);
    close(fd);
    return r;
}

static bool makes_inode(const struct op *op)
{
    return op->kind == OP_CREATE || op->kind == OP_MKDIR || op->kind == OP_SYMLINK ||
           op->kind == OP_TMPFILE_LINK;
}

/* A read that the server's death cuts short returns what came before it, so: up to the end, or the
 * error. */
static ssize_t read_whole(int fd, uint8_t *buf, size_t size)
{
    size_t length = 0;
    ssize_t n = 1;

    while (n > 0 && length < size) {
        n = pread(fd, buf + length, size - length, (off_t)length);
        if (n > 0)
            length += (size_t)n;
    }
    return n < 0 ? -errno : (ssize_t)length;
}

static void report_difference(struct worker *worker, const struct op *op, const char *path,
                              const struct object *file, size_t length)
{
    size_t at = 0;

    while (at < length && at < file->size && worker->buf[at] == file->data[at])
        at++;
    fprintf(stderr,
            "kill-load: t%u/%s reads differently after operation %u (%s): %zu bytes, not %llu, "
            "the same up to %zu\n",
            worker->number, path, op->sequence, op_name(op->kind), length,
            (unsigned long long)file->size, at);
    worker->wrong = true;
}

/* Reads the file of the last operation back; errors are left to the next operation. */
static void verify_file(struct worker *worker, const struct op *op)
{
    const struct object *file = model_target(&worker->model, op);
    char path[64];
    ssize_t n;
    int fd;

    if (!file || file->type != OBJECT_FILE)
        return;
    if (name_path(worker, op->dir, op->name, path, sizeof(path)) < 0)
        return;
    fd = openat(worker->root, path, O_RDONLY);
    if (fd < 0)
        return;
    n = read_whole(fd, worker->buf, FILE_LIMIT);
    if (n >= 0 && ((uint64_t)n != file->size || memcmp(worker->buf, file->data, (size_t)n)))
        report_difference(worker, op, path, file, (size_t)n);
    close(fd);
}

/* Returns 0 to go on, 1 to stop. */
static int step(struct worker *worker, struct op *op)
{
    char path[64];
    struct stat st;
    int r;

    op->sequence = ++worker->sequence;
    ledger_write(worker, op, PHASE_BEGIN, 0);
    r = run_op(worker, op);
    if (r == 0 && makes_inode(op)) {
        if (name_path(worker, op->dir, op->name, path, sizeof(path)) == 0 &&
            fstatat(worker->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
            op->inode = st.st_ino;
    }
    if (r < 0) {
        ledger_write(worker, op, PHASE_FAILED, -r);
        return !(worker->partial && (r == -EOPNOTSUPP || r == -EINVAL));
    }
    ledger_write(worker, op, PHASE_END, 0);
    if (model_apply(&worker->model, op) < 0) {
        fprintf(stderr, "kill-load: the model refuses operation %u\n", op->sequence);
        exit(1);
    }
    if (random_below(worker, 24) == 0)
        verify_file(worker, op);
    return worker->wrong;
}

static void sync_all(struct worker *worker)
{
    struct op op;

    for (unsigned dir = 0; dir < OBJECT_COUNT; dir++) {
        if (worker->model.objects[dir].type != OBJECT_DIR)
            continue;
        for (unsigned name = 0; name <= NAME_COUNT; name++) {
            const struct object *object = model_entry(&worker->model, dir, name);

            if (name < NAME_COUNT && (!object || object->type != OBJECT_FILE))
                continue;
            memset(&op, 0, sizeof(op));
            op.kind = name < NAME_COUNT ? OP_FSYNC : OP_FSYNCDIR;
            op.dir = (uint16_t)dir;
            op.name = (uint16_t)(name % NAME_COUNT);
            if (step(worker, &op))
                return;
        }
    }
}

static void *worker_run(void *arg)
{
    struct worker *worker = arg;
    struct op op;

    while (!worker->limit || worker->sequence < worker->limit) {
        if (choose_op(worker, &op) && step(worker, &op))
            return NULL;
    }
    if (worker->finish)
        sync_all(worker);
    return NULL;
}

static int worker_open(struct worker *worker, const char *directory, const char *ledgers)
{
    char path[4096];
    int parent;

    snprintf(path, sizeof(path), "%s/t%u", directory, worker->number);
    if (mkdir(path, 0755) < 0)
        return -errno;
    worker->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (worker->root < 0 || parent < 0 || fsync(worker->root) < 0 || fsync(parent) < 0)
        return -errno;
    close(parent);
    snprintf(path, sizeof(path), "%s/t%u", ledgers, worker->number);
    worker->ledger = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (worker->ledger < 0)
        return -errno;
    for (unsigned i = 0; i < ORPHAN_COUNT; i++)
        worker->orphans[i] = -1;
    return model_init(&worker->model);
}

/* Makes an empty file that tells whoever started us something. */
static int mark(const char *ledgers, const char *name)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", ledgers, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

int main(int argc, char **argv)
{
    static struct worker *workers[THREAD_LIMIT];
    unsigned threads = 4, limit = 0;
    bool partial = false, finish = false, shifts = false, wrong = false;
    uint64_t seed = 1;
    int opt;

    while ((opt = getopt(argc, argv, "t:n:s:pfc")) != -1) {
        switch (opt) {
        case 't':
            threads = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            limit = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            seed = strtoull(optarg, NULL, 10);
            break;
        case 'p':
            partial = true;
            break;
        case 'f':
            finish = true;
            break;
        case 'c':
            shifts = true;
            break;
        default:
            return 2;
        }
    }
    if (optind + 2 != argc || threads < 1 || threads > THREAD_LIMIT) {
        fprintf(stderr, "usage: kill-load [-t THREADS] [-n OPERATIONS] [-s SEED] [-p] [-f] [-c] "
                        "DIRECTORY LEDGER-DIRECTORY\n");
        return 2;
    }

    umask(0);
    signal(SIGBUS, page_missing);
    for (unsigned i = 0; i < threads; i++) {
        struct worker *worker = calloc(1, sizeof(*worker));
        int r;

        if (!worker)
            return 1;
        workers[i] = worker;
        worker->number = i;
        worker->limit = limit;
        worker->partial = partial;
        worker->finish = finish;
        worker->shifts = shifts;
        worker->random = pattern_mix(seed * THREAD_LIMIT + i);
        r = worker_open(worker, argv[optind], argv[optind + 1]);
        if (r < 0) {
            fprintf(stderr, "kill-load: thread %u: %s\n", i, strerror(-r));
            return 1;
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&workers[i]->thread, NULL, worker_run, workers[i]))
            return 1;
    }
    if (mark(argv[optind + 1], "ready") < 0)
        return 1;
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i]->thread, NULL);
        wrong |= workers[i]->wrong;
    }
    if (wrong && mark(argv[optind + 1], "differs") < 0)
        return 1;
    return wrong ? 3 : 0;
}
