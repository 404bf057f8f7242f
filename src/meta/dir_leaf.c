/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One leaf of a directory: a chain of entries by length, in no order, without a gap.
 *
 * D1 The lengths add up to the leaf's bytes. What an entry does not need of its length (less than
 *    the header of a free entry) is its own until it goes or the leaf is compacted.
 * D2 No two free entries are neighbours, so that a name fits where there is room in one place.
 * D3 A change touches as few bytes as it can, because what differs is journaled: an insertion
 *    writes the entry and the header of the free space behind it, a removal one header. Bytes
 *    inside free space are left as they are.
 */
#include "meta/dir_internal.h"

#include "media/validate.h"

#include <assert.h>
#include <string.h>

#define HEADER ((uint32_t)sizeof(struct dxf_dirent))

static struct dxf_dirent *entry_at(struct dxf_dir_leaf *leaf, uint32_t offset)
{
    return (struct dxf_dirent *)(void *)(leaf->entries + offset);
}

static void write_free(struct dxf_dir_leaf *leaf, uint64_t owner, uint32_t offset, uint32_t length)
{
    struct dxf_dirent *entry = entry_at(leaf, offset);

    memset(entry, 0, HEADER);
    entry->length = le16_make((uint16_t)length);
    seal_dirent(entry, owner);
}

static bool has_name(const struct dxf_dirent *entry, struct dir_name name)
{
    return entry->name_length == name.length && memcmp(entry->name, name.bytes, name.length) == 0;
}

/* What of the entry's length it needs itself: nothing, when it is free. */
static uint32_t entry_needs(const struct dxf_dirent *entry)
{
    return entry->name_length == 0 ? 0 : dirent_size(entry->name_length);
}

/* The offset behind an entry. The lengths were checked when the leaf was; but a loop over them shall
 * end, inside the leaf, whatever they are. As a branch, which is foreseen: the next entry is waited for. */
static uint32_t entry_next(const struct dxf_dirent *entry, uint32_t at)
{
    uint32_t length = le16_get(entry->length), next = at + length;

    if (__builtin_expect(next > DIR_LEAF_BYTES - HEADER || length < HEADER || length % 8 != 0, 0))
        return DIR_LEAF_BYTES;
    return next;
}

static bool name_fits(const struct dxf_dirent *entry, uint32_t at)
{
    return at + HEADER + entry->name_length <= DIR_LEAF_BYTES;
}

void leaf_clear(struct dxf_dir_leaf *leaf, uint64_t owner)
{
    write_free(leaf, owner, 0, DIR_LEAF_BYTES);
}

/* The lengths chain the entries, so that a cold leaf would be waited for line by line. A quarter of it
 * asked for at once makes a lookup among a million names a third faster, and costs a warm one
 * nothing that can be measured. */
static void leaf_prefetch(const struct dxf_dir_leaf *leaf)
{
    for (unsigned line = 0; line < 16; line++)
        __builtin_prefetch(leaf->entries + line * DXF_LINE_SIZE);
}

uint32_t leaf_find(const struct dxf_dir_leaf *leaf, uint64_t hash, struct dir_name name)
{
    const struct dxf_dirent *entry;

    leaf_prefetch(leaf);
    for (uint32_t at = 0; at < DIR_LEAF_BYTES; at = entry_next(entry, at)) {
        entry = leaf_entry(leaf, at);
        /* Free space has the hash 0, which is in nobody's range. */
        if (le64_get(entry->hash) - hash < DXF_HASH_PROBES && name_fits(entry, at) &&
            has_name(entry, name))
            return at;
    }
    return DIR_NONE;
}

void leaf_survey(const struct dxf_dir_leaf *leaf, uint64_t hash, struct dir_name name,
                 uint32_t size, struct leaf_survey *ret_survey)
{
    struct leaf_survey survey = { .match = DIR_NONE, .fit = DIR_NONE };
    const struct dxf_dirent *entry;
    uint32_t length;

    leaf_prefetch(leaf);
    for (uint32_t at = 0; at < DIR_LEAF_BYTES; at += length) {
        uint64_t distance;

        entry = leaf_entry(leaf, at);
        length = entry_next(entry, at) - at;
        distance = le64_get(entry->hash) - hash;
        if (distance < DXF_HASH_PROBES) {
            survey.taken |= 1u << distance;
            if (name_fits(entry, at) && has_name(entry, name)) {
                survey.match = at;
                break;
            }
        }
        survey.free += length - entry_needs(entry);
        if (entry->name_length == 0 && length >= size && survey.fit == DIR_NONE)
            survey.fit = at;
    }
    *ret_survey = survey;
}

void leaf_insert(struct dxf_dir_leaf *leaf, uint64_t owner, uint32_t offset, uint64_t hash,
                 struct dir_name name, uint64_t ino, uint8_t type)
{
    struct dxf_dirent *entry = entry_at(leaf, offset);
    uint32_t size = dirent_size(name.length);
    uint32_t length = entry_next(entry, offset) - offset;

