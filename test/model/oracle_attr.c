/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The model of what hangs on an inode beside its bytes.
 */
#include "oracle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define DIRECTORY 0040000u
#define REGULAR 0100000u
#define LINK 0120000u

#define UNCHANGED UINT32_MAX

static bool judge_change(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    struct node *node;
    bool ok;

    j->error = oracle_resolve(oracle, &op->path, &node);
    if (j->error == 0 && op->kind == OP_CHMOD && node_is(node, LINK))
        j->error = ELOOP;
    else if (j->error == 0 && (node->flags & FLAGS_FIXED))
        j->error = EPERM;
    if (judge_failed(j, &ok))
        return ok;
    node_touch(j, node, false, true);
    if (op->kind == OP_CHMOD) {
        node->mode = (node->mode & 0170000) | (op->mode & 07777);
    } else if (op->kind == OP_CHOWN) {
        if (op->uid != UNCHANGED)
            node->uid = op->uid;
        if (op->gid != UNCHANGED)
            node->gid = op->gid;
        kill_setid(node);
    } else {
        node->mtime = (struct moment){ true, op->mtime };
    }
    return true;
}

static bool judge_setflags(struct oracle *oracle, struct judgement *j)
{
    struct node *node;
    bool ok;

    j->error = oracle_resolve(oracle, &j->op->path, &node);
    if (j->error == 0 && !node_is(node, REGULAR) && !node_is(node, DIRECTORY))
        j->error = EOPNOTSUPP;
    if (judge_failed(j, &ok))
        return ok;
    node->flags = j->op->flags;
    node_touch(j, node, false, true);
    return true;
}

static bool user_allowed(const struct node *node, unsigned xattr)
{
    return !xattr_is_user(xattr) || node_is(node, REGULAR) || node_is(node, DIRECTORY);
}

static bool judge_setxattr(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    struct attribute *attribute = NULL;
    struct node *node;
    bool ok;

    j->space = true;
    j->error = oracle_resolve(oracle, &op->path, &node);
    if (j->error == 0) {
        attribute = &node->attribute[op->xattr];
        if ((node->flags & FLAGS_FIXED) || !user_allowed(node, op->xattr))
            j->error = EPERM;
        else if ((op->flags & XATTR_CREATE) && attribute->present)
            j->error = EEXIST;
        else if ((op->flags & XATTR_REPLACE) && !attribute->present)
            j->error = ENODATA;
        if (op->length > oracle->xattr_max) {
            j->also = j->error;
            j->error = E2BIG;
        }
    }
    if (judge_failed(j, &ok))
        return ok;
    free(attribute->bytes);
    *attribute = (struct attribute){ .present = true,
                                     .length = (uint32_t)op->length,
                                     .bytes = malloc(op->length + 1) };
    fill_bytes(op->seed, attribute->bytes, op->length);
    node_touch(j, node, false, true);
    return true;
}

static bool judge_getxattr(struct oracle *oracle, struct judgement *j)
{
    const struct op *op = j->op;
    const struct attribute *attribute = NULL;
    struct node *node;
    bool ok;

    j->error = oracle_resolve(oracle, &op->path, &node);
    if (j->error == 0) {
        attribute = &node->attribute[op->xattr];
        if (!attribute->present)
            j->error = ENODATA;
        else if (op->length > 0 && attribute->length > op->length)
            j->error = ERANGE;
    }
    if (judge_failed(j, &ok))
        return ok;
    if (j->got->value != attribute->length)
        return judge_wrong(j, "%lld bytes, should be %u", (long long)j->got->value,
                           attribute->length);
    if (op->length > 0 && j->got->hash != hash_bytes(attribute->bytes, attribute->length))
        return judge_wrong(j, "another value than was set");
    return true;
}

static bool judge_listxattr(struct oracle *oracle, struct judgement *j)
{
    uint64_t hash = 0;
    int64_t length = 0;
    struct node *node;
    bool ok;

    j->error = oracle_resolve(oracle, &j->op->path, &node);
    if (judge_failed(j, &ok))
        return ok;
    for (unsigned i = 0; i < XATTRS; i++) {
        if (!node->attribute[i].present)
            continue;
        length += (int64_t)strlen(xattr_string(i)) + 1;
        hash += listing_hash(xattr_string(i), strlen(xattr_string(i)), 0);
    }
    if (j->got->value != length || j->got->hash != hash)
        return judge_wrong(j, "other names than were set: %lld bytes, should be %lld",
                           (long long)j->got->value, (long long)length);
    return true;
}

static bool judge_removexattr(struct oracle *oracle, struct judgement *j)
{
    struct attribute *attribute = NULL;
    struct node *node;
    bool ok;

    j->error = oracle_resolve(oracle, &j->op->path, &node);
    if (j->error == 0) {
        attribute = &node->attribute[j->op->xattr];
        if ((node->flags & FLAGS_FIXED) || !user_allowed(node, j->op->xattr))
            j->error = EPERM;
        else if (!attribute->present)
            j->error = ENODATA;
    }
    if (judge_failed(j, &ok))
        return ok;
    free(attribute->bytes);
    *attribute = (struct attribute){ 0 };
    node_touch(j, node, false, true);
    return true;
}

bool judge_attr(struct oracle *oracle, struct judgement *j)
{
    switch (j->op->kind) {
    case OP_SETFLAGS:
        return judge_setflags(oracle, j);
    case OP_SETXATTR:
        return judge_setxattr(oracle, j);
    case OP_GETXATTR:
        return judge_getxattr(oracle, j);
    case OP_LISTXATTR:
        return judge_listxattr(oracle, j);
    case OP_REMOVEXATTR:
        return judge_removexattr(oracle, j);
    default:
        return judge_change(oracle, j);
    }
}
