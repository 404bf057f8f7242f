/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes (xattr.h): the payload of one chain, in the order in which they were set
 * first.
 *
 * A change builds the whole payload anew, writes it to a new chain and gives the old one back, so
 * that attributes are there as they were or as they become. The payload holds no name twice.
 */
#include "meta/xattr.h"

#include "media/validate.h"
#include "meta/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define FULL_NAME_MAX 255u

static const struct {
    enum dxf_xattr_space space;
    bool named; /* the prefix is followed by a name */
    const char *prefix;
} spaces[] = {
    { DXF_XATTR_USER, true, "user." },
    { DXF_XATTR_TRUSTED, true, "trusted." },
    { DXF_XATTR_SECURITY, true, "security." },
    { DXF_XATTR_ACL_ACCESS, false, "system.posix_acl_access" },
    { DXF_XATTR_ACL_DEFAULT, false, "system.posix_acl_default" },
};
#define SPACES (sizeof(spaces) / sizeof(spaces[0]))

int xattr_parse(const char *full_name, struct xattr_name *ret_name)
{
    size_t length = strnlen(full_name, FULL_NAME_MAX + 1);

    if (length > FULL_NAME_MAX)
        return -ERANGE;
    for (size_t i = 0; i < SPACES; i++) {
        size_t prefix = strlen(spaces[i].prefix);

        if (spaces[i].named ? strncmp(full_name, spaces[i].prefix, prefix) != 0
                            : strcmp(full_name, spaces[i].prefix) != 0)
            continue;
        if (spaces[i].named && length == prefix)
            return -EINVAL;
        *ret_name = (struct xattr_name){
            .space = spaces[i].space,
            .bytes = full_name + prefix,
            .length = length - prefix,
        };
        return 0;
    }
    return -EOPNOTSUPP;
}

size_t xattr_format(const struct xattr_name *name, char *buffer)
{
    size_t prefix = 0;

    for (size_t i = 0; i < SPACES; i++) {
        if (spaces[i].space == name->space) {
            prefix = strlen(spaces[i].prefix);
            memcpy(buffer, spaces[i].prefix, prefix);
        }
    }
    if (name->length > 0)
        memcpy(buffer + prefix, name->bytes, name->length);
    buffer[prefix + name->length] = '\0';
    return prefix + name->length;
}

/* An inode's attributes in memory. */
struct payload {
    uint8_t *bytes;
    uint32_t length;
    uint32_t blocks; /* of the chain they came from */
};

/* One of them, as it lies in the payload. */
struct entry {
    struct xattr_name name;
    const uint8_t *value;
    uint32_t value_length;
    uint32_t start; /* offset of its header */
    uint32_t end;   /* offset behind its padding */
};

static uint32_t entry_size(size_t name_length, size_t value_length)
{
    return (uint32_t)((sizeof(struct dxf_xattr) + name_length + value_length + 7) & ~(size_t)7);
}

/* The attribute at offset, which is below the length of a validated payload. */
static void entry_at(const struct payload *payload, uint32_t offset, struct entry *ret_entry)
{
    struct dxf_xattr header;
    const uint8_t *name = payload->bytes + offset + sizeof(header);

    memcpy(&header, payload->bytes + offset, sizeof(header));
    ret_entry->name.space = header.name_space;
    ret_entry->name.bytes = (const char *)name;
    ret_entry->name.length = header.name_length;
    ret_entry->value = name + header.name_length;
    ret_entry->value_length = le32_get(header.value_length);
    ret_entry->start = offset;
    ret_entry->end = offset + entry_size(header.name_length, ret_entry->value_length);
}

static int payload_read(struct meta *meta, const struct txn *txn, uint64_t ino,
                        const struct dxf_inode *inode, struct payload *ret_payload)
{
    uint64_t head = le64_get(inode->xattr);
    struct payload payload;
    const char *why;
    void *bytes;
    int error;

    if (head == 0) {
        *ret_payload = (struct payload){ 0 };
        return 0;
    }
    error = chain_read(meta, txn, ino, head, DXF_XATTR_CHAIN_MAX, &bytes, &payload.length,
                       &payload.blocks);
    if (error)
        return error;
    /* The blocks were checked; that their content is a list of attributes is not known before. */
    why = validate_xattrs(bytes, payload.length);
    if (why != NULL) {
        free(bytes);
        return meta_damaged(meta, "attributes in chain", head, ino, why);
    }
    payload.bytes = bytes;
    *ret_payload = payload;
    return 0;
}

/* 0 or -ENODATA. */
static int payload_find(const struct payload *payload, const struct xattr_name *name,
                        struct entry *ret_entry)
{
    struct entry entry;

    for (uint32_t at = 0; at < payload->length; at = entry.end) {
        entry_at(payload, at, &entry);
        if (entry.name.space == name->space && entry.name.length == name->length &&
            (name->length == 0 || memcmp(entry.name.bytes, name->bytes, name->length) == 0)) {
            *ret_entry = entry;
            return 0;
        }
    }
    return -ENODATA;
}

