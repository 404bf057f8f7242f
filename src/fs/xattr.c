/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes as a door sees them: full names, ACLs that move the mode, capabilities.
 *
 * An access ACL that says no more than the mode does is not kept: the mode says it. A flag in the
 * inode remembers that there is a security.capability, so that a write need not look.
 */
#include "fs/internal.h"

#include "meta/xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static const struct xattr_name capability = { .space = DXF_XATTR_SECURITY,
                                              .bytes = "capability",
                                              .length = 10 };

static bool is_capability(const struct xattr_name *name)
{
    return name->space == capability.space && name->length == capability.length &&
           memcmp(name->bytes, capability.bytes, capability.length) == 0;
}

int privileges_drop(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record,
                    bool suidgid)
{
    int r = 0;

    if (suidgid)
        record_kill_suidgid(record);
    if (le32_get(record->flags) & DXF_FLAG_CAPABILITY) {
        r = xattr_remove(fs->meta, txn, ino, record, &capability);
        if (r == -ENODATA)
            r = 0;
        record->flags = le32_make(le32_get(record->flags) & ~DXF_FLAG_CAPABILITY);
    }
    return r;
}

/* user.* belongs to files and directories alone, as xattr(7) says. */
static int check_kind(const struct dxf_inode *record, const struct xattr_name *name)
{
    if (name->space == DXF_XATTR_USER && !record_is_regular(record) && !record_is_dir(record))
        return -EPERM;
    return 0;
}

static bool is_acl(const struct xattr_name *name)
{
    return name->space == DXF_XATTR_ACL_ACCESS || name->space == DXF_XATTR_ACL_DEFAULT;
}

ssize_t fs_getxattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, const char *name,
                    void *buffer, size_t size)
{
    const struct dxf_inode *record;
    struct xattr_name parsed;
    struct inode *inode;
    void *value = NULL;
    size_t length = 0;
    int r;

    (void)rq;
    r = xattr_parse(name, &parsed);
    if (r == 0)
        r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, ino, &record);
    if (r == 0)
        r = le64_get(record->xattr) == 0
                ? -ENODATA
                : xattr_get(fs->meta, NULL, ino, record, &parsed, &value, &length);
    rwlock_read_release(&inode->map_lock);
    inode_put(fs, inode);
    if (r == 0 && size > 0 && length > size)
        r = -ERANGE;
    if (r == 0 && size > 0 && length > 0)
        memcpy(buffer, value, length);
    free(value);
    return r < 0 ? r : (ssize_t)length;
}

struct listing {
    char *buffer;
    size_t size, used;
    bool trusted; /* is shown trusted.* */
};

static int list_one(void *arg, const struct xattr_name *name, const void *value, size_t length)
{
    struct listing *listing = arg;
    char full[256 + 32];
    size_t bytes = xattr_format(name, full) + 1;

    (void)value;
    (void)length;
    if (name->space == DXF_XATTR_TRUSTED && !listing->trusted)
        return 0;
    if (listing->size > 0) {
        if (bytes > listing->size - listing->used)
            return -ERANGE;
        memcpy(listing->buffer + listing->used, full, bytes);
    }
    listing->used += bytes;
    return 0;
}

ssize_t fs_listxattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, char *buffer,
                     size_t size)
{
    struct listing listing = { .buffer = buffer, .size = size, .trusted = rq->uid == 0 };
    const struct dxf_inode *record;
    struct inode *inode;
    int r;

    r = inode_get(fs, ino, &inode);
    if (r < 0)
        return r;
    rwlock_read(&inode->map_lock);
    r = inode_view(fs->meta, NULL, ino, &record);
    if (r == 0 && le64_get(record->xattr) != 0)
        r = xattr_walk(fs->meta, NULL, ino, record, list_one, &listing);
    rwlock_read_release(&inode->map_lock);
    inode_put(fs, inode);
    return r < 0 ? r : (ssize_t)listing.used;
}

/* What setting or removing an ACL means for mode and storage. *ret_store: keep the value. */
static int stage_acl(const struct xattr_name *name, const void *value, size_t size, bool kill_sgid,
                     struct dxf_inode *record, bool *ret_store)
{
    uint32_t mode = record_mode(record), bits;
    bool equivalent;
    int r;

    if (S_ISLNK(mode))
        return -EOPNOTSUPP;
    if (name->space == DXF_XATTR_ACL_DEFAULT && !S_ISDIR(mode))
        return -EACCES;
    r = acl_check(value, size, &bits, &equivalent);
    if (r < 0)
        return r;
    *ret_store = true;
    if (name->space == DXF_XATTR_ACL_DEFAULT)
        return 0;
    mode = (mode & ~0777u) | bits;
    if (kill_sgid)
        mode &= ~(uint32_t)S_ISGID;
    record->mode = le16_make((uint16_t)mode);
    *ret_store = !equivalent;
    return 0;
}

struct xattr_change {
    struct xattr_name name;
    const void *value;
    size_t size;
    int flags;
    bool kill_sgid;
};

static int stage_set(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record,
                     void *arg)
{
    const struct xattr_change *change = arg;
    const struct xattr_name *name = &change->name;
    bool store = true;
    int r;

    r = record_may_change(record, true);
    if (r == 0)
        r = check_kind(record, name);
    if (r == 0 && is_acl(name))
        r = stage_acl(name, change->value, change->size, change->kill_sgid, record, &store);
    if (r < 0)
        return r;
    if (store)
        r = xattr_set(fs->meta, txn, ino, record, name, change->value, change->size, change->flags);
    else
        r = xattr_remove(fs->meta, txn, ino, record, name);
    if (r == -ENODATA && !store)
        r = 0;
    if (r == 0 && is_capability(name))
        record->flags = le32_make(le32_get(record->flags) | DXF_FLAG_CAPABILITY);
    record_set_ctime(record, meta_now());
    return r;
}

static int stage_remove(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record,
                        void *arg)
{
    const struct xattr_name *name = &((const struct xattr_change *)arg)->name;
    int r;

    r = record_may_change(record, true);
    if (r == 0)
        r = check_kind(record, name);
    if (r == 0)
        r = le64_get(record->xattr) == 0 ? -ENODATA
                                         : xattr_remove(fs->meta, txn, ino, record, name);
    if (r == 0 && is_capability(name))
        record->flags = le32_make(le32_get(record->flags) & ~DXF_FLAG_CAPABILITY);
    record_set_ctime(record, meta_now());
    /* Removing an ACL that is not there is no error: setfacl -b does it. */
    return r == -ENODATA && is_acl(name) ? 0 : r;
}

int fs_setxattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, const char *name,
                const void *value, size_t size, int flags, bool kill_sgid)
{
    struct xattr_change change = {
        .value = value, .size = size, .flags = flags, .kill_sgid = kill_sgid
    };
    bool remove;
    int r;

    if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    if (size > DXF_XATTR_VALUE_MAX)
        return -E2BIG;
    r = xattr_parse(name, &change.name);
    if (r < 0)
        return r;
    /* An empty ACL is no ACL. */
    remove = is_acl(&change.name) && size == 0;
    return inode_change(fs, rq, ino, remove ? stage_remove : stage_set, &change);
}

int fs_removexattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, const char *name)
{
    struct xattr_change change = { 0 };
    int r;

    r = xattr_parse(name, &change.name);
    return r < 0 ? r : inode_change(fs, rq, ino, stage_remove, &change);
}
