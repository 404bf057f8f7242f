/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model of names: what makes, moves, removes and lists them.
 */
#include "oracle.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TYPE 0170000u
#define DIRECTORY 0040000u
#define REGULAR 0100000u
#define LINK 0120000u
#define CHARACTER 0020000u
#define BLOCK 0060000u

#define NOREPLACE 1u
#define EXCHANGE 2u
#define WHITEOUT 4u

/* ---- names in directories ---- */

static void entry_add(struct oracle *oracle, struct node *dir, uint8_t name, struct node *node)
{
    if (oracle->entries == oracle->entry_room) {
        oracle->entry_room = oracle->entry_room ? oracle->entry_room * 2 : 64;
        oracle->entry = reallocarray(oracle->entry, oracle->entry_room, sizeof(*oracle->entry));
        if (!oracle->entry)
            err(2, "model");
    }
    dir->entry[name] = oracle->entries;
    oracle->entry[oracle->entries++] = (struct oracle_entry){ dir, name };
    dir->child[name] = node;
    dir->entries++;
    if (node_is(node, DIRECTORY)) {
        node->parent = dir;
        node->parent_name = name;
        dir->links++;
    }
}

static void entry_remove(struct oracle *oracle, struct node *dir, uint8_t name)
{
    struct oracle_entry last = oracle->entry[--oracle->entries];

    oracle->entry[dir->entry[name]] = last;
    last.dir->entry[last.name] = dir->entry[name];
    if (node_is(dir->child[name], DIRECTORY))
        dir->links--;
    dir->child[name] = NULL;
    dir->entries--;
}

static void drop_link(struct oracle *oracle, struct judgement *j, struct node *node)
{
    node->links = node_is(node, DIRECTORY) ? 0 : node->links - 1;
    node_touch(j, node, false, true);
    if (node->links == 0 && node->opens == 0)
        node_free(oracle, node);
}

/* The directory of a path's last name, and that name. An errno in j->error is final. */
static bool find_dir(const struct oracle *oracle, struct judgement *j, const struct path *path,
                     struct node **ret_dir, uint8_t *ret_name)
{
    struct path above = *path;

    above.length--;
    j->error = oracle_resolve(oracle, &above, ret_dir);
    if (j->error)
        return false;
    *ret_name = path->name[above.length];
    if (!node_is(*ret_dir, DIRECTORY))
        j->error = ENOTDIR;
    if (*ret_name == NAME_TOO_LONG) {
        j->also = j->error;
        j->error = ENAMETOOLONG;
    }
    return j->error == 0;
}

/* ---- making ---- */

static struct node *node_make(struct judgement *j, const struct node *dir, uint32_t mode)
{
    const struct op *op = j->op;
    struct node *node = calloc(1, sizeof(*node));

    if (!node)
        err(2, "model");
    node->mode = mode;
    if ((mode & TYPE) != LINK)
        node->mode &= ~(op->umask & 0777);
    node->uid = op->uid;
    node->gid = op->gid;
    if (dir->mode & 02000) {
        node->gid = dir->gid;
        if ((mode & TYPE) == DIRECTORY)
            node->mode |= 02000;
    }
    node->links = 1;
    node->ino = j->got->attr.ino;
    node->generation = j->got->attr.generation;
    node_touch(j, node, true, true);
    if ((mode & TYPE) == DIRECTORY) {
        node->links = 2;
        node->child = calloc(NAMES, sizeof(*node->child));
        node->entry = calloc(NAMES, sizeof(*node->entry));
        if (!node->child || !node->entry)
            err(2, "model");
    }
    return node;
}

static bool check_made(struct judgement *j, struct node *node)
{
    return oracle_check_attr(node, &j->got->attr, j->why, j->why_size);
}

static bool judge_make(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    struct node *dir, *node = NULL;
    uint32_t mode = op->mode;
    uint8_t name;
    bool ok;

    if (op->kind == OP_CREATE) {
        slot_close(oracle, op->slot);
        mode = REGULAR | (mode & 07777);
    } else if (op->kind == OP_MKDIR) {
        /* mkdir(2) through the system lets the sticky bit pass, and no set-ID bits. */
        mode = DIRECTORY | (mode & (oracle->kernel ? 01777 : 07777));
    } else if (op->kind == OP_SYMLINK) {
        mode = LINK | 0777;
    }
    j->space = true;
    if (find_dir(oracle, j, &op->path, &dir, &name)) {
        if (dir->child[name])
            j->error = EEXIST;
        else if (dir->flags & FLAG_IMMUTABLE)
            j->error = EPERM;
    }
    if (judge_failed(j, &ok))
        return ok;
    node = node_make(j, dir, mode);
    if (op->kind == OP_MKNOD && ((mode & TYPE) == CHARACTER || (mode & TYPE) == BLOCK)) {
        node->major = op->major;
        node->minor = op->minor;
    }
    if (op->kind == OP_SYMLINK) {
        node->target = calloc(1, op->length + 1);
        fill_target(op->seed, node->target, op->length);
        node->size = op->length;
    }
    entry_add(oracle, dir, name, node);
    node_touch(j, dir, true, true);
    if (op->kind == OP_CREATE) {
        oracle->slot[op->slot] = (struct oracle_slot){ node, op->flags };
        node->opens++;
    }
    return check_made(j, node);
}

