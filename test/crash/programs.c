/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The programs: each operation alone on a small tree, all ordered pairs of operations on the same
 * objects, random ones. Operations are written as text: a verb and its arguments, where a path is
 * numbers of names ("0/2", "." the root) and names from 48 on are long ones.
 */
#include "maps.h"
#include "world.h"

#include <daxfuse/format.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Arguments: p q paths, s t slots, f flags, o O offsets, l length, m mode (octal), u uid, x xattr. */
static const struct verb {
    const char *name;
    uint8_t kind, extra;
    const char *arguments;
} verbs[] = {
    { "create", OP_CREATE, 0, "ps" },
    { "mkdir", OP_MKDIR, 0, "p" },
    { "mknod", OP_MKNOD, 0, "p" },
    { "symlink", OP_SYMLINK, 0, "pl" },
    { "link", OP_LINK, 0, "pq" },
    { "unlink", OP_UNLINK, 0, "p" },
    { "rmdir", OP_RMDIR, 0, "p" },
    { "rename", OP_RENAME, 0, "pqf" },
    { "open", OP_OPEN, 0, "psf" },
    { "close", OP_CLOSE, 0, "s" },
    { "write", OP_WRITE, 0, "sol" },
    { "writeuser", OP_WRITE, 0, "solm" },
    { "truncate", OP_TRUNCATE, 0, "pl" },
    { "fallocate", OP_FALLOCATE, 0, "sfol" },
    { "shift", OP_SHIFT, 0, "sfol" },
    { "copy", OP_COPY, 0, "sotOl" },
    { "chmod", OP_CHMOD, 0, "pm" },
    { "chown", OP_CHOWN, 0, "pu" },
    { "utimes", OP_UTIMES, 0, "p" },
    { "setflags", OP_SETFLAGS, 0, "pf" },
    { "setxattr", OP_SETXATTR, 0, "pxl" },
    { "removexattr", OP_REMOVEXATTR, 0, "px" },
    { "tmpfile", OP_TMPFILE, 0, "ps" },
    { "linkslot", OP_LINKSLOT, 0, "sp" },
    { "fsync", OP_FSYNC, 0, "s" },
    { "sync", OP_SYNC, 0, "" },
    { "root", 0, EXTRA_ROOT, "" },
    { "acl", 0, EXTRA_ACL, "l" },
    { "default-acl", 0, EXTRA_DEFAULT_ACL, "l" },
    { "links", 0, EXTRA_LINKS, "l" },
    { "unlinks", 0, EXTRA_UNLINKS, "l" },
    { "grow", 0, EXTRA_GROW, "l" },
    { "fill", 0, EXTRA_FILL, "l" },
    { "litter", 0, EXTRA_LITTER, "" },
    { "unnamed", 0, EXTRA_UNNAMED, "l" },
    { "keep", 0, EXTRA_KEEP, "l" },
    { "trim", 0, EXTRA_TRIM, "" },
    { "look", 0, EXTRA_LOOK, "" },
    { "unmount", 0, EXTRA_UNMOUNT, "" },
    { "map-files", 0, EXTRA_MAP_FILES, "lf" },
    { "map-scatter", 0, EXTRA_MAP_SCATTER, "l" },
    { "map-write", 0, EXTRA_MAP_WRITE, "ol" },
    { "map-truncate", 0, EXTRA_MAP_TRUNCATE, "l" },
    { "map-fallocate", 0, EXTRA_MAP_FALLOCATE, "fol" },
    { "map-busy", 0, EXTRA_MAP_BUSY, "fol" },
    { "map-fault", 0, EXTRA_MAP_FAULT, "tsof" },
    { "map-populate", 0, EXTRA_MAP_POPULATE, "tsofl" },
    { "map-unmap", 0, EXTRA_MAP_UNMAP, "ts" },
    { "map-store", 0, EXTRA_MAP_STORE, "tsolf" },
    { "map-fsync", 0, EXTRA_MAP_FSYNC, "" },
    { "map-over", 0, EXTRA_MAP_OVER, "t" },
    { "map-link", 0, EXTRA_MAP_LINK, "" },
    { "map-unlink", 0, EXTRA_MAP_UNLINK, "" },
};

