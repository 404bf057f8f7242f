/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check, pass 3: every record by itself. With pass 5: damaged records, and the inode bitmap.
 *
 * A damaged record is kept where all it says is plausible once its checksum is taken as right: its
 * type and numbers are in range, and the blocks that it names are allocated and nobody else's. So it
 * is judged when all that is sound has claimed its own, and before its checksum is made right: it
 * may be the copy of another's, with all of the other's blocks. Set-ID bits are not believed.
 */
#include "tools/fsck_private.h"

#include "base/random.h"

#include <inttypes.h>
#include <string.h>

static bool is_allocated(const struct fsck *fsck, uint64_t block)
{
    uint64_t number = block / DXF_LINE_BITS, bit = block % DXF_LINE_BITS;
    const struct dxf_bitmap_line *line =
        pool_at(fsck->pool,
                le64_get(fsck->pool->super.bitmap_start) * DXF_BLOCK_SIZE + number * DXF_LINE_SIZE);

    return validate_bitmap_line(line, number) != NULL ||
           (le64_get(line->bits[bit / 64]) >> bit % 64 & 1);
}

/* Allocated, and nobody's so far. */
static bool is_unclaimed(const struct fsck *fsck, uint64_t block)
{
    return !fsck_is_claimed(fsck, block) && is_allocated(fsck, block);
}

static bool blocks_are_its_own(const struct fsck *fsck, const struct dxf_inode *inode)
{
    if (inode->layout == DXF_LAYOUT_TREE || inode->layout == DXF_LAYOUT_CHAIN)
        return is_unclaimed(fsck, le64_get(inode->tree.root));
    for (unsigned i = 0; inode->layout == DXF_LAYOUT_INLINE && i < inode->count; i++) {
        struct fsck_extent extent = fsck_extent_get(&inode->extent[i]);
        for (uint64_t b = 0; b < extent.length; b++)
            if (!is_unclaimed(fsck, extent.physical + b))
                return false;
    }
    return true;
}

static bool salvage(const struct fsck *fsck, uint64_t ino, struct dxf_inode *inode)
{
    uint32_t type = le16_get(inode->mode) & S_IFMT;

    inode->mode = le16_make(le16_get(inode->mode) & (uint16_t) ~(S_ISUID | S_ISGID));
    inode->reserved0 = inode->reserved1 = le64_make(0);
    inode->flags = le32_make(le32_get(inode->flags) & (DXF_FLAGS_USER | DXF_FLAG_CAPABILITY));
    if (le32_get(inode->links) == 0 && le32_get(inode->orphan) == 0)
        inode->links = le32_make(1);
    if (le32_get(inode->generation) == 0)
        inode->generation = le32_make(random_nonzero_u32());
    if (type == S_IFDIR && le64_get(inode->parent) == 0)
        inode->parent = le64_make(DXF_INO_ROOT);
    seal_inode(inode, ino);
    return type != 0 && validate_inode(inode, ino, fsck->pool->blocks) == NULL &&
           blocks_are_its_own(fsck, inode);
}

/* An empty root, or an empty orphan table. */
static void make_reserved(uint64_t ino, struct dxf_inode *record)
{
    bool root = ino == DXF_INO_ROOT;

    memset(record, 0, sizeof(*record));
    record->generation = le32_make(random_nonzero_u32());
    record->mode = le16_make(root ? S_IFDIR | 0755 : S_IFREG | 0600);
    record->links = le32_make(root ? 2 : 1);
    record->parent = le64_make(root ? DXF_INO_ROOT : 0);
}

static int make_anew(struct fsck *fsck, uint64_t ino, const char *why, uint8_t *ret_type)
{
    bool root = ino == DXF_INO_ROOT;
    struct dxf_inode record;

    *ret_type = 0;
    if (!fsck_found(fsck, root ? FSCK_ROOT : FSCK_ORPHAN_TABLE, "inode %" PRIu64 " (%s)", ino, why))
        return 0;
    make_reserved(ino, &record);
    *ret_type = le16_get(record.mode) >> 12;
    int error = fsck_put_record(fsck, ino, &record);
    return error == 0 ? fsck_commit(fsck) : error;
}

