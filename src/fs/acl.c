/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX ACLs, in the form in which setxattr(2) carries them: a version, then entries of
 * {tag, permissions, id}, ordered by tag and then by id (acl(5)).
 *
 * The doors' kernels check permissions with them; what is left to do here is how ACL and mode move
 * together: an access ACL sets the mode's nine bits; chmod changes the entries that stand for them;
 * a default ACL becomes the access ACL of what is made in its directory, cut to the mode asked for,
 * in place of the umask.
 */
#include "fs/internal.h"

#include "meta/xattr.h"

#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The ACL's own numbers, little-endian as on the medium. */
struct acl_entry {
    le16 tag, perm;
    le32 id;
};

struct acl {
    le32 version;
    struct acl_entry entries[];
};
static_assert(sizeof(struct acl_entry) == 8 && sizeof(struct acl) == 4, "acl(5)");

static size_t acl_count(size_t size)
{
    return (size - sizeof(struct acl)) / sizeof(struct acl_entry);
}

static unsigned tag_of(const struct acl_entry *entry)
{
    return le16_get(entry->tag);
}

static unsigned perm_of(const struct acl_entry *entry)
{
    return le16_get(entry->perm);
}

static void set_perm(struct acl_entry *entry, unsigned perm)
{
    entry->perm = le16_make((uint16_t)perm);
}

/* Where a tag stands in the order of entries; 0: not a tag. */
static unsigned tag_rank(unsigned tag)
{
    switch (tag) {
    case ACL_USER_OBJ:
        return 1;
    case ACL_USER:
        return 2;
    case ACL_GROUP_OBJ:
        return 3;
    case ACL_GROUP:
        return 4;
    case ACL_MASK:
        return 5;
    case ACL_OTHER:
        return 6;
    default:
        return 0;
    }
}

/* The entries that stand for the mode's classes; the mask, where there is one, for the group. */
struct acl_classes {
    struct acl_entry *user, *group_obj, *mask, *other;
    bool named; /* there are entries of single users or groups */
};

static int find_classes(struct acl *acl, size_t size, struct acl_classes *ret_classes)
{
    struct acl_classes classes = { 0 };
    size_t count;

    if (size < sizeof(*acl) || (size - sizeof(*acl)) % sizeof(struct acl_entry) != 0)
        return -EINVAL;
    if (le32_get(acl->version) != POSIX_ACL_XATTR_VERSION)
        return -EOPNOTSUPP;
    count = acl_count(size);
    for (size_t i = 0; i < count; i++) {
        struct acl_entry *entry = &acl->entries[i];
        unsigned tag = tag_of(entry), rank = tag_rank(tag);
        bool named = tag == ACL_USER || tag == ACL_GROUP;

        if (rank == 0 || perm_of(entry) > 7)
            return -EINVAL;
        if (i > 0) {
            const struct acl_entry *before = entry - 1;
            unsigned rank_before = tag_rank(tag_of(before));

            /* In order, and only named entries may come more than once, each id once. */
            if (rank < rank_before || (rank == rank_before && !named))
                return -EINVAL;
            for (size_t j = 0; named && j < i; j++)
                if (tag_of(&acl->entries[j]) == tag &&
                    le32_get(acl->entries[j].id) == le32_get(entry->id))
                    return -EINVAL;
        }
        classes.named |= named;
        if (tag == ACL_USER_OBJ)
            classes.user = entry;
        else if (tag == ACL_GROUP_OBJ)
            classes.group_obj = entry;
        else if (tag == ACL_MASK)
            classes.mask = entry;
        else if (tag == ACL_OTHER)
            classes.other = entry;
    }
    if (!classes.user || !classes.group_obj || !classes.other || (classes.named && !classes.mask))
        return -EINVAL;
    *ret_classes = classes;
    return 0;
}

static struct acl_entry *group_class(const struct acl_classes *classes)
{
    return classes->mask ? classes->mask : classes->group_obj;
}

