/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The on-media format of a daxfuse pool: types and numbers, no functions.
 *
 * All integers are little-endian; all offsets and lengths are bytes unless the name says blocks.
 * A block is 4 KiB, a piece is an aligned 2 MiB extent of the pool (512 blocks), a line is an
 * aligned 64-byte cache line. Everything reserved is zero.
 *
 *   block 0     superblock
 *   block 1     journal header: two retire slots
 *   block 2     anchor: the inode of the inode table
 *   block 3     intents of operations larger than a transaction
 *   block 4     list of bad blocks
 *   block 511   spare superblock
 *   then        logs (super.log_start, log_count * log_blocks) and allocation bitmap
 *               (super.bitmap_start, bitmap_blocks); the rest is allocated from that bitmap
 *
 *     superblock --> logs, bitmap
 *     anchor     --> inode table (a file of its own, found through its extents)
 *                      |-- inode 1: root directory --> tree of index nodes and leaves of entries
 *                      |-- inode 2: orphan table
 *                      `-- inode N: file --> inline extents or a B+tree of nodes --> data
 *                                        `-> extended attributes and long symlinks: chains
 *
 * Checksums. "Self-checking" objects carry the low 32 bits of XXH3_64bits_withSeed over the
 * object with its checksum field as zero. The seed binds an object to its place, so that a stale
 * or misplaced copy does not pass:
 *   superblock           seed 0
 *   retire slot          seed = slot number
 *   log entry            seed = super.log_seed, all 64 bits kept
 *   bitmap line          seed = line number; a line that is all zero is valid and means all free
 *   inode                seed = inode number; the four times are taken as zero; a record that is
 *                        all zero is valid and means free
 *   tree node, chain     seed = owner inode number
 *   directory leaf       seed = owner inode number, over the header alone
 *   directory entry      seed = owner inode number, over the entry and its name, without padding
 *   orphan/intent line   seed = line number; a line that is all zero is valid and means empty
 */
#ifndef DAXFUSE_FORMAT_H
#define DAXFUSE_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint16_t raw;
} le16;
typedef struct {
    uint32_t raw;
} le32;
typedef struct {
    uint64_t raw;
} le64;

/* Sizes */
#define DXF_BLOCK_SHIFT 12
#define DXF_BLOCK_SIZE 4096u
#define DXF_LINE_SIZE 64u
#define DXF_PIECE_SHIFT 21
#define DXF_PIECE_SIZE (2u << 20)
#define DXF_PIECE_BLOCKS 512u
#define DXF_POOL_SIZE_MIN (8ull << 20)
#define DXF_POOL_SIZE_MAX (64ull << 40)
#define DXF_NAME_MAX 255u
#define DXF_SYMLINK_MAX 4095u
#define DXF_FILE_SIZE_MAX ((1ull << 56) - 1) /* bytes; logical blocks have 44 bits */

/* Fixed places, in blocks */
#define DXF_SUPER_BLOCK 0u
#define DXF_JOURNAL_BLOCK 1u
#define DXF_ANCHOR_BLOCK 2u
#define DXF_INTENT_BLOCK 3u
#define DXF_BADBLOCK_BLOCK 4u
#define DXF_SPARE_BLOCK 511u
#define DXF_FIRST_FREE_BLOCK 8u /* 5..7 are reserved */

/* ---- superblock --------------------------------------------------------------------------- */

#define DXF_MAGIC "DAXFUSE"
#define DXF_VERSION 1u

/* A reader that does not know a bit: may ignore it (compat), may only read (ro_compat), must
 * refuse the pool (incompat). */
#define DXF_COMPAT_SUPPORTED 0ull
#define DXF_RO_COMPAT_SUPPORTED 0ull
#define DXF_INCOMPAT_DIRECT_FILES (1ull << 0) /* reserved: inodes that own a host file */
#define DXF_INCOMPAT_SUPPORTED 0ull

#define DXF_SUPER_NEEDS_FSCK (1u << 0) /* damage was met: read-only until fsck has run */

