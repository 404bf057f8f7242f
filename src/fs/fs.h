/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The operations of the filesystem: one API for every door.
 *
 * Owns: the inode cache, open handles, recovery. Called by the doors (transport/), tools and tests,
 * from any number of threads; each call takes the locks it needs in the order of base/lock.h and
 * holds none when it returns, but for the range lock between fs_read_begin and fs_read_end.
 *
 * Inodes are named by number. A number is good while the caller holds a reference to it: lookup,
 * mknod, mkdir, symlink, link, create and tmpfile give one each, fs_forget gives some back, and an
 * open handle is one. A number without one answers -ESTALE once its inode is gone; the root always
 * works. Whoever lets users make up numbers compares fs_entry.generation with theirs.
 *
 * Rights. The doors' kernels check permissions (default_permissions); here is what they leave to a
 * server: immutable and append-only files, the owner of a new file and its set-group-ID rules, what
 * an ACL does to modes, clearing set-ID bits where asked, read-only pools.
 *
 * Every function returns 0 or -errno, or what its comment says. Common to all: -EUCLEAN damaged
 * object, -EIO failed or bad medium, -ENOMEM, -EROFS, -ESTALE, and -EAGAIN, -EINTR, -ETIMEDOUT from
 * a wait that the request limits (then nothing has been done, and the call may be made again).
 */
#ifndef DAXFUSE_FS_FS_H
#define DAXFUSE_FS_FS_H

#include "base/interval_tree.h"
#include "base/park.h"
#include "dax/range_lock.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct pool;
struct space;
struct journal;
struct meta;
struct dax_door;
struct fs;
struct fs_handle;

/* Who asks, and how long the answer may take. */
struct fs_request {
    uint32_t uid, gid; /* owner of what is made */
    uint32_t umask;    /* applied to new modes unless a default ACL rules */
    bool in_group;     /* the caller's groups contain the object's group, or it may act as if
                          (CAP_FSETID): keeps set-group-ID in chmod; doors that can not know
                          say true, their kernel has cleared the bit already */
    bool noatime;      /* fs_readlink is no access; a handle says it with O_NOATIME */
    const struct lock_wait *wait; /* NULL: as long as it takes */
    const struct dax_door *door;  /* of those that map, the one that asks; NULL: another */
};

struct fs_options {
    bool read_only;
    bool noatime; /* else: relatime */
    bool idle;    /* no thread before fs_threads_start: what is to be deleted or tidied waits */
};

/*
 * Takes a pool that pool_open gave, replays the journal, opens space and meta, and finishes what
 * orphans and intents say is unfinished. The pool stays the caller's, and is closed after fs_close.
 * A read-only filesystem replays only into a private mapping.
 */
struct fs_recovered {
    uint64_t entries; /* journal entries replayed */
    uint64_t orphans; /* inodes deleted or trimmed */
    uint64_t intents; /* operations rolled forward */
};
int fs_open(struct pool *pool, const struct fs_options *options, struct fs **ret_fs,
            struct fs_recovered *ret_recovered);
/* Of one that was opened idle, once. -errno: no thread; it goes on as it is, and can be closed. */
int fs_threads_start(struct fs *fs);
/* Every handle is released, every reference forgotten by itself; deletes what waits for that. */
void fs_close(struct fs *fs);
/* Before that, when all doors are stopped and somebody goes on mapping what one of them gave him: nothing is given
 * back, moved or deleted any more, so that what he stores goes where it went. The next mount finds what is unfinished,
 * as after a crash. */
void fs_freeze(struct fs *fs);

struct pool *fs_pool(struct fs *fs);
struct space *fs_space(struct fs *fs);
struct journal *fs_journal(struct fs *fs);
struct meta *fs_meta(struct fs *fs);

/* ---- names ---------------------------------------------------------------------------------- */

struct fs_attr {
    uint64_t ino;
    uint32_t generation;
    uint32_t mode, links, uid, gid;
    uint32_t rdev_major, rdev_minor;
    uint64_t size;
    uint64_t blocks;                    /* 4 KiB blocks */
    int64_t atime, mtime, ctime, btime; /* nanoseconds since the epoch */
    uint32_t flags;                     /* DXF_FLAG_* */
};

struct fs_name {
    const char *bytes; /* need not end in NUL */
    size_t length;
};
static inline struct fs_name fs_name(const char *string)
{
    return (struct fs_name){ string, __builtin_strlen(string) };
}

/* Every name: -EINVAL when empty or with '/' or NUL, -ENAMETOOLONG above 255; "." and ".." are
 * understood by lookup alone (others: -EEXIST or -EINVAL, as the system call has it). */