/* What is there before each. */
#define TREE                                                                                 \
 "mkdir 0; mkdir 1; create 0/2 0; write 0 0 6000; create 3 1; write 1 0 100; symlink 4 20; " \
 "mkdir 1/5; create 6 2; write 2 8192 5000; link 3 1/7; setxattr 3 0 30; tmpfile . 3; "      \
 "write 3 0 100; create 1/17 6; write 6 0 4500; close 6; mkdir 0/21; create 9 5; "           \
 "write 5 0 5000; unlink 9; "

#define MAPPED "root; litter; map-files 0 0; "
#define MANY 16u << 20 /* pools in which a file of many pieces has room */

/* Operation, what it needs beside the tree, itself. Those with a size of their own are no part of pairs. */
static const struct single {
    const char *name, *setup, *op;
    uint32_t pool_size, file_size;
} singles[] = {
    { "create", "", "create 0/10 4", 0, 0 },
    { "create-long", "", "create 0/79 4", 0, 0 },
    { "mkdir", "", "mkdir 0/10", 0, 0 },
    { "mknod", "", "mknod 0/10", 0, 0 },
    { "symlink", "", "symlink 0/10 30", 0, 0 },
    { "symlink-long", "", "symlink 0/10 3000", 0, 0 },
    { "link", "", "link 3 0/10", 0, 0 },
    { "unlink", "", "unlink 1/17", 0, 0 },
    { "unlink-open", "", "unlink 0/2", 0, 0 },
    { "unlink-linked", "", "unlink 3", 0, 0 },
    { "rmdir", "", "rmdir 1/5", 0, 0 },
    { "rename", "", "rename 0/2 0/10 0", 0, 0 },
    { "rename-across", "", "rename 0/2 1/10 0", 0, 0 },
    { "rename-dir", "", "rename 1/5 0/10 0", 0, 0 },
    { "rename-over", "", "rename 0/2 1/17 0", 0, 0 },
    { "rename-over-open", "", "rename 1/17 0/2 0", 0, 0 },
    { "rename-over-dir", "", "rename 0/21 1/5 0", 0, 0 },
    { "rename-noreplace", "", "rename 0/2 1/10 1", 0, 0 },
    { "rename-exchange", "", "rename 0/2 3 2", 0, 0 },
    { "rename-exchange-dir", "", "rename 1/5 0/2 2", 0, 0 },
    { "rename-whiteout", "", "rename 0/2 1/10 4", 0, 0 },
    { "tmpfile", "", "tmpfile 0 4", 0, 0 },
    { "linkslot", "", "linkslot 3 0/10", 0, 0 },
    { "write-append", "", "write 0 6000 3000", 0, 0 },
    { "write-append-blocks", "", "write 1 4096 8192", 0, 0 },
    { "write-overwrite", "", "write 0 103 201", 0, 0 },
    { "write-overwrite-all", "", "write 0 0 6000", 0, 0 },
    { "write-gap", "", "write 0 20001 777", 0, 0 },
    { "write-unaligned", "", "write 0 4001 3001", 0, 0 },
    { "write-hole", "", "write 2 1000 3000", 0, 0 },
    { "write-hole-and-over", "", "write 2 5000 7000", 0, 0 },
    { "write-large", "", "write 1 50 40001", 0, 0 },
    { "write-user", "", "writeuser 0 100 50 1", 0, 0 },
    { "write-setuid", "chmod 0/2 6755; ", "writeuser 0 100 50 1", 0, 0 },
    { "truncate-down", "", "truncate 0/2 1000", 0, 0 },
    { "truncate-up", "", "truncate 0/2 50001", 0, 0 },
    { "truncate-zero", "", "truncate 0/2 0", 0, 0 },
    { "truncate-regrow", "truncate 0/2 4500; ", "truncate 0/2 6001", 0, 0 },
    { "open-trunc", "", "open 0/2 4 512", 0, 0 },
    { "fallocate", "", "fallocate 0 0 4096 20000", 0, 0 },
    { "fallocate-keep", "", "fallocate 0 1 10000 30000", 0, 0 },
    { "write-unwritten", "fallocate 0 1 8192 30000; ", "write 0 9000 3000", 0, 0 },
    { "punch", "", "fallocate 0 3 100 5000", 0, 0 },
    { "punch-block", "", "fallocate 0 3 0 4096", 0, 0 },
    { "punch-ends", "write 1 0 20000; ", "fallocate 1 3 3000 11000", 0, 0 },
    { "zero", "write 1 0 20000; ", "fallocate 1 16 3000 11000", 0, 0 },
    { "zero-keep", "", "fallocate 0 17 100 9000", 0, 0 },
    { "zero-grow", "", "fallocate 0 16 5000 10000", 0, 0 },
    { "collapse", "write 1 0 20000; ", "shift 1 8 4096 8192", 0, 0 },
    { "collapse-hole", "", "shift 2 8 0 8192", 0, 0 },
    { "collapse-past-eof", "fallocate 0 1 8192 30000; ", "shift 0 8 0 4096", 0, 0 },
    { "insert", "write 1 0 20000; ", "shift 1 32 8192 4096", 0, 0 },
    { "insert-start", "", "shift 0 32 0 8192", 0, 0 },
    { "insert-past-eof", "fallocate 0 1 8192 30000; ", "shift 0 32 4096 4096", 0, 0 },
    { "copy", "", "copy 0 0 1 50 6000", 0, 0 },
    { "copy-over", "", "copy 0 1000 2 9000 3000", 0, 0 },
    { "copy-hole", "", "copy 2 0 1 50 13000", 0, 0 },
    { "chmod", "", "chmod 0/2 4711", 0, 0 },
    { "chown", "", "chown 0/2 77", 0, 0 },
    { "utimes", "", "utimes 0/2", 0, 0 },
    { "setflags", "", "setflags 0/2 64", 0, 0 },
    { "setxattr", "", "setxattr 0/2 1 20", 0, 0 },
    { "setxattr-replace", "", "setxattr 3 0 50", 0, 0 },
    { "setxattr-large", "", "setxattr 3 3 6000", 0, 0 },
    { "removexattr", "", "removexattr 3 0", 0, 0 },
    { "removexattr-large", "setxattr 3 3 9000; ", "removexattr 3 3", 0, 0 },
    { "fsync", "write 0 100 300; chmod 3 700; rename 0/2 0/10 0; ", "fsync 0", 0, 0 },
    { "sync", "mkdir 1/11; chmod 3 700; rename 0/2 0/10 0; ", "sync", 0, 0 },
    { "close-orphan", "", "close 5", 0, 0 },
    { "unmount", "mkdir 1/11; chmod 3 700; rename 0/2 0/10 0; ", "unmount", 0, 0 },
    { "dir-split", "names 1 48 14; ", "create 1/78 4", 8u << 20, 0 },
    { "dir-split-rename", "names 1 48 14; ", "rename 0/2 1/78 0", 8u << 20, 0 },
    { "dir-many-unlink", "names 1 48 30; ", "unlink 1/70", 8u << 20, 0 },
    /* No whole piece is left: at close, the last chunk leaves the one that it has (fs/retract.c). */
    { "close-retract",
      "create 0/10 4; fallocate 4 1 2097152 40000; write 4 2097152 9000; create 0/11 7; "
      "fallocate 7 1 2097152 4194304; ",
      "close 4", 8u << 20, 0 },
    { "delete-large", "pieces 1 700; close 1; unlink 1/7; ", "unlink 3", MANY, 0 },
    { "close-large", "pieces 1 700; unlink 1/7; unlink 3; ", "close 1", MANY, 0 },
    { "truncate-large", "pieces 1 700; ", "truncate 3 5000", MANY, 0 },
    { "punch-large", "pieces 1 700; ", "fallocate 1 3 5000 5600000", MANY, 0 },
    { "zero-large", "pieces 1 700; ", "fallocate 1 17 5000 5600000", MANY, 0 },
    /* The next two in several transactions: see range_op_batch in crash_run.c. */
    { "collapse-large", "pieces 1 700; ", "shift 1 8 8192 2867200", MANY, 0 },
    { "insert-large", "pieces 1 700; ", "shift 1 32 8192 4096", MANY, 0 },
    { "collapse-shrink", "pieces 1 12; ", "shift 1 8 0 81920", 8u << 20, 0 },
    /* An extent is cut of which there are eight, or as many as a leaf has. */
    { "insert-first", "pieces 1 7; write 1 65536 12000; ", "shift 1 32 69632 4096", 8u << 20, 0 },
    { "insert-leaf", "pieces 1 253; write 1 2072576 12000; ", "shift 1 32 2076672 4096", 8u << 20,
      0 },
    { "write-pieces", "pieces 1 60; ", "write 1 3000 300000", 8u << 20, 0 },
    { "rename-over-large", "pieces 1 700; close 1; unlink 1/7; ", "rename 0/2 3 0", MANY, 0 },
    { "tree-first", "pieces 1 8; ", "write 1 65536 1", 8u << 20, 0 },
    { "tree-root", "pieces 1 254; ", "write 1 2080768 1", 8u << 20, 0 },
    { "tree-leaf", "pieces 1 508; ", "write 1 4161536 1", MANY, 0 },
    { "tree-shrink", "pieces 1 12; ", "truncate 3 100", 8u << 20, 0 },
    { "acl", "root; ", "acl 5", 8u << 20, 0 },
    { "acl-remove", "root; acl 3; ", "acl 0", 8u << 20, 0 },
    { "default-acl", "root; ", "default-acl 7", 8u << 20, 0 },
    /* Where nodes become full: names of 250 bytes, hashed with the seed of test/model/image.c. */
    { "dir-leaf", "root; links 17; ", "links 18", 8u << 20, 0 },
    { "dir-leaf", "root; links 33; ", "links 34", 8u << 20, 0 },
    { "dir-tree", "root; links 3017; ", "links 3018", MANY, 0 },
    { "dir-tree-unlink", "root; links 600; ", "unlinks 599", 8u << 20, 0 },
    /* Blocks of metadata whose records are in the log become a file's. */
    { "reuse-dir",
      "root; mkdir 0; create 3 1; write 1 0 100; mkdir 0/10; mknod 0/10/1; mknod 0/10/2; fill 0; "
      "unlink 0/10/1; unlink 0/10/2; rmdir 0/10; ",
      "write 1 8192 4096", 8u << 20, 0 },
    { "reuse-tree",
      "root; create 3 1; write 1 0 100; create 4 2; pieces 2 12; fill 0; truncate 4 0; ",
      "write 1 4096 53248", 8u << 20, 0 },
    /* More orphans than a block has places for, more inodes than the table. */
    { "orphans", "root; litter; unnamed 447; ", "unnamed 450", 8u << 20, 0 },
    { "inodes", "root; litter; unnamed 484; ", "unnamed 486", 8u << 20, 0 },
    { "trim", "root; keep 1200; ", "trim", MANY, 0 },
    { "look", "root; sync; ", "look", 8u << 20, 0 },
    { "fallocate-regrow", "truncate 0/2 4500; ", "fallocate 0 0 0 20000", 8u << 20, 0 },
    { "write-litter", "root; litter; create 3 1; ", "write 1 5000 2000", 8u << 20, 0 },
    { "grow", "", "grow 16777216", 8u << 20, 16u << 20 },
    { "grow-moves", "root; litter; ", "grow 125829120", 8u << 20, 120u << 20 },
    /* The only free block of the old part is where the bitmap was. */
    { "grow-reuse", "root; create 3 1; write 1 0 100; mkdir 0; fill 0; grow 125829120; ",
      "write 1 8192 4096", 8u << 20, 120u << 20 },
    /* Of mapped files (maps.c). Doors and slots, chunks, 1 to write. Door 0 cannot revoke. */
    { "map-fault-hole", MAPPED "map-truncate 4194304; ", "map-fault 0 3 1 1", MANY, 0 },
    { "map-fault-ready", MAPPED "map-write 0 4194304; ", "map-fault 0 1 1 1; map-unmap 0 1", MANY,
      0 },
    { "map-fault-gather", MAPPED "map-scatter 1048576; ", "map-fault 0 3 0 1", MANY, 0 },
    { "map-fault-eof", MAPPED "map-write 0 12288; map-truncate 5000; ",
      "map-fault 0 0 0 1; map-truncate 100000", MANY, 0 },
    { "map-fault-unwritten", MAPPED "map-write 0 5000; map-fallocate 1 0 2097152; ",
      "map-fault 0 0 0 1; map-truncate 100000", MANY, 0 },
    { "map-fault-parts", MAPPED "map-write 0 12288; map-fallocate 1 1000000 300000; ",
      "map-fault 0 0 0 1; map-truncate 1100000", MANY, 0 },
    { "map-fault-read", MAPPED "map-scatter 300000; ", "map-fault 0 0 0 0; map-fault 0 0 0 1", MANY,
      0 },
    { "map-fill", MAPPED "map-truncate 4194304; map-fault 0 0 0 0; map-fault 1 1 0 0; ",
      "map-write 5000 9000", MANY, 0 },
    { "map-fill-revoke", MAPPED "map-truncate 1500000; map-fault 1 0 0 0; ",
      "map-write 616401 3533", MANY, 0 },
    { "map-write", MAPPED "map-write 0 30000; map-fault 0 0 0 1; map-store 0 0 4096 4096 0; ",
      "map-write 10000 9000", MANY, 0 },
    { "map-populate", MAPPED "map-write 0 3000000; map-truncate 6000000; ",
      "map-populate 0 4 0 1 3", MANY, 0 },
    { "map-unmap-eof",
      MAPPED "map-write 0 12288; map-truncate 5000; map-fault 0 0 0 1; map-store 0 0 64 8192 0; ",
      "map-unmap 0 0", MANY, 0 },
    { "map-unmap-zeros",
      MAPPED "map-write 4096 65536; map-truncate 2097152; map-fault 0 0 0 1; "
             "map-store 0 0 8192 8192 1; map-store 0 0 40960 16384 1; map-store 0 0 131072 80 0; ",
      "map-unmap 0 0", MANY, 0 },
    { "map-truncate-pin", MAPPED "map-write 0 4194304; map-fault 0 1 1 1; map-store 0 1 0 4096 0; ",
      "map-truncate 1000", MANY, 0 },
    { "map-truncate-in-pin",
      MAPPED "map-write 0 4194304; map-fault 0 0 0 1; map-fault 0 1 1 1; map-store 0 1 0 8192 0; ",
      "map-truncate 2101001", MANY, 0 },
    { "map-regrow-pin",
      MAPPED "map-write 0 4194304; map-fault 0 1 1 1; map-truncate 1000; map-store 0 1 0 8192 0; ",
      "map-truncate 4000000", MANY, 0 },
    { "map-truncate-revoke",
      MAPPED "map-write 0 4194304; map-fault 1 1 1 1; map-store 1 1 0 8192 0; ",
      "map-truncate 2101001", MANY, 0 },
    { "map-punch-pin",
      MAPPED "map-write 0 6000000; map-fault 0 1 1 1; map-fault 1 2 2 1; map-store 0 1 0 8192 0; ",
      "map-fallocate 3 100 5500001; map-unmap 0 1", MANY, 0 },
    { "map-punch-in-pin",
      MAPPED "map-write 0 100000; map-fault 0 0 0 1; map-store 0 0 8192 8192 0; ",
      "map-fallocate 3 5001 20000", MANY, 0 },
    { "map-punch-revoke", MAPPED "map-scatter 200000; map-fault 1 0 0 1; map-store 1 0 0 8192 0; ",
      "map-fallocate 3 5000 100000", MANY, 0 },
    { "map-zero-pin",
      MAPPED "map-write 0 5000000; map-fault 0 1 1 1; map-fault 1 2 2 1; map-store 0 1 0 8192 0; ",
      "map-fallocate 17 100 4800001; map-unmap 0 1", MANY, 0 },
    { "map-zero-grow-pin",
      MAPPED "map-write 0 20000; map-fault 0 0 0 1; map-store 0 0 8192 8192 0; ",
      "map-fallocate 16 9000 60000", MANY, 0 },
    { "map-zero-grow-revoke", MAPPED "map-truncate 700000; map-fault 1 0 0 1; ",
      "map-fallocate 16 1100000 2600000", MANY, 0 },
    { "map-zero-revoke", MAPPED "map-scatter 200000; map-fault 1 0 0 1; map-store 1 0 0 8192 0; ",
      "map-fallocate 17 5000 100000", MANY, 0 },
    { "map-busy", MAPPED "map-write 0 4194304; map-fault 0 1 1 1; map-store 0 1 0 8192 0; ",
      "map-busy 8 4096 4096; map-busy 32 4096 4096", MANY, 0 },
    { "map-collapse-revoke",
      MAPPED "map-write 0 3000000; map-fault 1 1 1 1; map-store 1 1 0 8192 0; ",
      "map-fallocate 8 4096 8192", MANY, 0 },
    { "map-insert-revoke",
      MAPPED "map-write 0 3000000; map-fault 1 1 1 1; map-store 1 1 0 8192 0; ",
      "map-fallocate 32 4096 8192", MANY, 0 },
    { "map-unlink",
      MAPPED "map-write 0 3000000; map-fault 0 0 0 1; map-fault 0 1 1 1; map-store 0 0 0 4096 0; ",
      "map-unlink; map-store 0 0 8192 4096 0; map-unmap 0 0; map-unmap 0 1", MANY, 0 },
    { "map-link-unmap", "root; litter; map-files 5000 1; map-fault 0 0 0 1; ",
      "map-link; map-unmap 0 0", MANY, 0 },
    { "map-unmap-link", "root; litter; map-files 5000 1; map-fault 0 0 0 1; ",
      "map-unmap 0 0; map-link", MANY, 0 },
    { "map-fsync", MAPPED "map-write 0 3000000; map-fault 0 0 0 1; map-fault 0 1 1 1; ",
      "map-store 0 0 4000 9000 0; map-store 0 1 0 80 0; map-fsync; map-store 0 0 20000 800 0", MANY,
      0 },
    { "map-over",
      MAPPED "map-write 0 4194304; map-fault 0 0 0 1; map-fault 0 1 1 1; map-truncate 1000; "
             "map-store 0 1 0 8192 0; map-store 0 0 64 8192 0; ",
      "map-over 0", MANY, 0 },
    { "map-random", MAPPED "map-write 0 3000000; map-fault 0 0 0 1; map-fault 0 1 1 1; ",
      "map-random 10", MANY, 0 },
    { "map-unmount",
      MAPPED "map-write 0 4194304; map-fault 0 0 0 1; map-fault 1 1 1 1; map-truncate 1000; "
             "map-store 0 0 64 8192 0; ",
      "unmount", MANY, 0 },
};
#define SINGLES (sizeof(singles) / sizeof(singles[0]))