struct dxf_super {
    char magic[8];       /* DXF_MAGIC, NUL-terminated */
    le32 version;        /* DXF_VERSION */
    le32 csum;           /* over the block */
    le64 compat;         /* feature bits */
    le64 ro_compat;      /* feature bits */
    le64 incompat;       /* feature bits */
    uint8_t uuid[16];    /* RFC 4122 */
    char label[64];      /* UTF-8, NUL-padded; 63 bytes at most */
    le64 pool_blocks;    /* size of the pool */
    le64 log_start;      /* first block of log 0 */
    le32 log_count;      /* 1..DXF_LOG_COUNT_MAX */
    le32 log_blocks;     /* size of each log, >= DXF_LOG_BLOCKS_MIN */
    le64 log_seed;       /* random; makes entries of an earlier pool in the same bytes invalid */
    le64 bitmap_start;   /* first block of the allocation bitmap */
    le64 bitmap_blocks;  /* a line for each DXF_LINE_BITS blocks of the pool, rounded up */
    le64 hash_seed;      /* random; of the directory hash */
    le64 created;        /* nanoseconds since the epoch */
    le64 reserve_blocks; /* kept back for unlink, truncate and punch */
    le32 flags;          /* DXF_SUPER_* */
    le32 error_count;    /* damage met since the last fsck */
    uint8_t reserved[3896];
};
static_assert(sizeof(struct dxf_super) == DXF_BLOCK_SIZE, "superblock");
static_assert(offsetof(struct dxf_super, csum) == 12, "superblock");
static_assert(offsetof(struct dxf_super, uuid) == 40, "superblock");
static_assert(offsetof(struct dxf_super, pool_blocks) == 120, "superblock");
static_assert(offsetof(struct dxf_super, bitmap_start) == 152, "superblock");
static_assert(offsetof(struct dxf_super, reserve_blocks) == 184, "superblock");
static_assert(offsetof(struct dxf_super, reserved) == 200, "superblock");

/* ---- journal ------------------------------------------------------------------------------ */

#define DXF_LOG_COUNT_MAX 16u
#define DXF_LOG_BLOCKS_MIN 16u
#define DXF_LOG_MAGIC 0x474f4c44u /* "DLOG" */

/*
 * A retire slot says: every entry with a sequence <= retired is on the medium in its place; the
 * live part of log i starts at tail[i]. The slot with the valid checksum and the higher
 * generation counts. Slots lie 2 KiB apart in block DXF_JOURNAL_BLOCK.
 */
#define DXF_RETIRE_SLOTS 2u
#define DXF_RETIRE_STRIDE 2048u
struct dxf_retire {
    le32 csum;
    le32 reserved;
    le64 generation;
    le64 retired;
    le32 tail[DXF_LOG_COUNT_MAX]; /* offset in the log, in lines */
    uint8_t pad[40];
};
static_assert(sizeof(struct dxf_retire) == 128, "retire slot");

/*
 * An entry starts on a line and never wraps: where none fits before the end of the log, the next
 * one starts at the log's offset 0. Records follow the header, each one le64 (bits 0..47 pool
 * offset in bytes, 48..62 length in bytes, 63 set: zeros, no data follow), then the data, padded
 * to 8 bytes.
 */
struct dxf_log_entry {
    le32 magic;
    le32 bytes; /* of header and records, multiple of 8 */
    le64 sequence;
    le64 csum;
};
static_assert(sizeof(struct dxf_log_entry) == 24, "log entry");
#define DXF_RECORD_OFFSET_MASK ((1ull << 48) - 1)
#define DXF_RECORD_LENGTH_SHIFT 48
#define DXF_RECORD_LENGTH_MAX 32767u
#define DXF_RECORD_ZERO (1ull << 63)

/* ---- bitmap lines: of the pool's blocks, and of the inode table ----------------------------- */

#define DXF_LINE_BITS 448u
#define DXF_BITMAP_BLOCK_BITS (DXF_LINE_BITS * (DXF_BLOCK_SIZE / DXF_LINE_SIZE)) /* 28672 */
struct dxf_bitmap_line {
    le32 csum;
    le16 used; /* bits set */
    le16 reserved;
    le64 bits[7]; /* bit i of the line is bit i%64 of bits[i/64] */
};
static_assert(sizeof(struct dxf_bitmap_line) == DXF_LINE_SIZE, "bitmap line");
static_assert(DXF_BITMAP_BLOCK_BITS % DXF_PIECE_BLOCKS == 0, "a bitmap block covers whole pieces");

