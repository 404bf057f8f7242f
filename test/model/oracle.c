/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model's life: nodes, slots, and what is common to every judgement.
 */
#include "oracle.h"

#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t oracle_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

bool judge_wrong(struct judgement *j, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(j->why, j->why_size, format, args);
    va_end(args);
    return false;
}

static const char *error_name(int error)
{
    const char *name = error ? strerrorname_np(error) : "success";

    return name ? name : "a number that is no errno";
}

bool judge_failed(struct judgement *j, bool *ret_ok)
{
    int got = j->got->error;

    if (got == ENOSPC && j->space && j->error == 0) {
        *ret_ok = j->got->little_space;
        if (!*ret_ok)
            judge_wrong(j, "ENOSPC although there is space");
        return true;
    }
    if (got == j->error || (j->also && got == j->also)) {
        *ret_ok = true;
        return got != 0;
    }
    *ret_ok = judge_wrong(j, "%s, expected %s%s%s", error_name(got), error_name(j->error),
                          j->also ? " or " : "", j->also ? error_name(j->also) : "");
    return true;
}

void node_touch(struct judgement *j, struct node *node, bool mtime, bool ctime)
{
    struct moment now = { .value = j->before };

    if (mtime)
        node->mtime = now;
    if (ctime)
        node->ctime = now;
}

void node_free(struct oracle *oracle, struct node *node)
{
    (void)oracle;
    content_free(&node->content);
    for (unsigned i = 0; i < XATTRS; i++)
        free(node->attribute[i].bytes);
    free(node->target);
    free(node->child);
    free(node->entry);
    free(node);
}

void slot_close(struct oracle *oracle, unsigned slot)
{
    struct node *node = oracle->slot[slot].node;

    oracle->slot[slot] = (struct oracle_slot){ 0 };
    if (node && --node->opens == 0 && node->links == 0)
        node_free(oracle, node);
}

void kill_setid(struct node *node)
{
    if (node_is(node, 0040000))
        return;
    node->mode &= ~04000u;
    if (node->mode & 010)
        node->mode &= ~02000u;
}

void oracle_open(struct oracle *oracle, bool kernel, const struct attr *root)
{
    struct node *node = calloc(1, sizeof(*node));

    if (!node)
        err(2, "model");
    node->child = calloc(NAMES, sizeof(*node->child));
    node->entry = calloc(NAMES, sizeof(*node->entry));
    if (!node->child || !node->entry)
        err(2, "model");
    node->mode = root->mode;
    node->links = 2;
    node->uid = root->uid;
    node->gid = root->gid;
    node->ino = root->ino;
    node->generation = root->generation;
    node->parent = node;
    *oracle = (struct oracle){ .kernel = kernel,
                               .root = node,
                               .size_max = kernel ? 15ull << 40 : (1ull << 56) - 1,
                               .xattr_max = 65536 };
}

static void free_tree(struct oracle *oracle, struct node *node)
{
    for (unsigned i = 0; node->child && i < NAMES; i++) {
        struct node *child = node->child[i];

        if (!child)
            continue;
        if (node_is(child, 0040000))
            free_tree(oracle, child);
        else if (--child->links == 0)
            node_free(oracle, child);
    }
    node_free(oracle, node);
}

void oracle_close(struct oracle *oracle)
{
    for (unsigned i = 0; i < SLOTS; i++)
        slot_close(oracle, i);
    free_tree(oracle, oracle->root);
    free(oracle->entry);
}

int oracle_resolve(const struct oracle *oracle, const struct path *path, struct node **ret_node)
{
    struct node *node = oracle->root;

    for (unsigned i = 0; i < path->length; i++) {
        if (oracle->kernel && !node_is(node, 0040000))
            return ENOTDIR;
        if (path->name[i] == NAME_TOO_LONG)
            return ENAMETOOLONG;
        if (!node_is(node, 0040000))
            return ENOTDIR;
        node = node->child[path->name[i]];
        if (!node)
            return ENOENT;
    }
    *ret_node = node;
    return 0;
}

static uint64_t mix(uint64_t value)
{
    struct rng rng = { value };

    return rng_next(&rng);
}

uint64_t listing_hash(const char *name, size_t length, uint32_t type)
{
    return mix(hash_bytes(name, length) + type);
}

static bool wrong_number(char *why, size_t size, const char *what, uint64_t is, uint64_t should)
{
    snprintf(why, size, "%s is %llu (%#llo), should be %llu (%#llo)", what, (unsigned long long)is,
             (unsigned long long)is, (unsigned long long)should, (unsigned long long)should);
    return false;
}

static bool check_moment(struct moment *moment, int64_t is, char *why, size_t size,
                         const char *what)
{
    if (moment->exact ? is != moment->value : is < moment->value) {
        snprintf(why, size, "%s is %lld, should be %s%lld", what, (long long)is,
                 moment->exact ? "" : "at least ", (long long)moment->value);
        return false;
    }
    *moment = (struct moment){ true, is };
    return true;
}

bool oracle_check_attr(struct node *node, const struct attr *attr, char *why, size_t size)
{
    if (attr->mode != node->mode)
        return wrong_number(why, size, "mode", attr->mode, node->mode);
    if (attr->links != node->links)
        return wrong_number(why, size, "link count", attr->links, node->links);
    if (attr->uid != node->uid)
        return wrong_number(why, size, "uid", attr->uid, node->uid);
    if (attr->gid != node->gid)
        return wrong_number(why, size, "gid", attr->gid, node->gid);
    if (!node_is(node, 0040000) && attr->size != node->size)
        return wrong_number(why, size, "size", attr->size, node->size);
    if (attr->major != node->major || attr->minor != node->minor)
        return wrong_number(why, size, "device", attr->major, node->major);
    if (node->ino && attr->ino != node->ino)
        return wrong_number(why, size, "inode number", attr->ino, node->ino);
    if (node->generation && attr->generation != node->generation)
        return wrong_number(why, size, "generation", attr->generation, node->generation);
    if (attr->blocks < content_count(&node->content))
        return wrong_number(why, size, "blocks", attr->blocks, content_count(&node->content));
    return check_moment(&node->mtime, attr->mtime, why, size, "mtime") &&
           check_moment(&node->ctime, attr->ctime, why, size, "ctime");
}

bool oracle_judge(struct oracle *oracle, const struct op *op, int64_t before,
                  const struct result *got, char *why, size_t why_size)
{
    struct judgement j = {
        .op = op, .got = got, .before = before, .why = why, .why_size = why_size
    };

    switch (op->kind) {
    case OP_CREATE:
    case OP_MKDIR:
    case OP_MKNOD:
    case OP_SYMLINK:
    case OP_LINK:
    case OP_UNLINK:
    case OP_RMDIR:
    case OP_RENAME:
    case OP_LOOKUP:
    case OP_READLINK:
    case OP_TMPFILE:
    case OP_LINKSLOT:
    case OP_READDIR:
        return judge_name(oracle, &j);
    case OP_OPEN:
    case OP_CLOSE:
    case OP_WRITE:
    case OP_STORE:
    case OP_READ:
    case OP_TRUNCATE:
    case OP_FALLOCATE:
    case OP_SHIFT:
    case OP_SEEK:
    case OP_COPY:
    case OP_FSYNC:
    case OP_SYNC:
    case OP_REMOUNT:
        return judge_file(oracle, &j);
    default:
        return judge_attr(oracle, &j);
    }
}