int fs_lookup(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
              struct fs_attr *ret_attr);
void fs_forget(struct fs *fs, uint64_t ino, uint64_t count);

/* mode with S_IFMT: regular file, device, FIFO, socket. */
int fs_mknod(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
             uint32_t mode, uint32_t rdev_major, uint32_t rdev_minor, struct fs_attr *ret_attr);
int fs_mkdir(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
             uint32_t mode, struct fs_attr *ret_attr);
int fs_symlink(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
               struct fs_name target, struct fs_attr *ret_attr);
int fs_link(struct fs *fs, const struct fs_request *rq, uint64_t ino, uint64_t parent,
            struct fs_name name, struct fs_attr *ret_attr);
int fs_unlink(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name);
int fs_rmdir(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT as renameat2(2). */
int fs_rename(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
              uint64_t new_parent, struct fs_name new_name, unsigned flags);
/* The target, malloc'ed, NUL-terminated; the caller frees it. */
int fs_readlink(struct fs *fs, const struct fs_request *rq, uint64_t ino, char **ret_target);

/* ---- attributes ----------------------------------------------------------------------------- */

int fs_getattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, struct fs_attr *ret_attr);

enum fs_setattr_mask {
    FS_SET_MODE = 1 << 0,
    FS_SET_UID = 1 << 1,
    FS_SET_GID = 1 << 2,
    FS_SET_SIZE = 1 << 3,
    FS_SET_ATIME = 1 << 4,
    FS_SET_MTIME = 1 << 5,
    FS_SET_CTIME = 1 << 6,
    FS_SET_ATIME_NOW = 1 << 7,
    FS_SET_MTIME_NOW = 1 << 8,
    FS_KILL_SUIDGID = 1 << 9, /* clear set-user-ID, and set-group-ID if group-executable */
};
int fs_setattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, const struct fs_attr *attr,
               unsigned mask, struct fs_attr *ret_attr);

/* FS_IOC_GETFLAGS, FS_IOC_SETFLAGS: the flags in DXF_FLAGS_USER; others: -EOPNOTSUPP. */
int fs_setflags(struct fs *fs, const struct fs_request *rq, uint64_t ino, uint32_t flags);

/* Extended attributes by full name. get and list copy into buffer; size 0 asks for the length;
 * they return the length, or -ERANGE. */
ssize_t fs_getxattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, const char *name,
                    void *buffer, size_t size);
ssize_t fs_listxattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, char *buffer,
                     size_t size);
/* kill_sgid: an access ACL set by somebody outside the group clears set-group-ID. */
int fs_setxattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, const char *name,
                const void *value, size_t size, int flags, bool kill_sgid);
int fs_removexattr(struct fs *fs, const struct fs_request *rq, uint64_t ino, const char *name);

/* ---- files ---------------------------------------------------------------------------------- */

/* flags: of open(2); O_TRUNC and O_APPEND count, access mode is remembered. */
int fs_open_file(struct fs *fs, const struct fs_request *rq, uint64_t ino, int flags,
                 bool kill_suidgid, struct fs_handle **ret_handle);
int fs_create(struct fs *fs, const struct fs_request *rq, uint64_t parent, struct fs_name name,
              uint32_t mode, int flags, struct fs_attr *ret_attr, struct fs_handle **ret_handle);
/* A file without a name; fs_link may give it one. */
int fs_tmpfile(struct fs *fs, const struct fs_request *rq, uint64_t parent, uint32_t mode,
               int flags, struct fs_attr *ret_attr, struct fs_handle **ret_handle);
void fs_release(struct fs *fs, struct fs_handle *handle);
uint64_t fs_handle_ino(const struct fs_handle *handle);
int fs_handle_flags(const struct fs_handle *handle);

/*
 * A read in two steps, so that bytes go from the pool to their receiver without a copy between.
 * Between begin and end the range is locked shared, and the vector names pool memory and, for
 * holes, a page of zeros. end reports whether a bad page was met while the bytes were used (-EIO).
 * The handle may be released in between: whoever was answered may close the file at once.
 */
#define FS_READ_VECTORS 64
struct fs_read {
    struct iovec inline_vector[FS_READ_VECTORS];
    struct iovec *vector; /* inline_vector or malloc'ed */
    unsigned count;
    size_t length; /* bytes: less than asked for only at EOF */
    struct fs_handle *handle;
    struct range_node range;
    uint64_t offset;
};
int fs_read_begin(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle,
                  uint64_t offset, size_t length, struct fs_read *ret_read);