/* ---- extents ------------------------------------------------------------------------------- */

/*
 * word0: bits 0..19 length in blocks minus 1, bits 20..63 logical block
 * word1: bits 0..43 physical block, bit 63 unwritten (reads as zeros)
 */
struct dxf_extent {
    le64 word0;
    le64 word1;
};
static_assert(sizeof(struct dxf_extent) == 16, "extent");
#define DXF_EXTENT_LENGTH_MAX (1u << 20)
#define DXF_EXTENT_LENGTH_MASK ((1ull << 20) - 1)
#define DXF_EXTENT_LOGICAL_SHIFT 20
#define DXF_EXTENT_PHYSICAL_MASK ((1ull << 44) - 1)
#define DXF_EXTENT_UNWRITTEN (1ull << 63)

/* ---- blocks with a header ------------------------------------------------------------------ */

#define DXF_MAGIC_EXTENT_NODE 0x4e545845u /* "EXTN" */
#define DXF_MAGIC_DIR_NODE 0x4e524944u    /* "DIRN" */
#define DXF_MAGIC_DIR_LEAF 0x4c524944u    /* "DIRL" */
#define DXF_MAGIC_CHAIN 0x4e484344u       /* "DCHN" */

struct dxf_block_header {
    le32 magic;
    le32 csum;
    le64 owner; /* inode number; of the inode table's own tree: 0 */
    le64 self;  /* this block's number */
    le16 level; /* trees: 0 is a leaf */
    le16 count; /* entries; unused in directory leaves and chains */
    le32 used;  /* chains: payload bytes in this block */
};
static_assert(sizeof(struct dxf_block_header) == 32, "block header");

/* An entry of an inner node, of extents (key = logical block) or of a directory (key = hash).
 * Key i is <= every key below child i; the first key of the leftmost path is 0. */
struct dxf_index {
    le64 key;
    le64 child;
};
static_assert(sizeof(struct dxf_index) == 16, "index entry");

#define DXF_NODE_ENTRIES ((DXF_BLOCK_SIZE - sizeof(struct dxf_block_header)) / 16) /* 254 */
struct dxf_node {
    struct dxf_block_header header;
    union {
        struct dxf_extent extent[DXF_NODE_ENTRIES]; /* extent tree, level 0 */
        struct dxf_index index[DXF_NODE_ENTRIES];   /* level > 0 */
    };
};
static_assert(sizeof(struct dxf_node) == DXF_BLOCK_SIZE, "tree node");
#define DXF_TREE_LEVELS_MAX 8u

/* ---- chains: the extended attributes of an inode, and symlinks longer than the inline area --- */

struct dxf_chain {
    struct dxf_block_header header;
    le64 next; /* block, 0 at the end */
    uint8_t payload[DXF_BLOCK_SIZE - sizeof(struct dxf_block_header) - 8];
};
static_assert(sizeof(struct dxf_chain) == DXF_BLOCK_SIZE, "chain block");

/* The payload of an attribute chain is a sequence of these, each padded to 8 bytes:
 * header, name (without its namespace's prefix), value. */
struct dxf_xattr {
    uint8_t name_space; /* enum dxf_xattr_space */
    uint8_t name_length;
    le16 reserved;
    le32 value_length;
};
static_assert(sizeof(struct dxf_xattr) == 8, "xattr");
enum dxf_xattr_space {
    DXF_XATTR_USER = 1,
    DXF_XATTR_TRUSTED = 2,
    DXF_XATTR_SECURITY = 3,
    DXF_XATTR_ACL_ACCESS = 4,  /* no name; value as setxattr(2) takes it */
    DXF_XATTR_ACL_DEFAULT = 5, /* no name */
};
#define DXF_XATTR_VALUE_MAX 65536u
#define DXF_XATTR_CHAIN_MAX (256u << 10) /* payload bytes of an inode's chain */

/* ---- directories --------------------------------------------------------------------------- */

