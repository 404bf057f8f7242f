/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The check, pass 1: superblocks, journal, intents, the list of bad blocks. And the run as a whole.
 */
#include "tools/fsck_private.h"

#include "base/random.h"
#include "journal/replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void fsck_look_at_supers(const char *path, struct fsck_options *options)
{
    static const uint64_t blocks[] = { DXF_SUPER_BLOCK, DXF_SPARE_BLOCK };
    bool *bad[] = { &options->primary_bad, &options->spare_bad };
    struct dxf_super *super = malloc(sizeof(*super));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    for (int i = 0; super != NULL && fd >= 0 && i < 2; i++) {
        memset(super, 0, sizeof(*super));
        ssize_t got = pread(fd, super, sizeof(*super), (off_t)(blocks[i] * DXF_BLOCK_SIZE));
        *bad[i] = got != (ssize_t)sizeof(*super) || validate_super(super) != NULL;
    }
    if (fd >= 0)
        close(fd);
    free(super);
}

/* The other copy was written by the open already, if the pool may be changed. */
static void check_supers(struct fsck *fsck)
{
    const struct dxf_super *primary = pool_block(fsck->pool, DXF_SUPER_BLOCK);
    const struct dxf_super *spare = pool_block(fsck->pool, DXF_SPARE_BLOCK);
    bool primary_bad = fsck->options->primary_bad || validate_super(primary) != NULL;
    bool spare_bad = fsck->options->spare_bad || validate_super(spare) != NULL;

    if (primary_bad)
        fsck_found(fsck, FSCK_SUPER_PRIMARY, "block %u", DXF_SUPER_BLOCK);
    if (spare_bad)
        fsck_found(fsck, FSCK_SUPER_SPARE, "block %u", DXF_SPARE_BLOCK);
    if (!primary_bad && !spare_bad && memcmp(primary, spare, sizeof(*spare)) != 0)
        fsck_note(fsck, FSCK_SUPER_DIFFER, "block %u", DXF_SPARE_BLOCK);
    if (le32_get(fsck->pool->super.flags) & DXF_SUPER_NEEDS_FSCK)
        fsck_found(fsck, FSCK_SUPER_MARKED, "pool (error count %" PRIu32 ")",
                   le32_get(fsck->pool->super.error_count));
}

static struct dxf_retire *slot_at(const struct fsck *fsck, unsigned i)
{
    return pool_at(fsck->pool,
                   (uint64_t)DXF_JOURNAL_BLOCK * DXF_BLOCK_SIZE + i * DXF_RETIRE_STRIDE);
}

/* New slots, and a new seed, by which no entry that is still in the logs is valid. The seed goes
 * first: until the slots follow nobody can use the journal. */
static int journal_reset(struct fsck *fsck)
{
    struct pool *pool = fsck->pool;

    pool->super.log_seed = le64_make(random_u64());
    int error = pool_write_super(pool);
    for (unsigned i = 0; i < DXF_RETIRE_SLOTS && error == 0; i++) {
        struct dxf_retire slot = { .generation = le64_make(1 + i) };
        seal_retire(&slot, i);
        persist_copy(pool->persist, slot_at(fsck, i), &slot, sizeof(slot), PERSIST_METADATA);
        error = persist_drain(pool->persist);
    }
    return error;
}

/* A journal that can not be replayed. */
static int bad_journal(struct fsck *fsck, bool slots)
{
    bool reset;

    if (slots)
        reset = fsck_found(fsck, FSCK_RETIRE_BOTH, "block %u", DXF_JOURNAL_BLOCK);
    else
        reset = fsck_found(fsck, FSCK_JOURNAL_BAD, "logs at block %" PRIu64,
                           le64_get(fsck->pool->super.log_start));
    if (reset)
        return journal_reset(fsck);
    /* The writer needs a journal that can be relied on. */
    fsck->write = false;
    fsck->incomplete = true;
    return 0;
}

/* What a replay has left, and a later one would take for live. */
static int check_ahead(struct fsck *fsck, struct journal_replayed *replayed)
{
    uint64_t newest;
    int error = journal_newest(fsck->pool, replayed->last_sequence, &newest);

    if (error < 0 || newest == replayed->last_sequence)
        return error;
    if (!fsck_found(fsck, FSCK_JOURNAL_AHEAD, "logs at block %" PRIu64,
                    le64_get(fsck->pool->super.log_start)))
        return 0;
    replayed->last_sequence = 0;
    return journal_reset(fsck);
}

