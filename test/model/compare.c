/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that can be seen of the filesystem under test, held against the model; and taking all
 * of it away.
 */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART (256u << 10)
#define FLAGS_SEEN 0xf0u /* immutable, append, nodump, noatime */

struct walk {
    struct engine *engine;
    struct fs *fs;
    struct fs_request rq;
    char *why;
    size_t why_size;
    char place[4096];
    uint8_t *is, *should;
};

static bool differs(struct walk *walk, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool differs(struct walk *walk, const char *format, ...)
{
    char text[600];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(walk->why, walk->why_size, "%.300s: %s", walk->place[0] ? walk->place : "/", text);
    return false;
}

static bool compare_bytes(struct walk *walk, struct fs_handle *handle, const struct node *node,
                          uint64_t from, uint64_t to)
{
    while (from < to) {
        size_t part = to - from < PART ? to - from : PART;
        ssize_t n = fs_pread(walk->fs, &walk->rq, handle, walk->is, part, from);

        if (n != (ssize_t)part)
            return differs(walk, "read of %zu bytes at %llu gives %zd", part,
                           (unsigned long long)from, n);
        content_read(&node->content, from, walk->should, part);
        for (size_t i = 0; i < part; i++)
            if (walk->is[i] != walk->should[i])
                return differs(walk, "byte %llu is %02x, should be %02x",
                               (unsigned long long)(from + i), walk->is[i], walk->should[i]);
        from += part;
    }
    return true;
}

static bool compare_content(struct walk *walk, struct fs_handle *handle, const struct node *node)
{
    uint64_t at = 0;

    while (at < node->size) {
        uint64_t data = node->size, hole;
        int r;

        r = fs_lseek(walk->fs, &walk->rq, handle, at, SEEK_DATA, &data);
        if (r < 0 && r != -ENXIO)
            return differs(walk, "seek for data at %llu: %s", (unsigned long long)at, strerror(-r));
        if (content_any(&node->content, at, data))
            return differs(walk, "a hole from %llu to %llu, where there should be data",
                           (unsigned long long)at, (unsigned long long)data);
        if (r == -ENXIO)
            break;
        r = fs_lseek(walk->fs, &walk->rq, handle, data, SEEK_HOLE, &hole);
        if (r < 0 || hole <= data || hole > node->size)
            return differs(walk, "seek for a hole at %llu: %s, %llu", (unsigned long long)data,
                           strerror(-r), (unsigned long long)hole);
        if (!compare_bytes(walk, handle, node, data, hole))
            return false;
        at = hole;
    }
    return true;
}

static bool compare_xattrs(struct walk *walk, uint64_t ino, const struct node *node)
{
    for (unsigned i = 0; i < XATTRS; i++) {
        const struct attribute *attribute = &node->attribute[i];
        ssize_t n = fs_getxattr(walk->fs, &walk->rq, ino, xattr_string(i), walk->is, PART);

        if (!attribute->present ? n != -ENODATA
                                : n != (ssize_t)attribute->length ||
                                      memcmp(walk->is, attribute->bytes, attribute->length) != 0)
            return differs(walk, "%s gives %zd, should be %s of %u bytes", xattr_string(i), n,
                           attribute->present ? "one" : "none", attribute->length);
    }
    return true;
}

static bool compare_target(struct walk *walk, uint64_t ino, const struct node *node)
{
    char *target = NULL;
    bool same;
    int r;

    r = fs_readlink(walk->fs, &walk->rq, ino, &target);
    if (r < 0)
        return differs(walk, "readlink: %s", strerror(-r));
    same = strcmp(target, node->target) == 0;
    free(target);
    return same ? true : differs(walk, "another target");
}

/* All of a node but its children. handle may be NULL. */
static bool compare_node(struct walk *walk, uint64_t ino, struct node *node,
                         struct fs_handle *handle)
{
    struct fs_handle *own = NULL;
    struct fs_attr attr;
    struct attr seen;
    char why[300];
    bool same;
    int r;

    r = fs_getattr(walk->fs, &walk->rq, ino, &attr);
    if (r < 0)
        return differs(walk, "getattr: %s", strerror(-r));
    engine_attr(&attr, &seen);
    if (!oracle_check_attr(node, &seen, why, sizeof(why)))
        return differs(walk, "%s", why);
    if ((attr.flags & FLAGS_SEEN) != node->flags)
        return differs(walk, "flags are %#x, should be %#x", attr.flags, node->flags);
    if (!compare_xattrs(walk, ino, node))
        return false;
    if (S_ISLNK(attr.mode))
        return compare_target(walk, ino, node);
    if (!S_ISREG(attr.mode))
        return true;
    if (!handle) {
        r = fs_open_file(walk->fs, &walk->rq, ino, O_RDONLY, false, &own);
        if (r < 0)
            return differs(walk, "open: %s", strerror(-r));
    }
    same = compare_content(walk, handle ? handle : own, node);
    if (own)
        fs_release(walk->fs, own);
    return same;
}

struct names {
    const struct node *node;
    unsigned count;
    char bad[300];
};

static int see_name(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    struct names *names = arg;
    int name = name_number(entry->name.bytes, entry->name.length);
    const struct node *child;

    (void)attr;
    if (entry->name.bytes[0] == '.')
        return 0;
    child = name < 0 ? NULL : names->node->child[name];
    if (!child || child->mode >> 12 != entry->type)
        snprintf(names->bad, sizeof(names->bad), "an entry %.*s of type %u",
                 (int)entry->name.length, entry->name.bytes, entry->type);
    names->count++;
    return 0;
}

static bool compare_listing(struct walk *walk, uint64_t ino, const struct node *node)
{
    struct names names = { .node = node };
    struct fs_handle *handle;
    int r;

    r = fs_open_file(walk->fs, &walk->rq, ino, O_RDONLY, false, &handle);
    if (r == 0) {
        r = fs_readdir(walk->fs, &walk->rq, handle, 0, false, see_name, &names);
        fs_release(walk->fs, handle);
    }
    if (r < 0)
        return differs(walk, "listing: %s", strerror(-r));
    if (names.bad[0])
        return differs(walk, "%s", names.bad);
    if (names.count != node->entries)
        return differs(walk, "%u entries, should be %u", names.count, node->entries);
    return true;
}

static bool compare_tree(struct walk *walk, uint64_t ino, struct node *node)
{
    size_t length = strlen(walk->place);

    if (!compare_node(walk, ino, node, NULL))
        return false;
    if (!node->child)
        return true;
    if (!compare_listing(walk, ino, node))
        return false;
    for (unsigned i = 0; i < NAMES; i++) {
        struct fs_attr attr;
        bool same;
        int r;

        if (!node->child[i])
            continue;
        snprintf(walk->place + length, sizeof(walk->place) - length, "/%.12s", name_string(i));
        r = fs_lookup(walk->fs, &walk->rq, ino, fs_name(name_string(i)), &attr);
        if (r < 0)
            return differs(walk, "lookup: %s", strerror(-r));
        same = compare_tree(walk, attr.ino, node->child[i]);
        fs_forget(walk->fs, attr.ino, 1);
        if (!same)
            return false;
        walk->place[length] = 0;
    }
    return true;
}

bool engine_compare(struct engine *engine, struct oracle *oracle, char *why, size_t why_size)
{
    struct walk walk = { .engine = engine,
                         .fs = engine->image->fs,
                         .rq = { .in_group = true },
                         .why = why,
                         .why_size = why_size,
                         .is = malloc(PART),
                         .should = malloc(PART) };
    bool same;

    same = compare_tree(&walk, engine->root, oracle->root);
    for (unsigned i = 0; same && i < SLOTS; i++) {
        struct node *node = oracle->slot[i].node;

        if (!node)
            continue;
        snprintf(walk.place, sizeof(walk.place), "slot %u", i);
        same = compare_node(&walk, fs_handle_ino(engine->slot[i]), node, NULL);
    }
    free(walk.is);
    free(walk.should);
    return same;
}

/* ---- taking everything away ---- */

struct victims {
    char name[NAMES * 2][260];
    bool dir[NAMES * 2];
    unsigned count;
};

static int see_victim(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    struct victims *victims = arg;

    (void)attr;
    if (entry->name.bytes[0] == '.')
        return 0;
    if (victims->count == NAMES * 2)
        return 1;
    memcpy(victims->name[victims->count], entry->name.bytes, entry->name.length);
    victims->name[victims->count][entry->name.length] = 0;
    victims->dir[victims->count++] = entry->type == 4;
    return 0;
}

static int empty_dir(struct fs *fs, uint64_t ino)
{
    struct fs_request rq = { .in_group = true };
    struct victims *victims = calloc(1, sizeof(*victims));
    struct fs_handle *handle;
    int r;

    r = fs_open_file(fs, &rq, ino, O_RDONLY, false, &handle);
    if (r == 0) {
        r = fs_readdir(fs, &rq, handle, 0, false, see_victim, victims);
        fs_release(fs, handle);
    }
    for (unsigned i = 0; r == 0 && i < victims->count; i++) {
        struct fs_name name = fs_name(victims->name[i]);
        struct fs_attr attr;

        r = fs_lookup(fs, &rq, ino, name, &attr);
        if (r == 0 && (attr.flags & FLAGS_FIXED))
            r = fs_setflags(fs, &rq, attr.ino, 0);
        if (r == 0 && victims->dir[i])
            r = empty_dir(fs, attr.ino);
        if (r == 0)
            r = victims->dir[i] ? fs_rmdir(fs, &rq, ino, name) : fs_unlink(fs, &rq, ino, name);
        if (r == 0)
            fs_forget(fs, attr.ino, 1);
    }
    free(victims);
    return r;
}

bool engine_empty(struct engine *engine, char *why, size_t why_size)
{
    struct fs *fs = engine->image->fs;
    struct fs_request rq = { .in_group = true };
    struct fs_info info;
    int r;

    engine_close_slots(engine);
    r = fs_setflags(fs, &rq, engine->root, 0);
    if (r == 0)
        r = empty_dir(fs, engine->root);
    if (r == 0)
        r = fs_sync(fs);
    if (r < 0) {
        snprintf(why, why_size, "taking everything away: %s", strerror(-r));
        return false;
    }
    fs_get_info(fs, &info);
    if (info.handles != 0) {
        snprintf(why, why_size, "%llu handles are left", (unsigned long long)info.handles);
        return false;
    }
    return true;
}
