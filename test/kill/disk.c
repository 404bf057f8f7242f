/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads a thread's directory back after the server was killed: everything, by system calls. */
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NODE_LIMIT 4096U

struct disk_node *disk_find(struct disk *disk, uint64_t inode)
{
    for (unsigned i = 0; i < disk->count; i++) {
        if (disk->nodes[i].inode == inode)
            return &disk->nodes[i];
    }
    return NULL;
}

void disk_clear(struct disk *disk)
{
    for (unsigned i = 0; i < disk->count; i++) {
        free(disk->nodes[i].data);
        for (unsigned x = 0; x < XATTR_COUNT; x++)
            free(disk->nodes[i].xattr[x]);
    }
    free(disk->nodes);
    memset(disk, 0, sizeof(*disk));
}

static int read_file(struct disk_node *node, const char *path)
{
    uint64_t at = 0;
    int fd, r = 0;

    if (node->size > FILE_LIMIT)
        return -EFBIG;
    node->data = calloc(1, FILE_LIMIT);
    if (!node->data)
        return -ENOMEM;
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (at < node->size) {
        ssize_t n = pread(fd, node->data + at, node->size - at, (off_t)at);

        if (n < 0) {
            r = -errno;
            break;
        }
        if (n == 0) {
            r = -EIO; /* shorter than stat said */
            break;
        }
        at += (uint64_t)n;
    }
    close(fd);
    return r;
}

static int read_xattrs(struct disk_node *node, const char *path)
{
    uint8_t buf[DISK_XATTR_LIMIT];
    char name[16];

    for (unsigned i = 0; i < XATTR_COUNT; i++) {
        ssize_t n;

        snprintf(name, sizeof(name), "user.x%u", i);
        n = lgetxattr(path, name, buf, sizeof(buf));
        if (n < 0 && errno != ENODATA && errno != EOPNOTSUPP)
            return -errno;
        if (n <= 0)
            continue;
        node->xattr[i] = malloc((size_t)n);
        if (!node->xattr[i])
            return -ENOMEM;
        memcpy(node->xattr[i], buf, (size_t)n);
        node->xattr_length[i] = (int)n;
    }
    return 0;
}

static int read_node(struct disk *disk, char *path, size_t used, size_t size, int *ret_index);

static int read_dir(struct disk *disk, unsigned index, char *path, size_t used, size_t size)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return -errno;
    while (errno = 0, (entry = readdir(dir))) {
        unsigned name;
        char end;
        int child;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (strlen(entry->d_name) != 3 || sscanf(entry->d_name, "n%2u%c", &name, &end) != 1 ||
            name >= NAME_COUNT || disk->nodes[index].entries[name] >= 0) {
            disk->nodes[index].foreign = true;
            continue;
        }
        if (used + 5 > size) {
            r = -ENAMETOOLONG;
            break;
        }
        snprintf(path + used, size - used, "/%.3s", entry->d_name);
        r = read_node(disk, path, used + 4, size, &child);
        if (r < 0)
            break;
        path[used] = '\0';
        disk->nodes[index].entries[name] = child;
    }
    if (!entry && errno)
        r = -errno;
    closedir(dir);
    return r;
}

static int read_node(struct disk *disk, char *path, size_t used, size_t size, int *ret_index)
{
    struct disk_node *node;
    unsigned index = disk->count;
    struct stat st;
    ssize_t n;
    int r;

    if (lstat(path, &st) < 0)
        return -errno;
    node = disk_find(disk, st.st_ino);
    if (node && node->type != OBJECT_DIR) {
        *ret_index = (int)(node - disk->nodes);
        return 0;
    }
    if (node || index == NODE_LIMIT)
        return -ELOOP;

    node = &disk->nodes[disk->count++];
    node->inode = st.st_ino;
    node->links = st.st_nlink;
    node->mode = st.st_mode & 07777;
    node->size = (uint64_t)st.st_size;
    for (unsigned i = 0; i < NAME_COUNT; i++)
        node->entries[i] = -1;
    *ret_index = (int)index;

    switch (st.st_mode & S_IFMT) {
    case S_IFREG:
        node->type = OBJECT_FILE;
        r = read_file(node, path);
        return r < 0 ? r : read_xattrs(node, path);
    case S_IFLNK:
        node->type = OBJECT_SYMLINK;
        node->data = calloc(1, 4097);
        if (!node->data)
            return -ENOMEM;
        n = readlink(path, (char *)node->data, 4096);
        return n < 0 ? -errno : 0;
    case S_IFDIR:
        node->type = OBJECT_DIR;
        return read_dir(disk, index, path, used, size);
    default:
        return -EINVAL;
    }
}

int disk_read(struct disk *disk, const char *path, char *ret_where, size_t size)
{
    char buf[4096];
    int root, r;

    memset(disk, 0, sizeof(*disk));
    disk->nodes = calloc(NODE_LIMIT, sizeof(*disk->nodes));
    if (!disk->nodes)
        return -ENOMEM;
    snprintf(buf, sizeof(buf), "%s", path);
    r = read_node(disk, buf, strlen(buf), sizeof(buf), &root);
    if (r < 0)
        snprintf(ret_where, size, "%s", buf);
    return r;
}