const char *row_names[ROWS_MAX];

/* ---- rows of the table ---- */

uint8_t row_of_name(const char *name)
{
    unsigned i = 0;

    while (row_names[i] && strcmp(row_names[i], name) != 0)
        if (++i == ROWS_MAX - 1)
            break;
    if (!row_names[i])
        row_names[i] = name;
    return (uint8_t)i;
}

uint8_t row_of_kind(unsigned kind)
{
    static char names[OP_KINDS][40];

    snprintf(names[kind], sizeof(names[kind]), "random %s", op_names[kind]);
    return row_of_name(names[kind]);
}

unsigned rows_count(void)
{
    unsigned count = 0;

    /* The same numbers in every process. */
    row_of_name("recovery");
    for (unsigned i = 0; i < SINGLES; i++)
        row_of_name(singles[i].name);
    for (unsigned i = 0; i < OP_KINDS; i++)
        row_of_kind(i);
    while (count < ROWS_MAX && row_names[count])
        count++;
    return count;
}

/* ---- text ---- */

static const char *parse_path(const char *at, struct path *path)
{
    path->length = 0;
    if (*at == '.')
        return at + 1;
    for (;;) {
        char *end;

        path->name[path->length++] = (uint8_t)strtoul(at, &end, 10);
        if (*end != '/')
            return end;
        at = end + 1;
    }
}