static int check_journal(struct fsck *fsck, uint64_t *ret_sequence)
{
    struct journal_replayed replayed = { 0 };
    unsigned bad = 0;

    for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++)
        bad += validate_retire(slot_at(fsck, i), i, &fsck->pool->super) != NULL;

    int error = journal_replay(fsck->pool, &replayed);
    if (error == -EUCLEAN)
        error = bad_journal(fsck, bad == DXF_RETIRE_SLOTS);
    else if (error == 0 && replayed.entries > 0)
        fsck_note(fsck, FSCK_JOURNAL_LIVE, "%" PRIu64 " entries, %" PRIu64 " bytes",
                  replayed.entries, replayed.bytes);
    if (error == 0 && !fsck->incomplete)
        error = check_ahead(fsck, &replayed);
    if (error < 0)
        return error;
    /* Both slots were written anew by the replay, or by bad_journal where that may write. */
    if (bad == 1)
        fsck_found(fsck, FSCK_RETIRE_SLOT, "block %u", DXF_JOURNAL_BLOCK);
    *ret_sequence = replayed.last_sequence;
    return 0;
}

int fsck_pass_pool(struct fsck *fsck, uint64_t *ret_sequence)
{
    fsck_progress(fsck, "pool", 0, 1);
    check_supers(fsck);
    return check_journal(fsck, ret_sequence);
}

static int drop_intent(struct fsck *fsck, unsigned line, const char *why)
{
    static const struct dxf_intent none;

    if (!fsck_found(fsck, FSCK_INTENT_LINE, "line %u (%s)", line, why))
        return 0;
    return fsck_put(fsck, (uint64_t)DXF_INTENT_BLOCK * DXF_BLOCK_SIZE + line * DXF_LINE_SIZE, &none,
                    sizeof(none));
}

int fsck_pass_fixed(struct fsck *fsck)
{
    struct pool *pool = fsck->pool;
    const struct dxf_badblocks *bad = pool_block(pool, DXF_BADBLOCK_BLOCK);
    const struct dxf_intent *intents = pool_block(pool, DXF_INTENT_BLOCK);
    static const uint8_t zeros[DXF_BLOCK_SIZE];
    int error = 0;

    if ((validate_badblocks(bad, pool->blocks) != NULL ||
         fsck_bytes_bad(fsck, bad, sizeof(*bad))) &&
        fsck_found(fsck, FSCK_BADBLOCKS, "block %u", DXF_BADBLOCK_BLOCK))
        error =
            fsck_put(fsck, (uint64_t)DXF_BADBLOCK_BLOCK * DXF_BLOCK_SIZE, zeros, DXF_BLOCK_SIZE);
    for (unsigned i = 0; i < DXF_INTENTS && error == 0; i++) {
        const char *why = validate_intent(&intents[i], i);
        uint16_t kind = le16_get(intents[i].kind);
        if (why == NULL && kind == DXF_INTENT_GROW)
            why = "nothing of this version writes this kind"; /* and no mount would go on from it */
        if (why == NULL && fsck_bytes_bad(fsck, &intents[i], sizeof(intents[i])))
            why = "it can not be read";
        if (why != NULL)
            error = drop_intent(fsck, i, why);
    }
    return error == 0 ? fsck_commit(fsck) : error;
}

/* Whether a mount can go on moving the extents of the file: where they go next, there is a hole. What
 * is damaged in the map and stays so is another finding. */
static int check_shift(struct fsck *fsck, const struct dxf_intent *intent, bool *ret_fits)
{
    uint64_t end = le64_get(intent->offset) + le64_get(intent->length);
    uint64_t from = le64_get(intent->cursor) >> DXF_BLOCK_SHIFT;
    uint64_t count = le64_get(intent->length) >> DXF_BLOCK_SHIFT, ino = le64_get(intent->inode);
    struct fsck_map map = { 0 };

    *ret_fits = true;
    if (le16_get(intent->kind) == DXF_INTENT_COLLAPSE) {
        if (le64_get(intent->cursor) == end)
            return 0; /* blocks that lie there are given back */
        from -= count;
    }
    int error = fsck_map_walk(fsck, ino, fsck_record(fsck, ino), 0, &map);
    for (size_t i = 0; i < map.extents.count && error == 0 && !map.damaged; i++) {
        const struct fsck_extent *extent = &map.extents.extent[i];
        if (extent->logical < from + count && extent->logical + extent->length > from)
            *ret_fits = false;
    }
    fsck_map_free(&map);
    return error;
}

