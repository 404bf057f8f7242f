/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of fs/ share: the filesystem's state, cached inodes, and the helpers by which an
 * operation names, locks and changes them. Nobody outside fs/ includes this.
 *
 * An inode in memory is small: identity, references and locks. Its attributes are the record in
 * the pool, seen with inode_view under the map lock.
 *
 *   name_lock  (LOCK_INODE) a directory's names; of any inode, that mode, owner, flags and ACL
 *              change together. Held for a whole operation.
 *   ranges     (LOCK_RANGE) a file's bytes.
 *   dax        (LOCK_MAPPING, one for all) where the file is mapped directly.
 *   map_lock   (LOCK_MAP) the record and all that hangs below it. Held shared to look, and
 *              exclusive from the first staged change to the end of the commit.
 *
 * So a directory's content may be read under either lock, and is changed under both.
 */
#ifndef DAXFUSE_FS_INTERNAL_H
#define DAXFUSE_FS_INTERNAL_H

#include "base/lock.h"
#include "dax/mapping.h"
#include "dax/range_lock.h"
#include "fs/fs.h"
#include "meta/dir.h"
#include "meta/extent.h"
#include "meta/inode.h"
#include "meta/meta.h"
#include "space/txn.h"
#include <errno.h>
#include <pthread.h>

struct inode {
    struct inode *next; /* in its bucket */
    uint64_t ino;
    uint64_t lookups; /* references of doors; guarded by the bucket's lock, as refs and dying */
    uint32_t refs;    /* operations and handles at work */
    bool known;       /* its record was seen in use under this entry */
    bool dying;       /* is being deleted: nobody finds it any more */
    _Atomic bool was_mapped;   /* through a door, since it is in memory */
    _Atomic uint16_t touching; /* writes that stored times in place and have not fenced them yet */
    struct inode *reap_next;
    struct rwlock name_lock;
    struct rwlock map_lock;
    struct range_lock ranges;
    struct dax_file dax;
};

struct fs_handle {
    struct fs *fs;
    _Atomic uint32_t refs; /* the door's until fs_release, and each read between begin and end */
    struct inode *inode;
    int flags;
    struct fs_handle *prev, *next;                 /* of all, for fs_close */
    struct fs_lock_link lock_owners, lock_waiters; /* who used it for that last (file_lock.c) */
    _Atomic bool was_locked;                       /* through it, ever: else those are empty */
};

#define FS_CACHE_SHARDS 64
struct cache_shard {
    struct lock lock;
    struct inode **buckets;
    uint32_t size, count;
};

struct fs {
    struct pool *pool;
    struct journal *journal;
    struct space *space;
    struct meta *meta;
    bool read_only, noatime;
    _Atomic bool frozen;        /* fs_freeze */
    pthread_mutex_t grow_mutex; /* one growth at a time */
    struct rwlock rename_lock;  /* exclusive by renames between directories */
    struct cache_shard shards[FS_CACHE_SHARDS];
    struct lock handles_lock;
    struct fs_handle handles; /* list head */
    uint64_t handle_count;

    /* Deletes inodes with many extents, so that no door waits for it (delete.c). */
    pthread_t reaper;
    pthread_mutex_t reap_mutex;
    pthread_cond_t reap_more, reap_done;
    struct inode *reap_first;
    bool reap_busy, reap_stop, reap_running;
    _Atomic uint64_t reaped; /* inodes so far */

    /* Files of which old pages may still be somewhere (stale.c). */
    struct lock stale_lock;
    struct stale *stale;
    _Atomic uint32_t stale_count;

    /* Locks that programs have on files (file_lock.c). */
    struct {
        struct lock lock;
        struct interval_tree files;
        _Atomic uint32_t file_count;
        uint64_t arrivals; /* of waiters so far */
    } locks;