static const char *parse_argument(struct op *op, char type, const char *at)
{
    char *end;
    uint64_t value;

    if (type == 'p')
        return parse_path(at, &op->path);
    if (type == 'q')
        return parse_path(at, &op->path2);
    value = strtoull(at, &end, type == 'm' ? 8 : 10);
    switch (type) {
    case 's':
        op->slot = (uint8_t)value;
        break;
    case 't':
        op->slot2 = (uint8_t)value;
        break;
    case 'f':
        op->flags = (uint32_t)value;
        break;
    case 'o':
        op->offset = value;
        break;
    case 'O':
        op->offset2 = value;
        break;
    case 'l':
        op->length = value;
        break;
    case 'm':
        op->mode = (uint32_t)value;
        break;
    case 'u':
        op->uid = (uint32_t)value;
        break;
    default:
        op->xattr = (uint8_t)value;
    }
    return end;
}

static struct step *add(struct program *program)
{
    struct step *step;

    if (program->count == STEPS_MAX)
        errx(2, "the program is too long");
    step = &program->step[program->count++];
    *step = (struct step){ .op = { .seed = program->seed * 1000003 + program->count } };
    return step;
}

/* What is not in the text. */
static void complete(struct op *op)
{
    switch (op->kind) {
    case OP_CREATE:
    case OP_TMPFILE:
        op->mode = 0644;
        op->flags = O_RDWR | (op->kind == OP_CREATE ? O_CREAT | O_EXCL : 0);
        break;
    case OP_OPEN:
        op->flags |= O_RDWR;
        break;
    case OP_MKDIR:
        op->mode = 0755;
        break;
    case OP_MKNOD:
        op->mode = S_IFCHR | 0600;
        op->major = 7;
        op->minor = 70000;
        break;
    case OP_CHOWN:
        op->gid = op->uid + 1;
        break;
    case OP_UTIMES:
        op->mtime = 1234567890123456789;
        op->atime = 1234567890000000001;
        break;
    default:
        break;
    }
}