int xattr_get(struct meta *meta, const struct txn *txn, uint64_t ino, const struct dxf_inode *inode,
              const struct xattr_name *name, void **ret_value, size_t *ret_length)
{
    struct payload payload;
    struct entry entry;
    void *value = NULL;
    int error;

    error = payload_read(meta, txn, ino, inode, &payload);
    if (error)
        return error;
    error = payload_find(&payload, name, &entry);
    if (error == 0 && entry.value_length > 0) {
        value = malloc(entry.value_length);
        if (value == NULL)
            error = -ENOMEM;
        else
            memcpy(value, entry.value, entry.value_length);
    }
    free(payload.bytes);
    if (error)
        return error;
    *ret_value = value;
    *ret_length = entry.value_length;
    return 0;
}

/* Makes bytes (length may be 0) the inode's attributes in place of the chain they came from. */
static int payload_store(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                         const uint8_t *bytes, uint32_t length)
{
    uint64_t old = le64_get(inode->xattr);
    uint64_t head = 0;
    uint32_t taken = 0, given = 0;
    int error;

    if (length > 0) {
        error = chain_write(meta, txn, ino, bytes, length, &head, &taken);
        if (error)
            return error;
    }
    if (old != 0) {
        error = chain_free(meta, txn, ino, old, &given);
        if (error)
            return error;
    }
    inode->xattr = le64_make(head);
    inode->blocks = le64_make(le64_get(inode->blocks) + taken - given);
    return 0;
}

static void entry_write(uint8_t *to, const struct xattr_name *name, const void *value,
                        size_t length)
{
    struct dxf_xattr header = {
        .name_space = (uint8_t)name->space,
        .name_length = (uint8_t)name->length,
        .value_length = le32_make((uint32_t)length),
    };
    size_t used = sizeof(header) + name->length + length;

    memcpy(to, &header, sizeof(header));
    if (name->length > 0)
        memcpy(to + sizeof(header), name->bytes, name->length);
    if (length > 0)
        memcpy(to + sizeof(header) + name->length, value, length);
    memset(to + used, 0, entry_size(name->length, length) - used);
}

/* The payload with [start, end) replaced by the attribute (none when name is NULL), stored. */
static int payload_splice(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                          const struct payload *payload, uint32_t start, uint32_t end,
                          const struct xattr_name *name, const void *value, size_t length)
{
    uint32_t size = name == NULL ? 0 : entry_size(name->length, length);
    uint32_t rest = payload->length - end;
    uint32_t total = start + size + rest;
    uint8_t *bytes;
    int error;

    if (total > DXF_XATTR_CHAIN_MAX)
        return -ENOSPC;
    if (total == 0)
        return payload_store(meta, txn, ino, inode, NULL, 0);
    bytes = malloc(total);
    if (bytes == NULL)
        return -ENOMEM;
    if (start > 0)
        memcpy(bytes, payload->bytes, start);
    if (name != NULL)
        entry_write(bytes + start, name, value, length);
    if (rest > 0)
        memcpy(bytes + start + size, payload->bytes + end, rest);
    error = payload_store(meta, txn, ino, inode, bytes, total);
    free(bytes);
    return error;
}

int xattr_set(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
              const struct xattr_name *name, const void *value, size_t length, int flags)
{
    struct payload payload;
    struct entry entry;
    int error;

    if (length > DXF_XATTR_VALUE_MAX)
        return -E2BIG;
    error = payload_read(meta, txn, ino, inode, &payload);
    if (error)
        return error;
    error = payload_find(&payload, name, &entry);
    if (error == 0 && (flags & XATTR_CREATE))
        error = -EEXIST;
    else if (error == -ENODATA && !(flags & XATTR_REPLACE))
        error = payload_splice(meta, txn, ino, inode, &payload, payload.length, payload.length,
                               name, value, length);
    else if (error == 0)
        error = payload_splice(meta, txn, ino, inode, &payload, entry.start, entry.end, name, value,
                               length);
    free(payload.bytes);
    return error;
}

int xattr_remove(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode,
                 const struct xattr_name *name)
{
    bool use_reserve = txn->use_reserve;
    struct payload payload;
    struct entry entry;
    int error;

    error = payload_read(meta, txn, ino, inode, &payload);
    if (error)
        return error;
    error = payload_find(&payload, name, &entry);
    if (error == 0) {
        /* What takes away must work in a full pool, though for a moment there are two chains. */
        txn->use_reserve = true;
        error =
            payload_splice(meta, txn, ino, inode, &payload, entry.start, entry.end, NULL, NULL, 0);
        txn->use_reserve = use_reserve;
    }
    free(payload.bytes);
    return error;
}

int xattr_walk(struct meta *meta, const struct txn *txn, uint64_t ino,
               const struct dxf_inode *inode,
               int (*fn)(void *arg, const struct xattr_name *name, const void *value,
                         size_t length),
               void *arg)
{
    struct payload payload;
    struct entry entry;
    int error;

    error = payload_read(meta, txn, ino, inode, &payload);
    if (error)
        return error;
    for (uint32_t at = 0; error == 0 && at < payload.length; at = entry.end) {
        entry_at(&payload, at, &entry);
        error = fn(arg, &entry.name, entry.value, entry.value_length);
    }
    free(payload.bytes);
    return error;
}

int xattr_release(struct meta *meta, struct txn *txn, uint64_t ino, struct dxf_inode *inode)
{
    return payload_store(meta, txn, ino, inode, NULL, 0);
}