/* A record that the validator refuses, and its turn has come. *ret_type: what it is after that. */
static int bad_record(struct fsck *fsck, uint64_t ino, const char *why, uint8_t *ret_type)
{
    struct dxf_inode copy = *fsck_record(fsck, ino);

    *ret_type = 0;
    if (salvage(fsck, ino, &copy)) {
        if (!fsck_found(fsck, FSCK_INODE_CSUM, "inode %" PRIu64 " (%s)", ino, why)) {
            fsck->inode[ino].flags |= FSCK_INODE_DAMAGED;
            return 0;
        }
        *ret_type = le16_get(copy.mode) >> 12;
    } else if (ino == DXF_INO_ROOT || ino == DXF_INO_ORPHANS) {
        int error = make_anew(fsck, ino, why, ret_type);
        if (*ret_type == 0)
            fsck->inode[ino].flags |= FSCK_INODE_DAMAGED;
        return error;
    } else {
        if (!fsck_found(fsck, FSCK_INODE_BAD, "inode %" PRIu64 " (%s)", ino, why)) {
            fsck->inode[ino].flags |= FSCK_INODE_DAMAGED;
            return 0;
        }
        memset(&copy, 0, sizeof(copy));
    }
    int error = fsck_put_record(fsck, ino, &copy);
    return error == 0 ? fsck_commit(fsck) : error;
}

/* A damaged record waits when it is seen the first time, and is judged the second time. */
static int check_record(struct fsck *fsck, uint64_t ino)
{
    struct fsck_inode *known = &fsck->inode[ino];
    const struct dxf_inode *inode = fsck_record(fsck, ino);
    const char *why = validate_inode(inode, ino, fsck->pool->blocks);
    uint8_t type = 0;
    int error = 0;

    if (why == NULL && fsck_bytes_bad(fsck, inode, sizeof(*inode)))
        why = "it can not be read";
    if (ino < DXF_INO_FIRST && ino > DXF_INO_ORPHANS &&
        (why != NULL || le16_get(inode->mode) != 0)) {
        struct dxf_inode none = { 0 }; /* plausible or not, nothing is to be kept of it */
        if (fsck_found(fsck, FSCK_INODE_RESERVED, "inode %" PRIu64, ino))
            error = fsck_put_record(fsck, ino, &none);
        if (error == 0)
            error = fsck_commit(fsck);
    } else if (why != NULL && !(known->flags & FSCK_INODE_DOUBTFUL)) {
        known->flags |= FSCK_INODE_DOUBTFUL;
    } else if (why != NULL) {
        known->flags &= (uint8_t)~FSCK_INODE_DOUBTFUL;
        error = bad_record(fsck, ino, why, &type);
    } else if (le16_get(inode->mode) == 0 && (ino == DXF_INO_ROOT || ino == DXF_INO_ORPHANS)) {
        error = make_anew(fsck, ino, "there is none", &type);
    } else {
        type = le16_get(inode->mode) >> 12;
    }
    known->type = type;
    return error;
}

/* Prints a run of numbers at a time. True: the line is to be changed. */
static bool compare_line(struct fsck *fsck, uint64_t number, const uint64_t have[7],
                         const uint64_t want[7])
{
    static const enum fsck_id ids[2] = { FSCK_INODE_LEAKED, FSCK_INODE_UNMARKED };
    bool repair = true;

    for (unsigned kind = 0; kind < 2; kind++) {
        for (unsigned bit = 0; bit < DXF_LINE_BITS; bit++) {
            uint64_t there = have[bit / 64] >> bit % 64 & 1,
                     wanted = want[bit / 64] >> bit % 64 & 1;
            if (there == wanted || wanted != kind)
                continue;
            repair &= fsck_found(fsck, ids[kind], "inode %" PRIu64, number * DXF_LINE_BITS + bit);
        }
    }
    return repair;
}