    /* Direct mappings, and who tidies up after them (settle.c). */
    struct dax_registry dax;
    pthread_t settler;
    pthread_mutex_t settle_mutex;
    pthread_cond_t settle_more, settle_done;
    struct mapping *settle_first;
    bool settle_busy, settle_stop, settler_running;
    struct dax_door *quarantined; /* under settle_mutex */
};

/* ---- cache.c ---- */

/* A reference to the inode; the record was seen to be in use. -ESTALE, -EUCLEAN. */
int inode_get(struct fs *fs, uint64_t ino, struct inode **ret_inode);
/* The same for a number that inode_alloc just gave: comes with map_lock held exclusively. */
int inode_get_new(struct fs *fs, uint64_t ino, struct inode **ret_inode);
/* After the transaction that made it was committed. */
void inode_set_known(struct fs *fs, struct inode *inode);
/* fs_close: gives back every reference that doors still have. */
void cache_forget_all(struct fs *fs);
/* Lets go; the last one deletes an inode without links. */
void inode_put(struct fs *fs, struct inode *inode);
/* Adds a door's reference; the caller has one of its own. */
void inode_add_lookup(struct fs *fs, struct inode *inode);
void inode_drop_lookups(struct fs *fs, uint64_t ino, uint64_t count);
int cache_open(struct fs *fs);
void cache_close(struct fs *fs);
void cache_info(struct fs *fs, struct fs_info *info);

/* Takes an entry that was deleted out of the cache and frees it. */
void cache_forget_deleted(struct fs *fs, struct inode *inode);

/* ---- delete.c ---- */

void reaper_init(struct fs *fs);
int reaper_start(struct fs *fs);
/* Waits until nothing is left to delete. */
void reaper_drain(struct fs *fs);
/* After -ENOSPC: waits until one more inode is deleted. 0: space may have come, try again; *seen is
 * fs->reaped as it was before that try, and moves. -ENOSPC: none is under way; -EAGAIN: the
 * request must not wait; -EINTR: it was given up. No map lock is held: all the reaper wants is below the others. */
int reaper_relieve(struct fs *fs, const struct fs_request *rq, uint64_t *seen);
void reaper_stop(struct fs *fs);
/* Deletes now what is small, else hands it to the reaper; either way the entry is gone then. */
void inode_reap(struct fs *fs, struct inode *inode);

/* Frees all that the inode holds, in as many transactions as it takes, and its number. The inode
 * has no links and nobody else can reach it. Also what recovery calls for an orphan. */
int inode_delete(struct fs *fs, struct inode *inode);
/* Takes [first, end of map) of blocks away in transactions that fit; the inode is an orphan while
 * there is more than one. Called with the range locked and the map lock not held. */
int inode_trim(struct fs *fs, struct inode *inode, uint64_t first_block);
int recovery_run(struct fs *fs, struct fs_recovered *recovered);

/* ---- retract.c ---- */

/* Moves what the file's last chunk has into broken pieces, if it has a whole piece for itself and
 * nothing is in the way. MAPPED: a mapping that has ended may have been why; then a file's only chunk moves,
 * too, but while pieces are not scarce only what is short. The caller has a reference and no locks. */
void inode_retract(struct fs *fs, struct inode *inode, bool mapped);

/* ---- stale.c ---- */

struct stale;
/* How long it waits for who does not say that it is over, in nanoseconds. */
extern uint64_t stale_lifetime;
/* What is behind the offset is about to move; its range is held. -ENOMEM. */
int stale_begin(struct fs *fs, const struct fs_handle *handle, uint64_t from, uint64_t user,
                struct stale **ret_stale);
/* It has, or it has failed: the last use of *stale. */
void stale_moved(struct fs *fs, struct stale *stale, bool moved);
/* From where on pages of the file may be of how it was; UINT64_MAX: none. Asked with a range held that
 * the answer is about. */
uint64_t stale_from(struct fs *fs, uint64_t ino);
/* The handle goes, and no call is made with it any more. */
void stale_release(struct fs *fs, const struct fs_handle *handle);
void stale_close(struct fs *fs);