/* Intents are finished by the next mount, which drops those whose file is gone. */
int fsck_pass_intents(struct fsck *fsck)
{
    const struct dxf_intent *intents = pool_block(fsck->pool, DXF_INTENT_BLOCK);
    int error = 0;

    for (unsigned i = 0; i < DXF_INTENTS && error == 0; i++) {
        uint16_t kind = le16_get(intents[i].kind);
        bool fits = true;
        if (validate_intent(&intents[i], i) != NULL || kind == DXF_INTENT_NONE)
            continue;
        uint64_t ino = le64_get(intents[i].inode);
        const struct dxf_inode *inode = ino < fsck->capacity ? fsck_record(fsck, ino) : NULL;
        if (kind != DXF_INTENT_GROW &&
            (inode == NULL || fsck->inode[ino].type != S_IFREG >> 12 ||
             le32_get(inode->generation) != le32_get(intents[i].generation))) {
            fsck_note(fsck, FSCK_INTENT_INODE, "line %u, inode %" PRIu64, i, ino);
            continue;
        }
        if (kind == DXF_INTENT_COLLAPSE || kind == DXF_INTENT_INSERT)
            error = check_shift(fsck, &intents[i], &fits);
        if (error == 0 && !fits)
            error = drop_intent(fsck, i, "there is data where it would move the next");
        else if (error == 0)
            fsck_note(fsck, FSCK_INTENT_PENDING, "line %u, inode %" PRIu64, i, ino);
    }
    return error == 0 ? fsck_commit(fsck) : error;
}

/* ---- the run ------------------------------------------------------------------------------------ */

static int run_passes(struct fsck *fsck)
{
    uint64_t sequence = 0;

    int error = fsck_pass_pool(fsck, &sequence);
    if (error == 0)
        error = fsck_write_open(fsck, sequence);
    if (error == 0)
        error = fsck_pass_fixed(fsck);
    if (error == 0)
        error = fsck_pass_table(fsck);
    if (error != 0 || fsck->inode == NULL)
        return error;
    error = fsck_pass_records(fsck);
    if (error == 0)
        error = fsck_pass_trees(fsck);
    if (error == 0)
        error = fsck_pass_data(fsck);
    if (error == 0)
        error = fsck_pass_doubtful(fsck);
    if (error == 0)
        error = fsck_pass_rebuild(fsck);
    if (error == 0)
        error = fsck_pass_intents(fsck);
    if (error == 0)
        error = fsck_pass_orphans(fsck);
    if (error == 0)
        error = fsck_pass_names(fsck);
    if (error == 0)
        error = fsck_pass_links(fsck);
    if (error == 0)
        error = fsck_pass_space(fsck);
    return error;
}

/* Nothing is left: the pool is as good as new. The mark that was found counts as one that is fixed. */
static int clear_mark(struct fsck *fsck)
{
    struct dxf_super *super = &fsck->pool->super;

    if (!fsck->write || fsck->result->left > 0 || !(le32_get(super->flags) & DXF_SUPER_NEEDS_FSCK))
        return 0;
    super->flags = le32_make(le32_get(super->flags) & ~DXF_SUPER_NEEDS_FSCK);
    super->error_count = le32_make(0);
    return pool_write_super(fsck->pool);
}

static void count_inodes(const struct fsck *fsck)
{
    for (uint64_t ino = 0; fsck->inode != NULL && ino < fsck->capacity; ino++) {
        if (fsck->inode[ino].type == 0 || (ino < DXF_INO_FIRST && ino != DXF_INO_ROOT))
            continue;
        fsck->result->inodes++;
        fsck->result->directories += fsck->inode[ino].type == S_IFDIR >> 12;
    }
    for (uint64_t i = 0; i < (fsck->pool->blocks + 63) / 64; i++)
        if (fsck->claimed[i] != 0)
            fsck->result->blocks_used += (uint64_t)__builtin_popcountll(fsck->claimed[i]);
}

int fsck_run(struct pool *pool, const struct fsck_options *options, struct fsck_result *ret_result)
{
    struct fsck fsck = {
        .pool = pool,
        .options = options,
        .result = ret_result,
        .write = options->mode != FSCK_CHECK,
        .take_cursor = DXF_FIRST_FREE_BLOCK,
    };

    memset(ret_result, 0, sizeof(*ret_result));
    if (fsck.write && pool->read_only)
        return -EROFS;
    int error = fsck_claim_open(&fsck);
    if (error == 0)
        error = run_passes(&fsck);
    if (error == 0) {
        error = fsck_commit(&fsck);
        count_inodes(&fsck);
    }
    fsck_progress_end(&fsck);
    fsck_write_close(&fsck);
    if (error == 0)
        error = clear_mark(&fsck);
    for (size_t i = 0; i < fsck.rebuild_count; i++) {
        free(fsck.rebuild[i].extents.extent);
        free(fsck.rebuild[i].nodes.block);
    }
    free(fsck.rebuild);
    for (size_t i = 0; i < fsck.damaged_dir_count; i++)
        fsck_tree_free(&fsck.damaged_dir[i].tree);
    free(fsck.damaged_dir);
    free(fsck.table.extent);
    free(fsck.table_nodes.block);
    if (fsck.inode != NULL)
        munmap(fsck.inode, fsck.inode_bytes);
    fsck_claim_close(&fsck);
    return error;
}
