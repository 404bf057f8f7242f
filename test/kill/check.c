/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill-check: replays the ledgers of kill-load and compares with what is on the disk. Two questions:
 *
 *   synced    what was fsync'ed is there, or a later state of the same thing: a file's size, mode,
 *             attributes and each of its bytes after fsync of the file, a directory's names after
 *             fsync of the directory. This must hold on every pool (L4).
 *   returned  every operation that returned is there, and the one that was in flight is there whole
 *             or not at all. The bytes of an overwrite in flight may be mixed, and of a write only
 *             the first requests that the kernel made of it may be done; but a size that has grown
 *             comes with its bytes. A mapped store in flight is an overwrite; a collapse or insert
 *             is there or not. Holds wherever only the server dies.
 *
 * usage: kill-check [-k NANOSECONDS] [-p] DIRECTORY LEDGER-DIRECTORY
 *   -k  when the server was killed (CLOCK_REALTIME): an error before that is a finding
 *   -p  the ledger is of kill-load -p: operations that the filesystem does not offer are no finding,
 *       nor is a write in flight of which any first part was done
 * Prints "operations N", for each thread "inflight KIND", and the findings.
 * Exit: 0 kept, 1 something that had returned is lost, 2 something synced is lost or an operation
 * failed while the server lived, 3 could not run.
 */
#include "disk.h"
#include "synced.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FINDING_LIMIT 12U
#define PAGE_BYTES 4096U

static uint64_t killed_at; /* nanoseconds, CLOCK_REALTIME; 0: never */
static bool partial;       /* a stand-in: it may not offer all, and a write may be cut short */

struct ledger {
    struct op *ops;
    size_t count;
};

/* The operation in flight, with the bytes of its file as they were before. */
struct inflight {
    const struct op *op; /* NULL: none */
    struct object *file; /* of an operation on bytes, else NULL */
    uint64_t size_before;
    uint8_t *data_before;
};

struct comparison {
    struct model *model;
    struct disk *disk;
    struct inflight *inflight;
    unsigned findings;
    char text[FINDING_LIMIT][192];
};

__attribute__((format(printf, 2, 3))) static void finding(struct comparison *cmp,
                                                          const char *format, ...)
{
    va_list args;

    if (cmp->findings < FINDING_LIMIT) {
        va_start(args, format);
        vsnprintf(cmp->text[cmp->findings], sizeof(cmp->text[0]), format, args);
        va_end(args);
    }
    cmp->findings++;
}

/* The kernel sends one write(2) in several requests where a page in its cache is not up to date:
 * each is there whole or not at all, and they end at page borders. */
static bool is_cut(uint64_t size, uint64_t before, uint64_t after)
{
    return size > before && size < after && (partial || size % PAGE_BYTES == 0);
}

/* Exactly the model's bytes, unless the operation in flight was on them. */
static void compare_bytes(struct comparison *cmp, const struct object *file,
                          const struct disk_node *node, const char *path)
{
    const struct inflight *inflight = cmp->inflight;
    bool mixed = inflight && inflight->file == file;
    uint64_t before = mixed ? inflight->size_before : file->size;

    if (node->size != file->size && node->size != before &&
        !(mixed && is_cut(node->size, before, file->size))) {
        finding(cmp, "%s: size %lu, not %lu", path, (unsigned long)node->size,
                (unsigned long)file->size);
        return;
    }
    for (uint64_t i = 0; i < node->size; i++) {
        if (node->data[i] == file->data[i])
            continue;
        if (mixed && i < before && node->data[i] == inflight->data_before[i])
            continue;
        finding(cmp, "%s: byte %lu of %lu is %02x, not %02x", path, (unsigned long)i,
                (unsigned long)node->size, node->data[i], file->data[i]);
        return;
    }
}

static void compare_file(struct comparison *cmp, const struct object *file,
                         const struct disk_node *node, const char *path)
{
    uint8_t value[DISK_XATTR_LIMIT];

    compare_bytes(cmp, file, node, path);
    if (node->mode != file->mode)
        finding(cmp, "%s: mode %o, not %o", path, node->mode, file->mode);
    if (node->links != file->links)
        finding(cmp, "%s: %lu links, not %u", path, (unsigned long)node->links, file->links);
    for (unsigned i = 0; i < XATTR_COUNT; i++) {
        uint32_t length = file->xattr_length[i];

        pattern_fill(value, file->xattr_key[i], 0, length);
        if (node->xattr_length[i] != (int)length ||
            (length && memcmp(node->xattr[i], value, length)))
            finding(cmp, "%s: attribute user.x%u of %d bytes, not %u or other bytes", path, i,
                    node->xattr_length[i], length);
    }
}