int fs_read_end(struct fs *fs, struct fs_read *read);
/* The two in one, by copying. Returns the bytes read. */
ssize_t fs_pread(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle, void *buffer,
                 size_t length, uint64_t offset);

enum fs_write_flags {
    FS_WRITE_APPEND = 1 << 0, /* at the server's EOF, whatever offset says */
    FS_WRITE_KILL_SUIDGID = 1 << 1,
    /* From a page cache: was stored, through a mapping, before it came here. An immutable file
     * takes it, since it may have become so in between. */
    FS_WRITE_BACK = 1 << 2,
};
/* Returns the bytes written, which may be fewer when space runs out in the middle. *ret_offset,
 * if not NULL: where they went. -EFBIG. */
ssize_t fs_write(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle,
                 const struct iovec *vector, unsigned count, uint64_t offset, unsigned flags,
                 uint64_t *ret_offset);
ssize_t fs_pwrite(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle,
                  const void *buffer, size_t length, uint64_t offset);

/*
 * mode: of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE(|KEEP_SIZE), COLLAPSE_RANGE,
 * INSERT_RANGE; the last two in whole blocks, what is allocated past EOF moving along. -EINVAL also: no
 * whole blocks; a collapse that reaches EOF; an insert at or past EOF, or one by which a block past EOF
 * would pass the end of the largest file. -EFBIG, -ENOSPC; -EPERM immutable, append-only. A collapse or
 * insert that fails half way is finished by a later mount; until then the pool has failed.
 */
int fs_fallocate(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle, int mode,
                 uint64_t offset, uint64_t length);
/*
 * A collapse or insert for a door whose user keeps pages of files, and drops those from `offset` on when this
 * is done. Until it says so with fs_shift_over or releases the handle, or ten seconds are over, what it writes back (FS_WRITE_BACK)
 * there is said to be written, and is not: it may be of the file as it was. Errors as fs_fallocate; then
 * nothing is dropped. user: whatever tells the calls under way with this handle apart.
 */
int fs_shift(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle, int mode,
             uint64_t offset, uint64_t length, uint64_t user);
void fs_shift_over(struct fs *fs, const struct fs_handle *handle, uint64_t user);
/* whence: SEEK_DATA or SEEK_HOLE. -ENXIO. */
int fs_lseek(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle, uint64_t offset,
             int whence, uint64_t *ret_offset);
/* Returns the bytes copied. Overlapping ranges of one file: -EINVAL. */
ssize_t fs_copy_range(struct fs *fs, const struct fs_request *rq, struct fs_handle *from,
                      uint64_t from_offset, struct fs_handle *to, uint64_t to_offset,
                      size_t length);
/* Everything that returned is durable already where durability allows no less; this makes the
 * rest of the inode so. */
int fs_fsync(struct fs *fs, const struct fs_request *rq, uint64_t ino, bool data_only);
/* The whole filesystem; also retires the journal. */
int fs_sync(struct fs *fs);

/* ---- locks of files ------------------------------------------------------------------------- */

/*
 * What fcntl(2) and flock(2) lock, for doors that share files. Locks of the two kinds do not meet. An owner
 * is a door and a number that it gives: of record locks the program, of flock locks the open file.
 * None of these calls waits. A lock keeps its inode, with or without names.
 */
enum fs_lock_kind {
    FS_LOCK_POSIX,
    FS_LOCK_FLOCK,
    FS_LOCK_KINDS,
};

/* Beyond these: -ENOLCK. Joined ranges count once. */
#define FS_LOCKS_MAX 16384u         /* of a door */
#define FS_LOCK_WAITS_MAX 1024u     /* of a door */
#define FS_LOCK_WAITS_OWNER_MAX 64u /* of an owner */

struct fs_lock_link {
    struct fs_lock_link *prev, *next;
};

/* A door's locks; it embeds it. Everything in it is fs's. */
struct fs_lock_door {
    struct fs_lock_link owners, waiters;
    struct interval_tree waits; /* the waiters by owner; marked: for record locks */
    uint32_t locks, wait_count;
    bool ended;
    _Atomic uint32_t calls; /* callbacks that run */
};

struct fs_lock {
    uint64_t ino;
    struct fs_lock_door *door;
    uint64_t owner;
    enum fs_lock_kind kind;
    int type;            /* F_RDLCK, F_WRLCK, F_UNLCK */
    uint64_t start, end; /* bytes, both in it; end INT64_MAX: all behind. flock: not looked at */
    uint32_t pid;        /* is told to those of this door who ask with fs_lock_test */
    /* Through which it is set; NULL: none. What its fs_release finds of an owner who used it last goes: flock
     * locks, and record locks of owners whose door does not say when they close it (OFD locks). */
    struct fs_handle *handle;
};