static int check_line(struct fsck *fsck, uint64_t number)
{
    uint64_t want[7] = { 0 }, have[7];
    uint64_t first = number * DXF_LINE_BITS;
    uint64_t rest = fsck->capacity - first;
    unsigned bits = rest < DXF_LINE_BITS ? (unsigned)rest : DXF_LINE_BITS;
    uint64_t offset = fsck_line_offset(fsck, number);

    if (offset == 0)
        return 0;
    for (unsigned bit = 0; bit < bits; bit++) {
        uint64_t ino = first + bit;
        if (fsck->inode[ino].type != 0 || fsck->inode[ino].flags != 0 || ino < DXF_INO_FIRST)
            want[bit / 64] |= 1ull << bit % 64;
    }

    const struct dxf_bitmap_line *line = pool_at(fsck->pool, offset);
    const char *why = validate_bitmap_line(line, number);
    bool repair;
    if (why == NULL && fsck_bytes_bad(fsck, line, sizeof(*line)))
        why = "it can not be read";
    for (unsigned i = 0; i < 7; i++)
        have[i] = le64_get(line->bits[i]);
    if (why != NULL)
        repair = fsck_found(fsck, FSCK_INODE_LINE, "line %" PRIu64 " (%s)", number, why);
    else if (memcmp(have, want, sizeof(have)) == 0)
        return 0;
    else
        repair = compare_line(fsck, number, have, want);
    if (!repair)
        return 0;

    struct dxf_bitmap_line anew = { 0 };
    bool any = false;
    for (unsigned i = 0; i < 7; i++) {
        anew.bits[i] = le64_make(want[i]);
        any |= want[i] != 0;
    }
    if (any)
        seal_bitmap_line(&anew, number);
    int error = fsck_put(fsck, offset, &anew, sizeof(anew));
    return error == 0 ? fsck_commit(fsck) : error;
}

int fsck_pass_records(struct fsck *fsck)
{
    int error = 0;

    for (uint64_t ino = DXF_INO_ROOT; ino < fsck->capacity && error == 0; ino++) {
        if (ino % 4096 == 0)
            fsck_progress(fsck, "inodes", ino, fsck->capacity);
        if (fsck_record_offset(fsck, ino) != 0)
            error = check_record(fsck, ino);
    }
    return error;
}

int fsck_pass_doubtful(struct fsck *fsck)
{
    uint64_t lines = (fsck->capacity + DXF_LINE_BITS - 1) / DXF_LINE_BITS;
    int error = 0;

    for (uint64_t ino = DXF_INO_ROOT; ino < fsck->capacity && error == 0; ino++) {
        const struct fsck_inode *known = &fsck->inode[ino];
        if (!(known->flags & FSCK_INODE_DOUBTFUL))
            continue;
        error = check_record(fsck, ino);
        if (error == 0 && known->type != 0)
            error = fsck_check_tree(fsck, ino);
        if (error == 0 && known->type == S_IFREG >> 12)
            error = fsck_check_data(fsck, ino);
    }
    for (uint64_t line = 0; line < lines && error == 0; line++)
        error = check_line(fsck, line);
    return error;
}

int fsck_records_filled(struct fsck *fsck)
{
    int error = 0;

    for (uint64_t ino = DXF_INO_ROOT; ino <= DXF_INO_ORPHANS && error == 0; ino++) {
        const struct dxf_inode *inode = fsck_record(fsck, ino);
        if (fsck->inode[ino].type != 0 || fsck->inode[ino].flags != 0 || inode == NULL ||
            le16_get(inode->mode) != 0)
            continue;
        error = make_anew(fsck, ino, "there is none", &fsck->inode[ino].type);
    }
    /* Nothing can be said of names without a root. */
    if (fsck->inode[DXF_INO_ROOT].type == 0)
        fsck->incomplete = true;
    return error;
}
