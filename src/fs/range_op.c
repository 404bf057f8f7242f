/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Punch and zero: see range_op.h.
 *
 * R1 The first transaction either finishes the operation or begins its intent; so a crash finds
 *    nothing done, or an intent that recovery finishes.
 * R2 A step is idempotent: which blocks are left is read off the extent map between the intent's
 *    offset and end, so a step done twice changes nothing. The cursor only saves looking.
 * R3 An intent outlives the call only through a crash: one that fails gives up what is left of its
 *    range, or recovery would take away what is written there later.
 */
#include "fs/range_op.h"

#include "base/log.h"

#include <errno.h>

#define RANGE_OP_BATCH 1024u

struct range_op {
    struct intent intent; /* offset, length, cursor in bytes */
    bool logged;          /* the intent is on the medium */
    bool resumed;         /* by recovery, which must not fail for want of space */
    struct range_op_entry entry;
};

/* What is left is [first, end): a punch works from the end, a zero from the start. */
static void op_advance(struct range_op *op, uint64_t left)
{
    uint64_t bytes = left << DXF_BLOCK_SHIFT;

    if (op->intent.kind == DXF_INTENT_ZERO)
        op->intent.cursor = op->intent.offset + op->intent.length - bytes;
    else
        op->intent.cursor = op->intent.offset + bytes;
}

static void op_range(const struct range_op *op, uint64_t *ret_first, uint64_t *ret_count)
{
    uint64_t start = op->intent.offset, end = op->intent.offset + op->intent.length;

    if (op->intent.kind == DXF_INTENT_ZERO)
        start = op->intent.cursor;
    else
        end = op->intent.cursor;
    *ret_first = start >> DXF_BLOCK_SHIFT;
    *ret_count = (end - start) >> DXF_BLOCK_SHIFT;
}

static int op_change(struct fs *fs, struct txn *txn, struct inode *inode, struct range_op *op,
                     struct dxf_inode *record, uint64_t *ret_left)
{
    uint64_t first, count;

    op_range(op, &first, &count);
    if (op->intent.kind == DXF_INTENT_ZERO)
        return extent_mark(fs->meta, txn, inode->ino, record, first, count, true, RANGE_OP_BATCH,
                           ret_left);
    return extent_remove(fs->meta, txn, inode->ino, record, first, count, RANGE_OP_BATCH, 0,
                         ret_left);
}

/* Logs what remains, or that nothing does. */
static int op_log(struct fs *fs, struct txn *txn, struct range_op *op, uint64_t left)
{
    op_advance(op, left);
    if (left == 0)
        return op->logged ? intent_end(fs->meta, txn, &op->intent) : 0;
    if (op->logged)
        return intent_update(fs->meta, txn, &op->intent);
    return intent_begin(fs->meta, txn, &op->intent);
}

static int op_step(struct fs *fs, struct inode *inode, struct range_op *op, uint64_t *ret_left)
{
    struct dxf_inode *record;
    uint64_t left = 0;
    struct intent before = op->intent;
    bool began;
    struct txn txn;
    int r;

    txn_begin(&txn, fs->space);
    /* A punch gives back more than the nodes it may need; a zero gives nothing. */
    txn.use_reserve = op->intent.kind == DXF_INTENT_PUNCH || op->resumed;
    rwlock_write(&inode->map_lock);
    record = inode_edit(fs->meta, &txn, inode->ino);
    r = record ? 0 : -ENOMEM;
    if (r == 0 && !op->logged) {
        record_set_mctime(record, meta_now());
        if (op->entry.size > 0)
            record->size = le64_make(op->entry.size);
        r = privileges_drop(fs, &txn, inode->ino, record, op->entry.kill_suidgid);
    }
    if (r == 0) {
        op->intent.generation = le32_get(record->generation);
        r = op_change(fs, &txn, inode, op, record, &left);
    }
    began = false;
    if (r == 0) {
        began = left > 0 && !op->logged;
        r = op_log(fs, &txn, op, left);
        began = began && r == 0;
    }
    if (r == 0)
        r = txn_commit(&txn, NULL);
    else
        txn_abort(&txn);
    rwlock_write_release(&inode->map_lock);

    if (r < 0) {
        if (began)
            intent_release(fs->meta, &op->intent);
        op->intent = before;
        return r;
    }
    if (op->logged && left == 0)
        intent_release(fs->meta, &op->intent);
    op->logged = op->logged || began;
    *ret_left = left;
    return 0;
}

static int op_finish(struct fs *fs, struct inode *inode, struct range_op *op)
{
    uint64_t left = 1;
    int r = 0;

    while (r == 0 && left > 0) {
        r = op_step(fs, inode, op, &left);
        if (r == -EBUSY) {
            intent_wait(fs->meta);
            r = 0;
        }
    }
    return r;
}

int range_op_run(struct fs *fs, struct inode *inode, enum dxf_intent_kind kind, uint64_t first,
                 uint64_t count, const struct range_op_entry *entry)
{
    struct range_op op = { .intent = { .kind = kind,
                                       .ino = inode->ino,
                                       .offset = first << DXF_BLOCK_SHIFT,
                                       .length = count << DXF_BLOCK_SHIFT },
                           .entry = *entry };
    int r;

    op_advance(&op, count);
    r = op_finish(fs, inode, &op);
    if (r < 0 && op.logged)
        (void)range_op_drop(fs, &op.intent);
    return r;
}

int range_op_resume(struct fs *fs, struct inode *inode, const struct intent *intent)
{
    struct range_op op = { .intent = *intent, .logged = true, .resumed = true };
    int r = -EUCLEAN;

    if (intent->kind != DXF_INTENT_PUNCH && intent->kind != DXF_INTENT_ZERO) {
        log_error("intent %u is of kind %d, which this version does not know", intent->number,
                  (int)intent->kind);
        return -EUCLEAN;
    }
    if (intent->cursor >= intent->offset && intent->cursor - intent->offset <= intent->length)
        r = op_finish(fs, inode, &op);
    if (r == -EUCLEAN) {
        /* One damaged file keeps nobody from the rest; what is left of its range stays. */
        log_warn("intent %u: inode %llu is damaged: dropped", op.intent.number,
                 (unsigned long long)inode->ino);
        r = range_op_drop(fs, &op.intent);
    }
    return r;
}

int range_op_drop(struct fs *fs, const struct intent *intent)
{
    struct txn txn;
    int r;

    txn_begin(&txn, fs->space);
    r = intent_end(fs->meta, &txn, intent);
    if (r == 0)
        r = txn_commit(&txn, NULL);
    else
        txn_abort(&txn);
    if (r == 0)
        intent_release(fs->meta, intent);
    return r;
}