/*
 * Of who waits for a lock; the caller's, who does not touch it while it waits. It waits from -EINPROGRESS on,
 * until granted is called or fs_lock_cancel returns 0: one of the two comes, once. granted is called without
 * a lock held, by the thread that made way, before or after fs_lock_set has returned; may call
 * everything here but fs_lock_forget_door; and the waiter's memory is the caller's again in it. error: 0 it has the lock;
 * -EDEADLK, -ENOMEM, -ENOLCK; -EBADF the handle was released; -ENOTCONN the door has ended.
 */
struct fs_lock_waiter {
    void (*granted)(struct fs_lock_waiter *waiter, int error);
    /* fs's */
    struct fs_lock lock;
    struct lock_file *file; /* NULL: does not wait */
    struct lock_record *blocker;
    struct interval_node arrival, by_owner;
    struct fs_lock_link door_link, blocker_link, handle_link;
    int error;
};

/* Before the first lock, and again after fs_lock_forget_door when the door begins anew. */
void fs_lock_door_init(struct fs_lock_door *door);
void fs_lock_waiter_init(struct fs_lock_waiter *waiter,
                         void (*granted)(struct fs_lock_waiter *waiter, int error));

/* F_GETLK: the first lock that keeps this one from being set, pid 0 if it is another door's; type F_UNLCK:
 * there is none. -EINVAL; -ENOLCK it has very many locks in this range, and so have others. */
int fs_lock_test(struct fs *fs, const struct fs_lock *wanted, struct fs_lock *ret_lock);
/*
 * Sets or, with F_UNLCK, takes away. waiter NULL: -EAGAIN when others are in the way; else -EINPROGRESS. A
 * flock lock of another type that the owner has is given up first, whatever comes of it (flock(2)). -EINVAL,
 * -EBADF not what the handle was opened for, -EDEADLK, -ENOLCK, -ENOMEM, -ESTALE, -ENODEV the door has ended.
 */
int fs_lock_set(struct fs *fs, const struct fs_lock *wanted, struct fs_lock_waiter *waiter);
/* It waits no more: 0. -ENOENT: it does not wait; granted is called, was called, or is running. */
int fs_lock_cancel(struct fs *fs, struct fs_lock_waiter *waiter);
/* What the owner has in this file; not what it waits for. */
void fs_lock_forget_owner(struct fs *fs, uint64_t ino, struct fs_lock_door *door,
                          enum fs_lock_kind kind, uint64_t owner_number);
/* All that the door has and waits for; no granted of it runs any more when this returns. */
void fs_lock_forget_door(struct fs *fs, struct fs_lock_door *door);

/* ---- direct mappings ------------------------------------------------------------------------ */

/*
 * A door that maps: dax/mapping.h says what the caller fills. It must live until fs_door_over and
 * fs_door_remove. Its mappings pin what they show: fs/mapped.h.
 */
int fs_door_add(struct fs *fs, struct dax_door *door);
/* Nothing is mapped or unmapped through it any more, though its user may still reach what is: the
 * quarantine. It ends with over, when nobody can, or with resume, when the user goes on. After that, fill: it
 * waits for the mapper where others have written meanwhile to what is shown as zeros. */
void fs_door_stop(struct fs *fs, struct dax_door *door);
/* Stops it, and asks now and then whether anybody still has descriptors of this number (media/pool.h) or
 * maps them: when nobody does, it is over. */
void fs_door_quarantine(struct fs *fs, struct dax_door *door, unsigned number);
bool fs_door_is_quarantined(struct fs *fs, const struct dax_door *door);
void fs_door_resume(struct fs *fs, struct dax_door *door);
void fs_door_fill(struct fs *fs, const struct dax_door *door);
void fs_door_over(struct fs *fs, struct dax_door *door);
void fs_door_remove(struct fs *fs, struct dax_door *door);

/*
 * Shows the chunk of the file that begins at `offset` in the slot; what else the slot showed is ended
 * first. write: it will be stored to; asked for again with it, a slot that shows the chunk may be
 * stored to from then on. What it shows is durable
 * (L5), and it goes on past EOF. A chunk without data that is only read is shown as zeros, and becomes
 * a piece of the pool when anybody writes to it. -EINVAL not at a chunk's start, no such slot, no
 * regular file; -EISDIR; -EPERM immutable or append-only; -ENXIO begins at or past EOF; -EROFS the door or
 * the pool is read-only; -EBUSY the slot still has something else; -EMFILE the door's limit; -ENODEV it is
 * stopped; -ENOSPC no whole piece; -EIO the mapper did not answer.
 */