static bool judge_tmpfile(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    struct node *dir, *node = NULL;
    bool ok;

    slot_close(oracle, op->slot);
    j->space = true;
    j->error = oracle_resolve(oracle, &op->path, &dir);
    if (j->error == 0 && !node_is(dir, DIRECTORY))
        j->error = ENOTDIR;
    else if (j->error == 0 && (dir->flags & FLAG_IMMUTABLE))
        j->error = EPERM;
    if (judge_failed(j, &ok))
        return ok;
    node = node_make(j, dir, REGULAR | (op->mode & 07777));
    node->links = 0;
    node->linkable = true;
    oracle->slot[op->slot] = (struct oracle_slot){ node, op->flags };
    node->opens++;
    return check_made(j, node);
}

/* ---- links ---- */

static bool judge_link(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    const struct path *path = op->kind == OP_LINK ? &op->path2 : &op->path;
    struct node *dir, *node = NULL;
    uint8_t name;
    bool ok;

    j->space = true;
    if (op->kind == OP_LINK) {
        j->error = oracle_resolve(oracle, &op->path, &node);
    } else {
        node = oracle->slot[op->slot].node;
        j->error = node ? 0 : EBADF;
    }
    if (j->error == 0 && find_dir(oracle, j, path, &dir, &name)) {
        if (dir->child[name])
            j->error = EEXIST;
        else if (node_is(node, DIRECTORY) || (node->flags & FLAGS_FIXED) ||
                 (dir->flags & FLAG_IMMUTABLE))
            j->error = EPERM;
        else if (oracle->kernel && node->links == 0 && !node->linkable)
            j->error = ENOENT;
    }
    if (judge_failed(j, &ok))
        return ok;
    node->links++;
    node->linkable = false;
    entry_add(oracle, dir, name, node);
    node_touch(j, node, false, true);
    node_touch(j, dir, true, true);
    return true;
}

static bool is_protected(const struct node *dir, const struct node *node)
{
    return (dir->flags & FLAGS_FIXED) || (node->flags & FLAGS_FIXED);
}

static bool judge_remove(struct oracle *oracle, struct judgement *j)
{
    bool want_dir = j->op->kind == OP_RMDIR;
    struct node *dir, *node = NULL;
    uint8_t name;
    bool ok;

    if (find_dir(oracle, j, &j->op->path, &dir, &name)) {
        node = dir->child[name];
        if (!node)
            j->error = ENOENT;
        else if (node_is(node, DIRECTORY) != want_dir)
            j->error = want_dir ? ENOTDIR : EISDIR;
        if (node && is_protected(dir, node)) {
            j->also = j->error;
            j->error = EPERM;
        } else if (j->error == 0 && want_dir && node->entries > 0) {
            j->error = ENOTEMPTY;
        }
    }
    if (judge_failed(j, &ok))
        return ok;
    entry_remove(oracle, dir, name);
    node_touch(j, dir, true, true);
    drop_link(oracle, j, node);
    return true;
}

/* ---- rename ---- */

struct move {
    struct node *from, *to, *node, *target;
    uint8_t from_name, to_name;
};

static bool is_at_or_below(const struct node *node, const struct node *top)
{
    while (node != top && node->parent != node)
        node = node->parent;
    return node == top;
}

static void rename_errors(struct judgement *j, const struct move *m)
{
    uint32_t flags = j->op->flags;
    bool node_dir, target_dir;
    int types = 0, fixed = 0;

    if (!m->node) {
        j->error = ENOENT;
        return;
    }
    if (m->target && (flags & NOREPLACE)) {
        j->error = EEXIST;
        return;
    }
    if (!m->target && (flags & EXCHANGE)) {
        j->error = ENOENT;
        return;
    }
    node_dir = node_is(m->node, DIRECTORY);
    target_dir = m->target && node_is(m->target, DIRECTORY);
    if (node_dir && is_at_or_below(m->to, m->node)) {
        j->error = EINVAL;
        return;
    }
    if (target_dir && is_at_or_below(m->from, m->target)) {
        j->error = (flags & EXCHANGE) ? EINVAL : ENOTEMPTY;
        return;
    }
    if (m->node == m->target)
        return;
    if (m->target && !(flags & EXCHANGE) && node_dir != target_dir)
        types = node_dir ? ENOTDIR : EISDIR;
    if (is_protected(m->from, m->node) || (m->to->flags & FLAG_IMMUTABLE) ||
        (m->target && is_protected(m->to, m->target)))
        fixed = EPERM;
    j->error = fixed ? fixed : types;
    j->also = fixed ? types : 0;
    if (j->error == 0 && target_dir && !(flags & EXCHANGE) && m->target->entries > 0)
        j->error = ENOTEMPTY;
}