static uint32_t classes_mode(const struct acl_classes *classes)
{
    return perm_of(classes->user) << 6 | perm_of(group_class(classes)) << 3 |
           perm_of(classes->other);
}

int acl_check(const void *value, size_t size, uint32_t *ret_mode, bool *ret_equiv)
{
    struct acl_classes classes;
    struct acl *acl;
    int r;

    if (size > DXF_XATTR_VALUE_MAX)
        return -EINVAL;
    acl = malloc(size ? size : 1);
    if (!acl)
        return -ENOMEM;
    memcpy(acl, value, size);
    r = find_classes(acl, size, &classes);
    if (r == 0) {
        *ret_mode = classes_mode(&classes);
        *ret_equiv = !classes.named && !classes.mask;
    }
    free(acl);
    return r;
}

static int read_acl(struct fs *fs, const struct txn *txn, uint64_t ino,
                    const struct dxf_inode *record, enum dxf_xattr_space space,
                    struct acl **ret_acl, size_t *ret_size, struct acl_classes *ret_classes)
{
    struct xattr_name name = { .space = space, .bytes = "", .length = 0 };
    void *value;
    size_t size;
    int r;

    if (le64_get(record->xattr) == 0)
        return -ENODATA;
    r = xattr_get(fs->meta, txn, ino, record, &name, &value, &size);
    if (r < 0)
        return r;
    if (find_classes(value, size, ret_classes) < 0) {
        free(value);
        return meta_damaged(fs->meta, "ACL", ino, ino, "it is not well formed");
    }
    *ret_acl = value;
    *ret_size = size;
    return 0;
}

static int write_acl(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record,
                     enum dxf_xattr_space space, const struct acl *acl, size_t size)
{
    struct xattr_name name = { .space = space, .bytes = "", .length = 0 };

    return xattr_set(fs->meta, txn, ino, record, &name, acl, size, 0);
}

int acl_chmod(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record)
{
    uint32_t mode = record_mode(record);
    struct acl_classes classes;
    struct acl *acl = NULL;
    size_t size = 0;
    int r;

    r = read_acl(fs, txn, ino, record, DXF_XATTR_ACL_ACCESS, &acl, &size, &classes);
    if (r < 0)
        return r == -ENODATA ? 0 : r;
    if (classes_mode(&classes) != (mode & 0777)) {
        set_perm(classes.user, mode >> 6 & 7);
        set_perm(group_class(&classes), mode >> 3 & 7);
        set_perm(classes.other, mode & 7);
        r = write_acl(fs, txn, ino, record, DXF_XATTR_ACL_ACCESS, acl, size);
    }
    free(acl);
    return r;
}

int acl_inherit(struct fs *fs, struct txn *txn, const struct fs_request *rq, uint64_t parent,
                const struct dxf_inode *parent_record, uint64_t ino, struct dxf_inode *record)
{
    uint32_t mode = record_mode(record);
    struct acl_classes classes;
    struct acl *acl = NULL;
    size_t size = 0;
    int r;

    r = read_acl(fs, txn, parent, parent_record, DXF_XATTR_ACL_DEFAULT, &acl, &size, &classes);
    if (r == -ENODATA) {
        record->mode = le16_make((uint16_t)(mode & ~(rq->umask & 0777u)));
        return 0;
    }
    if (r < 0)
        return r;
    r = 0;
    if (S_ISDIR(mode))
        r = write_acl(fs, txn, ino, record, DXF_XATTR_ACL_DEFAULT, acl, size);
    set_perm(classes.user, perm_of(classes.user) & (mode >> 6 & 7));
    set_perm(group_class(&classes), perm_of(group_class(&classes)) & (mode >> 3 & 7));
    set_perm(classes.other, perm_of(classes.other) & (mode & 7));
    record->mode = le16_make((uint16_t)((mode & ~0777u) | classes_mode(&classes)));
    if (r == 0 && (classes.named || classes.mask))
        r = write_acl(fs, txn, ino, record, DXF_XATTR_ACL_ACCESS, acl, size);
    free(acl);
    return r;
}