/* names FOLDER FIRST COUNT: as many files; pieces SLOT COUNT: a byte in every other block. */
static bool parse_many(struct program *program, const char *text)
{
    unsigned folder, first, count;

    if (sscanf(text, "names %u %u %u", &folder, &first, &count) == 3) {
        for (unsigned i = 0; i < count; i++) {
            struct step *step = add(program);

            step->op.kind = OP_MKNOD;
            step->op.mode = S_IFREG | 0644;
            step->op.path = (struct path){ 2, { (uint8_t)folder, (uint8_t)(first + i) } };
        }
        return true;
    }
    if (sscanf(text, "pieces %u %u", &first, &count) != 2)
        return false;
    for (unsigned i = 0; i < count; i++) {
        struct step *step = add(program);

        step->op.kind = OP_WRITE;
        step->op.slot = (uint8_t)first;
        step->op.offset = (uint64_t)i * 8192;
        step->op.length = 1;
    }
    return true;
}

static void parse_one(struct program *program, const char *text, bool checked, const char *row)
{
    size_t length = strcspn(text, " ;");
    const char *at = text + length;
    struct step *step;
    unsigned count;

    if (parse_many(program, text))
        return;
    if (sscanf(text, "map-random %u", &count) == 1) {
        for (; count > 0; count--) {
            step = add(program);
            maps_random(step);
            step->lenient = true;
            step->checked = checked;
            step->row = row_of_name(row);
        }
        return;
    }
    step = add(program);
    for (unsigned i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strncmp(verbs[i].name, text, length) != 0 || verbs[i].name[length])
            continue;
        step->op.kind = verbs[i].kind;
        step->extra = verbs[i].extra;
        for (const char *type = verbs[i].arguments; *type; type++)
            at = parse_argument(&step->op, *type, at + (*at == ' '));
        if (!step->extra)
            complete(&step->op);
        step->checked = checked;
        step->row = row_of_name(row);
        return;
    }
    errx(2, "no such operation: %s", text);
}