static void compare_node(struct comparison *cmp, struct object *object,
                         const struct disk_node *node, const char *path)
{
    char target[1024];

    if (object->type != node->type) {
        finding(cmp, "%s: another type of file", path);
        return;
    }
    /* Its making was in flight: nobody could ask for the number. */
    if (object->inode == 0)
        object->inode = node->inode;
    if (object->inode != node->inode) {
        finding(cmp, "%s: another file (inode %lu, not %lu)", path, (unsigned long)node->inode,
                (unsigned long)object->inode);
        return;
    }
    if (object->type == OBJECT_FILE) {
        compare_file(cmp, object, node, path);
    } else if (object->type == OBJECT_SYMLINK) {
        pattern_target(target, object->key, object->length);
        if (strcmp((const char *)node->data, target) != 0)
            finding(cmp, "%s: another target", path);
    }
}

static void compare_tree(struct comparison *cmp, unsigned dir, const struct disk_node *node)
{
    struct object *object = &cmp->model->objects[dir];
    char path[80];

    if (!model_path(cmp->model, dir, path, sizeof(path) - 4))
        return;

    size_t used = strlen(path);

    if (node->foreign)
        finding(cmp, "%s: holds a name that was never made", path);
    for (unsigned name = 0; name < NAME_COUNT; name++) {
        struct object *child = model_entry(cmp->model, dir, name);
        const struct disk_node *found = NULL;

        if (node->entries[name] >= 0)
            found = &cmp->disk->nodes[node->entries[name]];
        snprintf(path + used, sizeof(path) - used, "/n%02u", name);
        if (child && !found)
            finding(cmp, "%s: is missing", path);
        else if (!child && found)
            finding(cmp, "%s: should not be there", path);
        else if (child)
            compare_node(cmp, child, found, path);
        if (child && found && child->type == OBJECT_DIR && found->type == OBJECT_DIR)
            compare_tree(cmp, object->entries[name], found);
    }
}

static bool is_byte_op(const struct op *op)
{
    return op->kind == OP_WRITE || op->kind == OP_APPEND || op->kind == OP_PUNCH ||
           op->kind == OP_ZERO || op->kind == OP_STORE;
}

static int ledger_read(struct ledger *ledger, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    ledger->count = (size_t)st.st_size / sizeof(struct op);
    ledger->ops = calloc(ledger->count + 1, sizeof(struct op));
    if (!ledger->ops)
        return -ENOMEM;
    if (read(fd, ledger->ops, ledger->count * sizeof(struct op)) !=
        (ssize_t)(ledger->count * sizeof(struct op)))
        return -EIO;
    close(fd);
    return 0;
}

/* What a dead FUSE server gives; ECANCELED: requests that its io_uring had not taken yet. */
static bool is_server_gone(unsigned error)
{
    return error == ENOTCONN || error == ECONNABORTED || error == EIO || error == EINTR ||
           error == ECANCELED;
}

/* Replays all that returned; the last operation, when it did not, becomes the one in flight. */
static int replay(struct model *model, const struct ledger *ledger, struct synced *synced,
                  struct inflight *inflight, unsigned *ret_operations, int *ret_verdict)
{
    unsigned operations = 0;
    int r;

    for (size_t i = 0; i < ledger->count; i++) {
        const struct op *op = &ledger->ops[i];

        if (op->phase == PHASE_END) {
            r = model_apply(model, op);
            if (r < 0)
                return r;
            synced_note(synced, op);
            operations++;
        } else if (op->phase == PHASE_FAILED) {
            if (partial && (op->error == EOPNOTSUPP || op->error == EINVAL))
                continue;
            if (is_server_gone(op->error) && killed_at && op->time >= killed_at) {
                inflight->op = op;
                continue;
            }
            printf("finding: operation %u, %s, failed while the server lived: %s\n", op->sequence,
                   op_name(op->kind), strerror(op->error));
            *ret_verdict = 2;
        } else if (i + 1 == ledger->count) {
            inflight->op = op;
        }
    }
    *ret_operations = operations;
    return 0;
}