int fs_fault(struct fs *fs, const struct fs_request *rq, struct dax_door *door, uint64_t ino,
             uint64_t offset, uint64_t slot, bool write);
/* The chunks of [offset, offset + length) in slots from this one on; stops at the first error, and
 * leaves what is mapped by then. */
int fs_populate(struct fs *fs, const struct fs_request *rq, struct dax_door *door, uint64_t ino,
                uint64_t offset, uint64_t length, uint64_t slot, bool write);
/* -ENOENT: nothing is mapped there. Waits for no range. */
int fs_unmap(struct fs *fs, const struct fs_request *rq, struct dax_door *door, uint64_t slot);
/* The first error. -ENODEV, -EBUSY: not all was tried, since the mapper takes nothing now. */
int fs_unmap_all(struct fs *fs, const struct fs_request *rq, struct dax_door *door);
/* Waits until all that mappings left behind is tidied up. */
void fs_settle(struct fs *fs);

/* ---- directories ---------------------------------------------------------------------------- */

/* fs_open_file works on directories; so do release and fsync. */
struct fs_dirent {
    struct fs_name name;
    uint64_t ino;
    uint64_t next; /* cookie that goes on after this entry */
    uint8_t type;  /* DT_* */
};
/* Calls fn from cookie on (0: the start; "." and ".." come first) until it returns non-zero,
 * which is not an error: the buffer is full. The directory is locked shared during the calls. With
 * lookups, each entry but "." and ".." comes with its attributes and a reference, which fn's
 * return of non-zero gives back. fn gets a NULL attr for an entry whose inode is damaged. */
typedef int (*fs_readdir_fn)(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr);
int fs_readdir(struct fs *fs, const struct fs_request *rq, struct fs_handle *handle,
               uint64_t cookie, bool lookups, fs_readdir_fn fn, void *arg);

/* ---- the whole ------------------------------------------------------------------------------ */

struct fs_statfs {
    uint64_t blocks, free, available; /* 4 KiB blocks */
    uint64_t inodes, inodes_free;
    uint8_t uuid[16];
};
void fs_statfs(struct fs *fs, struct fs_statfs *ret_statfs);

/* Extents of a file for tools: calls fn in order. Locks the file's map shared during the calls. */
struct fs_extent {
    uint64_t offset, pool_offset, length; /* bytes */
    bool unwritten;
};
int fs_extents(struct fs *fs, const struct fs_request *rq, uint64_t ino,
               int (*fn)(void *arg, const struct fs_extent *extent), void *arg);

/*
 * The same of the blocks that [offset, offset + length) touches, cut there and into parts that are alike,
 * without a lock: as it was a moment ago. At most `max` of them; *ret_more: there are more, from the end
 * of the last one on. -EINVAL no regular file, length 0, offset above 2^63-1; -EISDIR.
 */
struct fs_part {
    uint64_t offset, pool_offset, length; /* bytes */
    bool unwritten;
    bool piece;  /* of chunks that are one piece each */
    bool mapped; /* a door shows it, or zeros in its place */
    bool pinned; /* ... and cannot be made to let go of it */
};
int fs_parts(struct fs *fs, const struct fs_request *rq, uint64_t ino, uint64_t offset,
             uint64_t length, struct fs_part *list, unsigned max, unsigned *ret_count,
             bool *ret_more);

/* All mappings there are, one for each slot of each door, malloc'ed; the caller frees it. -ENOMEM. */
struct fs_mapping {
    uint64_t ino, offset; /* of the chunk, in the file */
    uint64_t pool_offset; /* of its piece; 0: zeros are shown */
    uint64_t slot;
    bool write, pinned;
    bool busy;     /* is about to change */
    char door[64]; /* its name */
};
int fs_mappings(struct fs *fs, struct fs_mapping **ret_list, size_t *ret_count);

/* Gives free ranges of a sparse pool back to its host (FITRIM). *ret_bytes: how many. */
int fs_trim(struct fs *fs, uint64_t offset, uint64_t length, uint64_t minimum, uint64_t *ret_bytes);

/* Makes the pool larger while it is served: the file has been or is made that long here.
 * -EINVAL not larger or not a multiple of 4096, -ENOSPC, -ENOMEM no address space kept. */
int fs_grow(struct fs *fs, uint64_t new_size);

struct fs_info {
    uint64_t inodes_cached, handles, lookups;
};
void fs_get_info(struct fs *fs, struct fs_info *ret_info);

#endif