static void parse(struct program *program, const char *text, bool checked, const char *row)
{
    while (*text) {
        parse_one(program, text, checked, row);
        text += strcspn(text, ";");
        text += strspn(text, "; ");
    }
}

/* Numbers, as the extra operations have them. */
static uint64_t extra_argument(const struct op *op, char type)
{
    switch (type) {
    case 's':
        return op->slot;
    case 't':
        return op->slot2;
    case 'f':
        return op->flags;
    case 'o':
        return op->offset;
    default:
        return op->length;
    }
}

void step_print(FILE *file, const struct step *step)
{
    for (unsigned i = 0; step->extra && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (verbs[i].extra != step->extra)
            continue;
        fputs(verbs[i].name, file);
        for (const char *type = verbs[i].arguments; *type; type++)
            fprintf(file, " %llu", (unsigned long long)extra_argument(&step->op, *type));
    }
    if (!step->extra)
        op_print(file, &step->op);
}

/* ---- programs ---- */

static bool is_paired(const struct single *single)
{
    return single->pool_size == 0 && strcmp(single->name, "unmount") != 0;
}

static unsigned paired(unsigned *numbers)
{
    unsigned count = 0;

    for (unsigned i = 0; i < SINGLES; i++)
        if (is_paired(&singles[i]))
            numbers[count++] = i;
    return count;
}

