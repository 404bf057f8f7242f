/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies a host file into a pool that is not mounted, through the operation API: what a door does,
 * without a kernel in between.
 *
 *   mkfs.daxfuse -s 64M pool
 *   copy_in pool /etc/services services
 *
 * The pool is locked while the program runs, as it is by a server.
 */
#include "base/stdfds.h"
#include "fs/fs.h"
#include "media/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int copy_bytes(struct fs *fs, const struct fs_request *rq, int from, struct fs_handle *to)
{
    static char buffer[1 << 20];
    uint64_t offset = 0;
    ssize_t got;

    while ((got = read(from, buffer, sizeof(buffer))) > 0) {
        for (ssize_t done = 0; done < got;) {
            ssize_t put = fs_pwrite(fs, rq, to, buffer + done, (size_t)(got - done), offset);

            if (put < 0)
                return (int)put;
            done += put;
            offset += (uint64_t)put;
        }
    }
    return got < 0 ? -errno : 0;
}

static int copy_in(struct fs *fs, int from, const char *name)
{
    const struct fs_request rq = {
        .uid = getuid(), .gid = getgid(), .umask = 022, .in_group = true
    };
    struct fs_handle *handle;
    struct fs_attr attr;
    int r;

    r = fs_create(fs, &rq, DXF_INO_ROOT, fs_name(name), 0666, O_WRONLY | O_EXCL, &attr, &handle);
    if (r < 0)
        return r;
    r = copy_bytes(fs, &rq, from, handle);
    fs_release(fs, handle);
    fs_forget(fs, attr.ino, 1);
    return r;
}

static int run(const char *path, int from, const char *name)
{
    const struct pool_options pool_options = { .pmem = POOL_PMEM_AUTO };
    const struct fs_options fs_options = { .noatime = true };
    char *message = NULL;
    struct pool *pool;
    struct fs *fs;
    int r;

    r = pool_open(path, &pool_options, &pool, &message);
    if (r < 0) {
        fprintf(stderr, "copy_in: %s\n", message ? message : strerror(-r));
        free(message);
        return r;
    }
    r = fs_open(pool, &fs_options, &fs, NULL);
    if (r == 0) {
        r = copy_in(fs, from, name);
        fs_close(fs);
    }
    pool_close(pool);
    if (r < 0)
        fprintf(stderr, "copy_in: %s: %s\n", name, strerror(-r));
    return r;
}

int main(int argc, char **argv)
{
    int from, r;

    if (stdfds_open() < 0)
        return 1;
    if (argc != 4) {
        fprintf(stderr, "usage: copy_in POOL FILE NAME\n");
        return 2;
    }
    from = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        fprintf(stderr, "copy_in: %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    r = pool_guard_install();
    if (r == 0)
        r = run(argv[1], from, argv[3]);
    close(from);
    return r < 0;
}