/* The better of: as if the operation in flight never was, and as if it was done. */
static int check_returned(struct comparison *cmp, struct synced *synced)
{
    static struct comparison after;
    struct inflight *inflight = cmp->inflight;
    const struct op *op = inflight->op;
    struct object *target = op ? model_target(cmp->model, op) : NULL;
    int r;

    cmp->inflight = NULL;
    compare_tree(cmp, 0, &cmp->disk->nodes[0]);
    if (!op)
        return 0;
    if (is_byte_op(op) && target) {
        inflight->file = target;
        inflight->size_before = target->size;
        inflight->data_before = malloc(FILE_LIMIT);
        if (!inflight->data_before)
            return -ENOMEM;
        memcpy(inflight->data_before, target->data, FILE_LIMIT);
    }
    r = model_apply(cmp->model, op);
    if (r < 0)
        return r;
    synced_note(synced, op);
    /* Of a write cut short: neither size; compare_bytes looks at it. */
    if (inflight->file && (partial || op->kind == OP_WRITE || op->kind == OP_APPEND))
        synced->objects[target - cmp->model->objects].size_ok = true;
    after = (struct comparison){ .model = cmp->model, .disk = cmp->disk, .inflight = inflight };
    compare_tree(&after, 0, &cmp->disk->nodes[0]);
    if (after.findings == 0)
        cmp->findings = 0;
    return 0;
}

static int check_thread(const char *directory, const char *ledgers, unsigned number,
                        unsigned *ret_operations, int *ret_verdict)
{
    static struct model model;
    static struct comparison cmp;
    struct ledger ledger = { 0 };
    struct inflight inflight = { 0 };
    struct synced synced = { 0 };
    struct disk disk = { 0 };
    char path[4096], where[4096] = "";
    int r;

    snprintf(path, sizeof(path), "%s/t%u", ledgers, number);
    r = ledger_read(&ledger, path);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "%s/t%u", directory, number);
    r = disk_read(&disk, path, where, sizeof(where));
    if (r < 0) {
        printf("finding: t%u: %s cannot be read: %s\n", number, where, strerror(-r));
        *ret_verdict = 2;
        goto out;
    }
    r = model_init(&model);
    if (r < 0)
        goto out;
    model.objects[0].inode = disk.nodes[0].inode;
    synced_init(&synced, &model, &disk);
    r = replay(&model, &ledger, &synced, &inflight, ret_operations, ret_verdict);
    if (r < 0)
        goto out;
    printf("inflight %s\n", op_name(inflight.op ? inflight.op->kind : 0));

    cmp = (struct comparison){ .model = &model, .disk = &disk, .inflight = &inflight };
    r = check_returned(&cmp, &synced);
    if (r < 0)
        goto out;
    if (cmp.findings) {
        if (inflight.op)
            printf("finding: t%u: in flight: operation %u, %s of n%02u in %u (to n%02u in %u), "
                   "offset %lu length %lu\n",
                   number, inflight.op->sequence, op_name(inflight.op->kind), inflight.op->name,
                   inflight.op->dir, inflight.op->name2, inflight.op->dir2,
                   (unsigned long)inflight.op->offset, (unsigned long)inflight.op->length);
        for (unsigned i = 0; i < cmp.findings && i < FINDING_LIMIT; i++)
            printf("finding: t%u: %s\n", number, cmp.text[i]);
        if (*ret_verdict < 1)
            *ret_verdict = 1;
    }
    if (synced_report(&synced, number) > 0)
        *ret_verdict = 2;
out:
    synced_clear(&synced);
    model_clear(&model);
    disk_clear(&disk);
    free(inflight.data_before);
    free(ledger.ops);
    return r;
}

int main(int argc, char **argv)
{
    unsigned total = 0, threads = 0;
    int opt, verdict = 0;

    while ((opt = getopt(argc, argv, "k:p")) != -1) {
        if (opt == 'k')
            killed_at = strtoull(optarg, NULL, 10);
        else if (opt == 'p')
            partial = true;
        else
            return 3;
    }
    if (optind + 2 != argc) {
        fprintf(stderr, "usage: kill-check [-k NANOSECONDS] [-p] DIRECTORY LEDGER-DIRECTORY\n");
        return 3;
    }
    for (;; threads++) {
        unsigned operations = 0;
        int r = check_thread(argv[optind], argv[optind + 1], threads, &operations, &verdict);

        if (r == -ENOENT && threads > 0)
            break;
        if (r < 0) {
            fprintf(stderr, "kill-check: t%u: %s\n", threads, strerror(-r));
            return verdict == 2 ? 2 : 3;
        }
        total += operations;
    }
    printf("operations %u\n", total);
    return verdict;
}