unsigned programs_singles(void)
{
    return SINGLES;
}

const char *program_single_name(unsigned number)
{
    return singles[number % SINGLES].name;
}

unsigned programs_pairs(void)
{
    unsigned numbers[SINGLES], count = paired(numbers);

    return count * count;
}

static bool starts_alone(const char *setup)
{
    return strncmp(setup, "root", 4) == 0;
}

void program_single(struct program *program, unsigned number)
{
    const struct single *single = &singles[number % SINGLES];

    program->name = single->name;
    program->pool_size = single->pool_size ? single->pool_size : DXF_POOL_SIZE_MIN;
    program->file_size = single->file_size ? single->file_size : program->pool_size;
    program->count = 0;
    if (!starts_alone(single->setup))
        parse(program, TREE, false, single->name);
    parse(program, single->setup, false, single->name);
    parse(program, single->op, true, single->name);
    if (strcmp(single->op, "unmount") != 0)
        parse(program, "unmount", program->seed % 8 == 0, "unmount");
}

void program_pair(struct program *program, unsigned number)
{
    unsigned numbers[SINGLES], count = paired(numbers);
    const struct single *first = &singles[numbers[number / count % count]];
    const struct single *second = &singles[numbers[number % count]];

    program->name = second->name;
    program->pool_size = program->file_size = DXF_POOL_SIZE_MIN;
    program->count = 0;
    parse(program, TREE, false, first->name);
    parse(program, first->setup, false, first->name);
    if (second != first)
        parse(program, second->setup, false, second->name);
    parse(program, first->op, false, first->name);
    parse(program, second->op, true, second->name);
}

void program_random(struct program *program, uint64_t seed)
{
    program->name = "random";
    program->random = true;
    program->seed = seed;
    program->pool_size = program->file_size = DXF_POOL_SIZE_MIN;
    program->count = 0;
    program->wanted = 1 + (unsigned)(seed % 20);
    parse(program, TREE, false, "random");
}
