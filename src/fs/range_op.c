/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whatever takes whole blocks of a file, or moves them: see range_op.h.
 *
 * R1 The first transaction either finishes the operation or begins its intent; so a crash finds
 *    nothing done, or an intent that recovery finishes.
 * R2 A step is idempotent: which blocks are left is read off the extent map between the intent's
 *    offset and end, so a step done twice changes nothing. The cursor only saves looking.
 *    Of collapse and insert the cursor says which extents have moved (shift_op.c).
 * R3 An intent outlives the call only through a crash: one that fails gives up what is left of its
 *    range, or recovery would take away what is written there later. But a file that has moved in part
 *    is none that anybody may have: what stops a collapse or insert then fails the pool, and the intent
 *    stays for the next recovery.
 */
#include "fs/range_op.h"

#include "base/log.h"
#include "fs/mapped.h"
#include "fs/shift_op.h"

#include <errno.h>
#include <time.h>

/* A shift that has begun waits for memory so often, this long each time. */
#define MEMORY_TRIES 1000u
#define MEMORY_WAIT_NS 10000000

unsigned range_op_batch = 1024;

struct range_op {
    struct intent intent; /* offset, length, cursor in bytes */
    bool logged;          /* the intent is on the medium */
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

/* What a step of punch or zero is about: of the blocks [first, end) that are left, those in [from, to). */
struct op_run {
    uint64_t first, end, from, to;
};

/* Pins are passed by: they have got their zeros already (fallocate.c). */
static struct op_run op_next_run(struct fs *fs, struct inode *inode, const struct range_op *op)
{
    uint64_t start = op->intent.offset, end = op->intent.offset + op->intent.length;
    struct op_run run;

    if (op->intent.kind == DXF_INTENT_ZERO)
        start = op->intent.cursor;
    else
        end = op->intent.cursor;
    run.first = start >> DXF_BLOCK_SHIFT;
    run.end = end >> DXF_BLOCK_SHIFT;
    if (op->intent.kind == DXF_INTENT_ZERO)
        take_first_run(fs, inode, run.first, run.end, &run.from, &run.to);
    else
        take_last_run(fs, inode, run.first, run.end, &run.from, &run.to);
    return run;
}

/* Moves the cursor. */
static int op_change(struct fs *fs, struct txn *txn, struct inode *inode, struct range_op *op,
                     struct dxf_inode *record, const struct op_run *run, bool *ret_done)
{
    uint64_t count = run->to - run->from, left = 0;
    int r;

    if (intent_is_shift(&op->intent))
        return shift_step(fs, txn, inode, record, &op->intent, !op->logged, ret_done);
    if (op->intent.kind == DXF_INTENT_ZERO) {
        r = extent_mark(fs->meta, txn, inode->ino, record, run->from, count, true, range_op_batch,
                        &left);
        left += run->end - run->to;
    } else {
        r = extent_remove(fs->meta, txn, inode->ino, record, run->from, count, range_op_batch, 0,
                          &left);
        left += run->from - run->first;
    }
    if (r < 0)
        return r;
    op_advance(op, left);
    *ret_done = left == 0;
    return 0;
}

/* Logs what remains, or that nothing does. */
static int op_log(struct fs *fs, struct txn *txn, struct range_op *op, bool done)
{
    if (done)
        return op->logged ? intent_end(fs->meta, txn, &op->intent) : 0;
    if (op->logged)
        return intent_update(fs->meta, txn, &op->intent);
    return intent_begin(fs->meta, txn, &op->intent);
}

/* Who gives back more than the nodes that this may need, and what has begun, may use the reserve. */
static bool op_may_use_reserve(const struct range_op *op)
{
    return op->logged || op->intent.kind == DXF_INTENT_PUNCH ||
           op->intent.kind == DXF_INTENT_COLLAPSE;
}

static int op_step(struct fs *fs, struct inode *inode, struct range_op *op, bool *ret_done)
{
    struct dxf_inode *record;
    struct op_run run = { 0 };
    struct intent before = op->intent;
    bool began, done = true;
    struct txn txn;
    int r;

    if (!intent_is_shift(&op->intent))
        run = op_next_run(fs, inode, op);
    txn_begin(&txn, fs->space);
    txn.use_reserve = op_may_use_reserve(op);
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
        r = op_change(fs, &txn, inode, op, record, &run, &done);
    }
    began = false;
    if (r == 0) {
        began = !done && !op->logged;
        r = op_log(fs, &txn, op, done);
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
    if (op->logged && done)
        intent_release(fs->meta, &op->intent);
    op->logged = op->logged || began;
    *ret_done = done;
    return 0;
}

static int op_finish(struct fs *fs, struct inode *inode, struct range_op *op)
{
    static const struct timespec pause = { .tv_nsec = MEMORY_WAIT_NS };
    unsigned tries = 0;
    bool done = false;
    int r = 0;

    while (r == 0 && !done) {
        r = op_step(fs, inode, op, &done);
        if (r == -EBUSY) {
            intent_wait(fs->meta);
            r = fs_may_change(fs);
        } else if (r == -ENOMEM && op->logged && intent_is_shift(&op->intent) &&
                   ++tries < MEMORY_TRIES) {
            nanosleep(&pause, NULL);
            r = 0;
        }
    }
    return r;
}

/* Begun, and can not be ended: R3. */
static int op_give_up(struct fs *fs, const struct range_op *op, int error)
{
    if (!intent_is_shift(&op->intent)) {
        (void)range_op_drop(fs, &op->intent);
        return error;
    }
    log_error("inode %llu: a %s stopped half way: error %d", (unsigned long long)op->intent.ino,
              op->intent.kind == DXF_INTENT_COLLAPSE ? "collapse" : "insert", -error);
    pool_fail(fs->pool, "a file was left between two states");
    return -EIO;
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

    if (kind == DXF_INTENT_COLLAPSE)
        op.intent.cursor = op.intent.offset + op.intent.length;
    else if (kind != DXF_INTENT_INSERT)
        op_advance(&op, count);
    r = op_finish(fs, inode, &op);
    return r < 0 && op.logged ? op_give_up(fs, &op, r) : r;
}

int range_op_resume(struct fs *fs, struct inode *inode, const struct intent *intent)
{
    struct range_op op = { .intent = *intent, .logged = true };
    int r = -EUCLEAN;

    if (intent_is_shift(intent)) {
        r = op_finish(fs, inode, &op);
        if (r < 0 && r != -ENOMEM && r != -EIO) {
            (void)op_give_up(fs, &op, r);
            r = 0;
        }
        return r;
    }
    if (intent->kind != DXF_INTENT_PUNCH && intent->kind != DXF_INTENT_ZERO) {
        log_error("intent %u is of kind %d, which this version does not know", intent->number,
                  (int)intent->kind);
        return -EUCLEAN;
    }
    if (intent->cursor >= intent->offset && intent->cursor - intent->offset <= intent->length)
        r = op_finish(fs, inode, &op);
    if (r == -EUCLEAN || r == -ENOSPC) {
        /* One file keeps nobody from the rest; what is left of its range stays. */
        log_warn("intent %u: inode %llu %s: dropped", op.intent.number,
                 (unsigned long long)inode->ino,
                 r == -ENOSPC ? "needs more space than there is" : "is damaged");
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