/* ---- lock_wait.c ---- */

void handle_locks_init(struct fs_handle *handle);
/* The handle goes: what was locked through it, and is not unlocked yet, is unlocked. */
void handle_locks_release(struct fs *fs, struct fs_handle *handle);

/* ---- locking helpers ---- */

/* Locks the name locks of up to 4 inodes exclusively, lower number first; NULL and equal ones are
 * passed over. 0, or what the request's limit says. */
int names_lock(const struct fs_request *rq, struct inode *const inodes[], unsigned count);
void names_unlock(struct inode *const inodes[], unsigned count);
/* The same for map locks. These are held for one commit only and are waited for. */
void maps_lock(struct inode *const inodes[], unsigned count);
void maps_unlock(struct inode *const inodes[], unsigned count);

/* ---- small things ---- */

static inline const struct lock_wait *request_wait(const struct fs_request *rq)
{
    return rq ? rq->wait : NULL;
}

/* 0, -EROFS on a read-only filesystem, -EIO on a failed pool. */
int fs_may_change(const struct fs *fs);

/* Fills attr from a record. */
void attr_fill(uint64_t ino, const struct dxf_inode *record, struct fs_attr *ret_attr);
/* The same with lookup and lock of its own. */
int attr_read(struct fs *fs, struct inode *inode, struct fs_attr *ret_attr);

/* Before the bytes of `count` blocks of the file, from this one of the pool on, are read, or stored:
 * -EUCLEAN when one of them is known as metadata, which only a damaged extent map can bring about. */
int data_check(struct fs *fs, uint64_t ino, uint64_t block, uint64_t count, bool store);

static inline uint32_t record_mode(const struct dxf_inode *record)
{
    return le16_get(record->mode);
}

static inline bool record_is_dir(const struct dxf_inode *record)
{
    return (record_mode(record) & 0170000) == 0040000;
}

static inline bool record_is_regular(const struct dxf_inode *record)
{
    return (record_mode(record) & 0170000) == 0100000;
}

/* What only files with bytes can be asked for: 0, -EISDIR, -EINVAL. */
static inline int record_check_regular(const struct dxf_inode *record)
{
    return record_is_regular(record) ? 0 : record_is_dir(record) ? -EISDIR : -EINVAL;
}

/* How many blocks so many bytes take. */
static inline uint64_t blocks_up(uint64_t bytes)
{
    return (bytes + DXF_BLOCK_SIZE - 1) >> DXF_BLOCK_SHIFT;
}

static inline void record_set_ctime(struct dxf_inode *record, int64_t now)
{
    record->ctime = le64_make((uint64_t)now);
}

static inline void record_set_mctime(struct dxf_inode *record, int64_t now)
{
    record->mtime = le64_make((uint64_t)now);
    record->ctime = le64_make((uint64_t)now);
}

/* Of anything but a directory: clears set-user-ID, and set-group-ID where the group may execute. */
void record_kill_suidgid(struct dxf_inode *record);
/* EPERM for an immutable (or, with append_too, append-only) object. */
int record_may_change(const struct dxf_inode *record, bool append_too);

/* ---- file.c ---- */

/* A handle with a reference of its own to the inode. */
int handle_make(struct fs *fs, struct inode *inode, int flags, struct fs_handle **ret_handle);
/* A read's own reference: its answer is out before it ends, and fs_release may overtake the end. */
void handle_get(struct fs_handle *handle);
void handle_put(struct fs *fs, struct fs_handle *handle);

/* ---- attr.c ---- */

/* Changes a record in one transaction. `stage` edits it or says why not, and is called again after a
 * wait for space that a deletion gives back. Takes the name lock and the map lock. */
typedef int (*record_stage)(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record,
                            void *arg);
int inode_change(struct fs *fs, const struct fs_request *rq, uint64_t ino, record_stage stage,
                 void *arg);

