/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mkfs.daxfuse: makes a pool.
 *
 * The superblock is written last: until then the file is no pool, so that a mkfs that is cut off
 * leaves nothing that could be mounted. Exit status: 0, 1 failed, 2 usage.
 */
#include "base/log.h"
#include "base/random.h"
#include "base/stdfds.h"
#include "base/uuid.h"
#include "journal/journal.h"
#include "media/pool.h"
#include "meta/meta.h"
#include "space/space.h"
#include "tools/size.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE };

struct mkfs {
    const char *path;
    const char *label;
    struct pool_create_options create;
};

static const char usage_text[] =
    "Usage: mkfs.daxfuse -s SIZE [-L LABEL] [--sparse] [--force] POOL\n"
    "\n"
    "Makes a daxfuse pool in the file or block device POOL.\n"
    "\n"
    "  -s, --size SIZE    8M to 64T; K, M, G, T are powers of 1024; may be left out\n"
    "                     where POOL is there and has a size\n"
    "  -L, --label LABEL  a name for the pool, 63 bytes at most\n"
    "      --sparse       do not preallocate the file: space is taken when it is used\n"
    "  -f, --force        overwrite what POOL holds\n"
    "  -h, --help         show this\n"
    "  -V, --version      show the version\n";

/* RFC 4122, version 4. */
static void make_uuid(uint8_t uuid[16])
{
    random_bytes(uuid, 16);
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

static uint64_t random_seed(void)
{
    uint64_t seed;
    random_bytes(&seed, sizeof(seed));
    return seed;
}

static void fill_super(struct dxf_super *super, const struct mkfs *mkfs, uint64_t blocks)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    memset(super, 0, sizeof(*super));
    memcpy(super->magic, DXF_MAGIC, sizeof(super->magic));
    super->version = le32_make(DXF_VERSION);
    make_uuid(super->uuid);
    if (mkfs->label != NULL)
        memcpy(super->label, mkfs->label, strlen(mkfs->label));
    super->pool_blocks = le64_make(blocks);
    super->log_seed = le64_make(random_seed());
    super->hash_seed = le64_make(random_seed());
    super->created = le64_make((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

/* Everything but the superblock. *ret_failed: what could not be done. */
static int format_pool(struct pool *pool, const char **ret_failed)
{
    struct journal *journal;
    struct space *space;

    int error = layout_compute(&pool->super);
    if (error < 0) {
        *ret_failed = "laying it out";
        return error;
    }
    *ret_failed = "writing the allocation bitmap";
    error = space_format(pool);
    if (error < 0)
        return error;
    *ret_failed = "writing the journal";
    error = journal_format(pool);
    if (error < 0)
        return error;
    error = journal_open(pool, &journal);
    if (error < 0)
        return error;
    *ret_failed = "reading the allocation bitmap back";
    error = space_open(pool, journal, &space);
    if (error < 0)
        goto close_journal;
    *ret_failed = "writing the first inodes";
    error = meta_format(pool, journal, space, 0755, getuid(), getgid());
    space_close(space);
close_journal:
    journal_close(journal);
    return error;
}

static void print_facts(const struct pool *pool, const struct mkfs *mkfs)
{
    char size[SIZE_TEXT], logs[SIZE_TEXT], uuid[UUID_TEXT];
    uint64_t log_bytes = (uint64_t)le32_get(pool->super.log_blocks) * DXF_BLOCK_SIZE;

    printf("%s: %s%s%s%s, %s, %" PRIu32 " logs of %s, uuid %s\n", pool->path,
           size_format(pool->size, size), mkfs->label ? ", \"" : "", mkfs->label ? mkfs->label : "",
           mkfs->label ? "\"" : "", mkfs->create.sparse ? "sparse" : "preallocated",
           le32_get(pool->super.log_count), size_format(log_bytes, logs),
           uuid_format(pool->super.uuid, uuid));
}

static int make_pool(const struct mkfs *mkfs)
{
    const char *failed = "writing the superblock";
    char *message = NULL;
    struct pool *pool;
    bool was_there = access(mkfs->path, F_OK) == 0;

    int error = pool_create(mkfs->path, &mkfs->create, &pool, &message);
    if (error < 0) {
        fprintf(stderr, "mkfs.daxfuse: %s\n", message ? message : strerror(-error));
        free(message);
        return EXIT_FAILED;
    }
    fill_super(&pool->super, mkfs, pool->blocks);
    error = format_pool(pool, &failed);
    if (error == 0 && pool_range_is_bad(pool, 0, pool->size))
        error = -EIO;
    if (error == 0) {
        failed = "writing the superblock";
        error = pool_write_super(pool);
    }
    if (error == 0) {
        print_facts(pool, mkfs);
    } else {
        fprintf(
            stderr, "mkfs.daxfuse: %s: %s failed: %s; %s\n", mkfs->path, failed, strerror(-error),
            error == -ENOSPC ? "make room on its file system" : "see whether the medium is sound");
        if (!was_there)
            unlink(mkfs->path);
    }
    pool_close(pool);
    return error == 0 ? EXIT_OK : EXIT_FAILED;
}

static int usage_error(const char *text, const char *about)
{
    fprintf(stderr, "mkfs.daxfuse: %s%s%s\nTry 'mkfs.daxfuse --help'.\n", about ? about : "",
            about ? ": " : "", text);
    return EXIT_USAGE;
}

static int parse_size(const char *text, uint64_t *ret_size)
{
    uint64_t size;
    int error = size_parse(text, &size);

    if (error == -EINVAL)
        return usage_error("not a size; write for example 512M, 16G or 2T", text);
    if (error == -ERANGE || size > DXF_POOL_SIZE_MAX)
        return usage_error("too large for a pool; the most is 64T", text);
    if (size < DXF_POOL_SIZE_MIN)
        return usage_error("too small for a pool; the least is 8M", text);
    if (size % DXF_BLOCK_SIZE != 0)
        return usage_error("not a multiple of 4096 bytes", text);
    *ret_size = size;
    return EXIT_OK;
}

static int parse_options(int argc, char **argv, struct mkfs *mkfs)
{
    static const struct option options[] = {
        { "size", required_argument, NULL, 's' },
        { "label", required_argument, NULL, 'L' },
        { "sparse", no_argument, NULL, 'S' },
        { "force", no_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "s:L:fhV", options, NULL)) != -1) {
        switch (option) {
        case 's':
            if (parse_size(optarg, &mkfs->create.size) != EXIT_OK)
                return EXIT_USAGE;
            break;
        case 'L':
            if (strlen(optarg) >= sizeof(((struct dxf_super *)NULL)->label))
                return usage_error("a label has 63 bytes at most", optarg);
            mkfs->label = optarg[0] != '\0' ? optarg : NULL;
            break;
        case 'S':
            mkfs->create.sparse = true;
            break;
        case 'f':
            mkfs->create.force = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(EXIT_OK);
        case 'V':
            puts("mkfs.daxfuse " DAXFUSE_VERSION);
            exit(EXIT_OK);
        default:
            fputs("Try 'mkfs.daxfuse --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (argc - optind != 1)
        return usage_error(optind == argc ? "name the pool to make" : "name one pool", NULL);
    mkfs->path = argv[optind];
    if (mkfs->create.size == 0 && access(mkfs->path, F_OK) != 0)
        return usage_error("does not exist: say how large the pool shall be (-s SIZE)", mkfs->path);
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    struct mkfs mkfs = { 0 };

    if (stdfds_open() < 0)
        return EXIT_FAILED;
    log_open("mkfs.daxfuse", LOG_TARGET_STDERR, LOG_LEVEL_WARN);
    int status = parse_options(argc, argv, &mkfs);
    if (status != EXIT_OK)
        return status;
    int error = pool_guard_install();
    if (error < 0) {
        fprintf(stderr, "mkfs.daxfuse: signals cannot be caught: %s\n", strerror(-error));
        return EXIT_FAILED;
    }
    status = make_pool(&mkfs);
    if (fflush(stdout) != 0)
        status = EXIT_FAILED;
    return status;
}