    assert(entry->name_length == 0 && length >= size);
    if (length - size >= HEADER) {
        write_free(leaf, owner, offset + size, length - size);
        length = size;
    }
    entry->length = le16_make((uint16_t)length);
    entry->name_length = (uint8_t)name.length;
    entry->type = type;
    entry->hash = le64_make(hash);
    entry->inode = le64_make(ino);
    memcpy(entry->name, name.bytes, name.length);
    seal_dirent(entry, owner);
}

void leaf_replace(struct dxf_dir_leaf *leaf, uint64_t owner, uint32_t offset, uint64_t ino,
                  uint8_t type)
{
    struct dxf_dirent *entry = entry_at(leaf, offset);

    entry->inode = le64_make(ino);
    entry->type = type;
    seal_dirent(entry, owner);
}

bool leaf_remove(struct dxf_dir_leaf *leaf, uint64_t owner, uint32_t offset)
{
    uint32_t start = offset;
    uint32_t end = entry_next(entry_at(leaf, offset), offset);
    uint32_t before = DIR_NONE;

    for (uint32_t at = 0; at < offset; at = entry_next(entry_at(leaf, at), at))
        before = at;
    if (before != DIR_NONE && entry_at(leaf, before)->name_length == 0)
        start = before;
    if (end < DIR_LEAF_BYTES && entry_at(leaf, end)->name_length == 0)
        end = entry_next(entry_at(leaf, end), end);
    write_free(leaf, owner, start, end - start);
    return start == 0 && end == DIR_LEAF_BYTES;
}

void leaf_compact(struct dxf_dir_leaf *leaf, uint64_t owner, uint64_t end)
{
    uint32_t to = 0, last = DIR_NONE, length;

    for (uint32_t at = 0; at < DIR_LEAF_BYTES; at += length) {
        struct dxf_dirent *entry = entry_at(leaf, at);
        uint32_t size = entry_needs(entry);

        length = entry_next(entry, at) - at;
        if (size > length)
            size = 0;
        if (size == 0 || le64_get(entry->hash) >= end)
            continue;
        if (length != size) {
            entry->length = le16_make((uint16_t)size);
            seal_dirent(entry, owner);
        }
        if (to != at)
            memmove(entry_at(leaf, to), entry, size);
        last = to;
        to += size;
    }
    if (DIR_LEAF_BYTES - to >= HEADER) {
        write_free(leaf, owner, to, DIR_LEAF_BYTES - to);
    } else if (to < DIR_LEAF_BYTES) {
        struct dxf_dirent *entry = entry_at(leaf, last);

        entry->length = le16_make((uint16_t)(DIR_LEAF_BYTES - last));
        seal_dirent(entry, owner);
    }
}

void leaf_copy(struct dxf_dir_leaf *to, const struct dxf_dir_leaf *from, uint64_t owner,
               uint64_t first)
{
    const struct dxf_dirent *entry;
    uint32_t end = 0;

    for (uint32_t at = 0; at < DIR_LEAF_BYTES; at = entry_next(entry, at)) {
        entry = leaf_entry(from, at);
        if (entry->name_length == 0 || le64_get(entry->hash) < first || !name_fits(entry, at))
            continue;
        leaf_insert(to, owner, end, le64_get(entry->hash),
                    (struct dir_name){ entry->name, entry->name_length }, le64_get(entry->inode),
                    entry->type);
        end = entry_next(leaf_entry(to, end), end);
    }
}

/* Shell's sort: for a leaf's hundred it takes a third of qsort's time, and no memory. */
static void places_sort(struct leaf_place *places, unsigned count)
{
    static const unsigned gaps[] = { 40, 13, 4, 1 };

    for (unsigned g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
        unsigned gap = gaps[g];

        for (unsigned i = gap; i < count; i++) {
            struct leaf_place place = places[i];
            unsigned j = i;

            for (; j >= gap && places[j - gap].hash > place.hash; j -= gap)
                places[j] = places[j - gap];
            places[j] = place;
        }
    }
}

unsigned leaf_sort(const struct dxf_dir_leaf *leaf, uint64_t low, uint64_t high,
                   struct leaf_place places[DIR_LEAF_ENTRIES])
{
    const struct dxf_dirent *entry;
    unsigned count = 0;

    for (uint32_t at = 0; at < DIR_LEAF_BYTES && count < DIR_LEAF_ENTRIES;
         at = entry_next(entry, at)) {
        uint64_t hash;

        entry = leaf_entry(leaf, at);
        hash = le64_get(entry->hash);
        if (entry->name_length != 0 && hash >= low && hash < high && name_fits(entry, at))
            places[count++] = (struct leaf_place){ hash, at };
    }
    places_sort(places, count);
    return count;
}