/*
 * A directory is a B+tree over the 63-bit hash of the name. Inner nodes are struct dxf_node with
 * DXF_MAGIC_DIR_NODE; leaves hold entries in no order, chained by length from end of header to
 * end of block without a gap. The hash of an entry is unique in its directory: on a collision
 * the next free one of DXF_HASH_PROBES values is taken; it is also the entry's readdir cookie.
 *   hash = DXF_HASH_FIRST + XXH3_64bits_withSeed(name, super.hash_seed) %
 *          (DXF_HASH_LAST - DXF_HASH_PROBES + 2 - DXF_HASH_FIRST)
 */
#define DXF_HASH_FIRST 16ull /* smaller values are cookies of "." and "..", and spare */
#define DXF_HASH_LAST ((1ull << 63) - 64)
#define DXF_HASH_PROBES 16u

struct dxf_dirent {
    le32 csum;
    le16 length;         /* to the next entry, multiple of 8 */
    uint8_t name_length; /* 0: free space (then hash and inode are 0) */
    uint8_t type;        /* DT_*: mode >> 12 */
    le64 hash;
    le64 inode;
    char name[];
};
static_assert(sizeof(struct dxf_dirent) == 24, "directory entry");

struct dxf_dir_leaf {
    struct dxf_block_header header;
    uint8_t entries[DXF_BLOCK_SIZE - sizeof(struct dxf_block_header)];
};
static_assert(sizeof(struct dxf_dir_leaf) == DXF_BLOCK_SIZE, "directory leaf");

/* ---- inodes -------------------------------------------------------------------------------- */

#define DXF_INO_TABLE 0ull /* the table itself: its record is in the anchor */
#define DXF_INO_ROOT 1ull
#define DXF_INO_ORPHANS 2ull
#define DXF_INO_FIRST 8ull /* of users; smaller ones are reserved and marked used */

#define DXF_INLINE_BYTES 128u
#define DXF_INLINE_EXTENTS 8u

/* flags of an inode: values of FS_IOC_GETFLAGS where one exists */
#define DXF_FLAG_IMMUTABLE 0x00000010u
#define DXF_FLAG_APPEND 0x00000020u
#define DXF_FLAG_NODUMP 0x00000040u
#define DXF_FLAG_NOATIME 0x00000080u
#define DXF_FLAG_DAX 0x02000000u
#define DXF_FLAG_CAPABILITY 0x80000000u /* ours: has security.capability, which writing drops */
#define DXF_FLAGS_USER \
 (DXF_FLAG_IMMUTABLE | DXF_FLAG_APPEND | DXF_FLAG_NODUMP | DXF_FLAG_NOATIME | DXF_FLAG_DAX)

enum dxf_layout {
    DXF_LAYOUT_NONE = 0,    /* no blocks: empty file or directory, device, FIFO, socket */
    DXF_LAYOUT_INLINE = 1,  /* count extents in the inode */
    DXF_LAYOUT_TREE = 2,    /* tree.root is an extent node or a directory node or leaf */
    DXF_LAYOUT_SYMLINK = 3, /* target in the inode, size bytes */
    DXF_LAYOUT_CHAIN = 4,   /* target in the chain at tree.root */
    DXF_LAYOUT_DIRECT = 5,  /* reserved: data in a host file */
};

struct dxf_inode {
    le32 csum;
    le32 generation; /* random at each use of the slot, not 0 */
    le16 mode;       /* S_IFMT | permissions; 0: free */
    uint8_t layout;  /* enum dxf_layout */
    uint8_t count;   /* inline extents, or levels of the tree (1: the root is a leaf) */
    le32 links;
    le32 uid;
    le32 gid;
    le64 size;   /* bytes; of a directory: its leaves' */
    le64 blocks; /* allocated for it: data, tree, chains */
    le32 flags;  /* DXF_FLAG_* */
    le32 rdev_major;
    le64 xattr; /* first block of the attribute chain, 0 without */
    le64 reserved0;

    le64 atime; /* signed nanoseconds since the epoch, each one an atomic store */
    le64 mtime;
    le64 ctime;
    le64 btime;
    le64 parent;  /* of a directory: inode number of ".." */
    le64 entries; /* of a directory: entries without "." and ".." */
    le32 rdev_minor;
    le32 orphan; /* place in the orphan table plus 1, 0: not an orphan */
    le64 reserved1;