/* relatime: whether a read moves the access time. The map lock is held. */
bool atime_is_due(const struct fs *fs, const struct dxf_inode *record, int64_t now);
/* Moves it; takes the map lock. */
void atime_touch(struct fs *fs, struct inode *inode);

/* ---- xattr.c ---- */

/* What a change of content or owner takes away: file capabilities always, set-ID bits if asked. */
int privileges_drop(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record,
                    bool suidgid);

/* ---- entry.c: a name in a directory ---- */

/* 0, -EINVAL, -ENAMETOOLONG; "." and ".." are `dots`' errno. */
int name_check(struct fs_name name, int dots);
bool name_is_dot(struct fs_name name);
bool name_is_dotdot(struct fs_name name);

static inline struct dir_name dir_name(struct fs_name name)
{
    return (struct dir_name){ name.bytes, name.length };
}

/* The record of a directory that still has a name; the caller holds one of its locks.
 * -ENOTDIR, -ENOENT for one that was removed. */
int dir_view(struct fs *fs, const struct inode *dir, const struct dxf_inode **ret_record);
/* What ".." stands for: alone of all, a rename changes it under the map lock and no name lock of the
 * directory's own. The caller holds the name lock, and not the map lock. */
uint64_t dir_parent(struct inode *dir, const struct dxf_inode *record);

/*
 * A directory locked by name, with what the name stands for. The entry's inode is referenced, and
 * name-locked too where it is a directory and lock_child says so (order of numbers kept: found
 * again after locking). child is NULL when the name is not there.
 */
struct entry {
    struct inode *dir, *child;
    struct dir_found found;
    bool child_locked;
};
int entry_lock(struct fs *fs, const struct fs_request *rq, uint64_t dir_ino, struct fs_name name,
               bool lock_child, struct entry *ret_entry);
void entry_unlock(struct entry *entry);
/* Lets go of the references; after unlocking, since the last reference may delete. */
void entry_put(struct fs *fs, struct entry *entry);

/* ---- create.c ---- */

/* What a new inode is to be. */
struct new_inode {
    uint32_t mode; /* with S_IFMT, umask not applied */
    uint32_t rdev_major, rdev_minor;
    struct fs_name target; /* of a symlink */
};
/* Takes a number and stages its record, owner and ACL included, with one link (a directory: two)
 * and nothing that names it. The parent's locks are held. The new inode comes referenced and with
 * its map lock held exclusively. */
int new_inode_stage(struct fs *fs, struct txn *txn, const struct fs_request *rq,
                    const struct inode *parent, const struct dxf_inode *parent_record,
                    const struct new_inode *what, struct inode **ret_inode,
                    struct dxf_inode **ret_record);

/* ---- link.c ---- */

/* Whether the flags of the directory and of what it names allow taking the name away. */
int link_may_drop(const struct dxf_inode *dir, const struct dxf_inode *child);
/* Stages that one link is gone (of a directory: both); the last one makes an orphan. */
int link_drop(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record, int64_t now);

/* ---- acl.c ---- */

/* What a new object gets from its parent's default ACL and the umask: its final mode, and its ACLs
 * staged. `record` is the new inode's, with mode set to what was asked for. */
int acl_inherit(struct fs *fs, struct txn *txn, const struct fs_request *rq, uint64_t parent,
                const struct dxf_inode *parent_record, uint64_t ino, struct dxf_inode *record);
/* A chmod changes the ACL's entries that stand for the mode's classes. */
int acl_chmod(struct fs *fs, struct txn *txn, uint64_t ino, struct dxf_inode *record);
/* Checks an ACL given from outside; *ret_mode: the nine bits it stands for; *ret_equiv: it says
 * no more than a mode does and need not be kept. -EINVAL, -EOPNOTSUPP for an unknown version. */
int acl_check(const void *value, size_t size, uint32_t *ret_mode, bool *ret_equiv);

#endif