static void move_exchange(struct oracle *oracle, struct move *m)
{
    entry_remove(oracle, m->from, m->from_name);
    entry_remove(oracle, m->to, m->to_name);
    entry_add(oracle, m->from, m->from_name, m->target);
    entry_add(oracle, m->to, m->to_name, m->node);
}

static void move_over(struct oracle *oracle, struct judgement *j, struct move *m)
{
    if (m->target) {
        entry_remove(oracle, m->to, m->to_name);
        drop_link(oracle, j, m->target);
        m->target = NULL;
    }
    entry_remove(oracle, m->from, m->from_name);
    entry_add(oracle, m->to, m->to_name, m->node);
    if (j->op->flags & WHITEOUT) {
        struct node *whiteout = node_make(j, m->from, CHARACTER);

        whiteout->mode = CHARACTER;
        whiteout->ino = whiteout->generation = 0; /* not told */
        entry_add(oracle, m->from, m->from_name, whiteout);
    }
}

static bool judge_rename(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    struct move m = { 0 };
    int early = 0;
    bool ok;

    j->space = true;
    if (op->flags > 4 || op->flags == (NOREPLACE | EXCHANGE)) {
        if (op->flags != (NOREPLACE | WHITEOUT))
            early = EINVAL;
    }
    if (early) {
        j->error = early;
        j->also = j->got->error; /* of the paths, whichever is looked at first */
    } else if (find_dir(oracle, j, &op->path, &m.from, &m.from_name)) {
        if (find_dir(oracle, j, &op->path2, &m.to, &m.to_name)) {
            m.node = m.from->child[m.from_name];
            m.target = m.to->child[m.to_name];
            rename_errors(j, &m);
        }
    } else {
        /* Both directories are found before a name is looked at: either may be what is wrong. */
        struct judgement other = *j;

        find_dir(oracle, &other, &op->path2, &m.to, &m.to_name);
        if (j->error == ENAMETOOLONG && other.error)
            j->also = other.error;
    }
    if (judge_failed(j, &ok))
        return ok;
    if (m.node == m.target)
        return true;
    node_touch(j, m.node, false, true);
    node_touch(j, m.from, true, true);
    node_touch(j, m.to, true, true);
    if (op->flags & EXCHANGE) {
        node_touch(j, m.target, false, true);
        move_exchange(oracle, &m);
    } else {
        move_over(oracle, j, &m);
    }
    return true;
}

/* ---- looking ---- */

static bool judge_lookup(struct oracle *oracle, struct judgement *j)
{
    struct node *node;
    bool ok;

    j->error = oracle_resolve(oracle, &j->op->path, &node);
    if (judge_failed(j, &ok))
        return ok;
    return oracle_check_attr(node, &j->got->attr, j->why, j->why_size);
}

static bool judge_readlink(struct oracle *oracle, struct judgement *j)
{
    struct node *node;
    bool ok;

    j->error = oracle_resolve(oracle, &j->op->path, &node);
    if (j->error == 0 && !node_is(node, LINK))
        j->error = EINVAL;
    if (judge_failed(j, &ok))
        return ok;
    if ((uint64_t)j->got->value != node->size ||
        j->got->hash != hash_bytes(node->target, node->size))
        return judge_wrong(j, "the target is another");
    return true;
}

static bool judge_readdir(struct oracle *oracle, struct judgement *j)
{
    uint64_t hash = 0;
    struct node *node;
    bool ok;

    j->error = oracle_resolve(oracle, &j->op->path, &node);
    if (j->error == 0 && !node_is(node, DIRECTORY))
        j->error = ENOTDIR;
    if (judge_failed(j, &ok))
        return ok;
    for (unsigned i = 0; i < NAMES; i++)
        if (node->child[i])
            hash +=
                listing_hash(name_string(i), strlen(name_string(i)), node->child[i]->mode & TYPE);
    if (j->got->value != node->entries)
        return judge_wrong(j, "%lld entries, should be %u", (long long)j->got->value,
                           node->entries);
    if (j->got->hash != hash)
        return judge_wrong(j, "other names or types than there should be");
    return true;
}

bool judge_name(struct oracle *oracle, struct judgement *j)
{
    switch (j->op->kind) {
    case OP_TMPFILE:
        return judge_tmpfile(oracle, j);
    case OP_LINK:
    case OP_LINKSLOT:
        return judge_link(oracle, j);
    case OP_UNLINK:
    case OP_RMDIR:
        return judge_remove(oracle, j);
    case OP_RENAME:
        return judge_rename(oracle, j);
    case OP_LOOKUP:
        return judge_lookup(oracle, j);
    case OP_READLINK:
        return judge_readlink(oracle, j);
    case OP_READDIR:
        return judge_readdir(oracle, j);
    default:
        return judge_make(oracle, j);
    }
}