    union {
        uint8_t inlined[DXF_INLINE_BYTES];
        char target[DXF_INLINE_BYTES];
        struct dxf_extent extent[DXF_INLINE_EXTENTS];
        struct {
            le64 root;
        } tree;
    };
};
static_assert(sizeof(struct dxf_inode) == 256, "inode");
static_assert(offsetof(struct dxf_inode, size) == 24, "inode");
static_assert(offsetof(struct dxf_inode, atime) == 64, "times share a line");
static_assert(offsetof(struct dxf_inode, inlined) == 128, "inode");

/*
 * The inode table is a file whose blocks come in groups of DXF_TABLE_GROUP_BLOCKS: one block of
 * bitmap lines, then the inode blocks it covers, 16 inodes each. Line l of group g covers inodes
 * g * 28672 + l * 448 and on. Blocks past the table's end are not there and their bits are 0.
 */
#define DXF_INODES_PER_BLOCK 16u
#define DXF_TABLE_GROUP_INODES DXF_BITMAP_BLOCK_BITS
#define DXF_TABLE_GROUP_BLOCKS (1u + DXF_TABLE_GROUP_INODES / DXF_INODES_PER_BLOCK) /* 1793 */

struct dxf_anchor {
    struct dxf_inode table; /* mode S_IFREG; size: bytes of the table; seed 0 */
    uint8_t reserved[DXF_BLOCK_SIZE - sizeof(struct dxf_inode)];
};
static_assert(sizeof(struct dxf_anchor) == DXF_BLOCK_SIZE, "anchor");

/* ---- orphans and intents ------------------------------------------------------------------- */

/* The orphan table is the data of inode 2. An inode is in it while recovery has work to do: a
 * link count of 0 (delete it), else blocks past its size (trim them). */
#define DXF_ORPHANS_PER_LINE 7u
struct dxf_orphan_line {
    le32 csum;
    le32 reserved;
    le64 inode[DXF_ORPHANS_PER_LINE]; /* 0: free */
};
static_assert(sizeof(struct dxf_orphan_line) == DXF_LINE_SIZE, "orphan line");

/*
 * An operation that takes more than one transaction and is not over. What remains of it, by kind, with
 * `end` for offset + length; offsets of collapse and insert, and their cursors, are those of blocks:
 *   punch      the blocks of [offset, cursor) are to be given back
 *   zero       the blocks of [cursor, end) are to be marked as unwritten
 *   collapse   cursor == end: the blocks of the range are to be given back; then, and from any other
 *              cursor, what begins at or after it is to move down by length: [cursor - length, cursor)
 *              is a hole
 *   insert     what begins in [offset, cursor) is to move up by length: [cursor, cursor + length) is a
 *              hole, and no extent reaches over offset
 * The size was changed when it began. Until a collapse or an insert has ended, the file from offset on
 * is nobody's to read.
 */
#define DXF_INTENTS 64u
enum dxf_intent_kind {
    DXF_INTENT_NONE = 0,
    DXF_INTENT_COLLAPSE = 1, /* the range goes, what is behind it moves down */
    DXF_INTENT_INSERT = 2, /* a hole of the range's length comes, what is behind offset moves up */
    DXF_INTENT_PUNCH = 3,  /* the range becomes a hole; whole blocks */
    DXF_INTENT_GROW = 4,   /* reserved: the pool grows to length blocks */
    DXF_INTENT_ZERO = 5,   /* the allocated blocks of the range become unwritten */
};
struct dxf_intent {
    le32 csum;
    le16 kind; /* enum dxf_intent_kind */
    le16 reserved;
    le64 inode;
    le64 offset; /* bytes */
    le64 length; /* bytes */
    le64 cursor; /* bytes; how far it has come */
    le32 generation;
    le32 reserved2;
    le64 reserved3[2];
};
static_assert(sizeof(struct dxf_intent) == DXF_LINE_SIZE, "intent");

/* ---- bad blocks ---------------------------------------------------------------------------- */

struct dxf_badblocks {
    le32 csum; /* over the block, seed 0; a block that is all zero is an empty list */
    le32 count;
    le64 block[(DXF_BLOCK_SIZE - 8) / 8]; /* ascending */
};
static_assert(sizeof(struct dxf_badblocks) == DXF_BLOCK_SIZE, "bad blocks");

#endif
