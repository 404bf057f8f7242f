/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes. Sizes stay below 3,500 bytes an inode, which ext4 with blocks of 4 KiB
 * holds; the VFS's own limits (64 KiB a value, 255 bytes a name) are the same everywhere.
 */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <sys/xattr.h>

static const struct fs_case cases[] = {
    { "set-get", "file f 644; setx f user.a value; getx f user.a = value" },
    { "empty-value", "file f 644; setx f user.a \"\"; getx f user.a 0 = 0; getx f user.a = \"\"" },
    { "binary-value", "file f 644; setx f user.a 0*3+ab+0*2; getx f user.a = 0*3+ab+0*2" },
    { "overwrite", "file f 644; setx f user.a value; setx f user.a other; getx f user.a = other" },
    { "overwrite-shorter", "file f 644; setx f user.a A*1000; setx f user.a b; getx f user.a = b" },
    { "overwrite-longer",
      "file f 644; setx f user.a b; setx f user.a A*1000; getx f user.a = A*1000" },
    { "missing", "file f 644; getx f user.a = ENODATA" },
    { "remove",
      "file f 644; setx f user.a b; removex f user.a; getx f user.a = ENODATA; listx f = -" },
    { "remove-missing", "file f 644; removex f user.a = ENODATA" },
    { "remove-middle", "file f 644; setx f user.a 1; setx f user.b 2; setx f user.c 3;"
                       "removex f user.b; listx f = user.a,user.c; getx f user.c = 3" },
    { "create", "file f 644; setx f user.a b create; getx f user.a = b" },
    { "create-existing", "file f 644; setx f user.a b; setx f user.a c create = EEXIST;"
                         "getx f user.a = b" },
    { "replace", "file f 644; setx f user.a b; setx f user.a c replace; getx f user.a = c" },
    { "replace-missing", "file f 644; setx f user.a b replace = ENODATA; listx f = -" },
    { "flags-unknown", "file f 644; setx f user.a b 0x40 = EINVAL" },
    { "create-after-remove",
      "file f 644; setx f user.a b; removex f user.a; setx f user.a c create;"
      "getx f user.a = c" },
    { "size-query", "file f 644; setx f user.a A*100; getx f user.a 0 = 100" },
    { "size-short", "file f 644; setx f user.a A*100; getx f user.a 99 = ERANGE" },
    { "size-exact", "file f 644; setx f user.a A*100; getx f user.a 100 = A*100" },
    { "list-none", "file f 644; listx f = -; listx f 0 = 0" },
    { "list-three", "file f 644; setx f user.a 1; setx f user.bb 2; setx f trusted.c 3;"
                    "listx f = trusted.c,user.a,user.bb" },
    { "list-short", "file f 644; setx f user.a 1; setx f user.bb 2; listx f 5 = ERANGE" },
    { "value-too-big", "file f 644; setx f user.a A*65537 = E2BIG; listx f = -" },
    { "name-255", "file f 644; setx f user.@250 b; getx f user.@250 = b; listx f = user.+x*250" },
    { "name-256", "file f 644; setx f user.@251 b = ERANGE; getx f user.@251 = ERANGE" },
    { "name-empty", "file f 644; setx f \"\" b = ERANGE; getx f \"\" = ERANGE" },
    { "name-prefix-only", "file f 644; setx f user. b = EINVAL" },
    { "name-no-namespace", "file f 644; setx f plain b = EOPNOTSUPP; getx f plain = EOPNOTSUPP" },
    { "name-unknown-namespace", "file f 644; setx f other.a b = EOPNOTSUPP" },
    { "name-with-dots",
      "file f 644; setx f user.a.b.c d; getx f user.a.b.c = d; listx f = user.a.b.c" },
    { "name-case",
      "file f 644; setx f user.a 1; setx f user.A 2; getx f user.a = 1; getx f user.A = 2" },
    { "name-is-prefix", "file f 644; setx f user.a 1; setx f user.ab 2; removex f user.a;"
                        "getx f user.ab = 2" },
    { "namespaces-apart", "file f 644; setx f user.a 1; setx f trusted.a 2; setx f security.a 3;"
                          "getx f user.a = 1; getx f trusted.a = 2; getx f security.a = 3" },
    { "value-3000", "file f 644; setx f user.a A*3000; getx f user.a = A*3000" },
    { "dir", "mkdir d 755; setx d user.a b; getx d user.a = b; listx d = user.a" },
    { "dir-trusted",
      "mkdir d 755; setx d trusted.overlay.opaque y; getx d trusted.overlay.opaque = y" },
    { "fd", "file f 644; open a f rd; setx $a user.a b; getx $a user.a = b; listx $a = user.a;"
            "removex $a user.a; getx $a user.a = ENODATA" },
    { "follow", "file f 644; symlink f l; setx l user.a b; getx f user.a = b" },
    { "symlink-user", "symlink x l; lsetx l user.a b = EPERM; lgetx l user.a = ENODATA|EPERM" },
    { "symlink-trusted",
      "symlink x l; lsetx l trusted.a b; lgetx l trusted.a = b; llistx l = trusted.a;"
      "readlink l = x; lremovex l trusted.a; llistx l = -" },
    { "symlink-security", "symlink x l; lsetx l security.a b; lgetx l security.a = b" },
    { "symlink-dangling-follow", "symlink x l; setx l user.a b = ENOENT" },
    { "fifo-user", "mknod p fifo 644; setx p user.a b = EPERM" },
    { "fifo-trusted", "mknod p fifo 644; setx p trusted.a b; getx p trusted.a = b" },
    { "chr-user", "mknod p chr 644 1 3; setx p user.a b = EPERM" },
    { "chr-trusted", "mknod p chr 644 1 3; setx p trusted.a b; getx p trusted.a = b" },
    { "sock-trusted", "mknod p sock 644; setx p trusted.a b; getx p trusted.a = b" },
    { "owner", "u> file f 600; u> setx f user.a b; u> getx f user.a = b; u> removex f user.a" },
    { "owner-read-only", "u> file f 444; u> setx f user.a b = EACCES" },
    { "owner-write-only", "u> file f 222; u> setx f user.a b; u> getx f user.a = EACCES" },
    { "other-no-write", "file f 644; u> setx f user.a b = EACCES; listx f = -" },
    { "other-write", "file f 666; u> setx f user.a b; getx f user.a = b" },
    { "other-no-read", "file f 600; setx f user.a b; u> getx f user.a = EACCES" },
    { "other-list-unreadable", "file f 600; setx f user.a b; u> listx f = user.a" },
    { "other-remove",
      "file f 644; setx f user.a b; u> removex f user.a = EACCES; getx f user.a = b" },
    { "no-search", "mkdir d 700; file d/f 666; u> setx d/f user.a b = EACCES;"
                   "u> getx d/f user.a = EACCES; u> listx d/f = EACCES" },
    { "trusted-user-set", "u> file f 666; u> setx f trusted.a b = EPERM" },
    { "trusted-user-get", "file f 666; setx f trusted.a b; u> getx f trusted.a = ENODATA" },
    { "trusted-user-list", "file f 666; setx f trusted.a b; setx f user.a b; u> listx f = user.a" },
    { "trusted-user-remove", "u> file f 666; setx f trusted.a b; u> removex f trusted.a = EPERM" },
    { "security-user-set", "u> file f 666; u> setx f security.a b = EPERM" },
    { "security-user-get", "file f 644; setx f security.a b; u> getx f security.a = b" },
    { "security-user-remove",
      "u> file f 666; setx f security.a b; u> removex f security.a = EPERM" },
    { "sticky-dir-owner", "u> mkdir d 1777; u> setx d user.a b" },
    { "sticky-dir-other", "u> mkdir d 777; u> chmod d 1777; v> setx d user.a b = EPERM" },
    { "missing-file", "getx f user.a = ENOENT; setx f user.a b = ENOENT; listx f = ENOENT;"
                      "removex f user.a = ENOENT" },
    { "under-file", "file d 644; setx d/f user.a b = ENOTDIR" },
    { "shared-by-link", "file f 644; link f g; setx f user.a b; getx g user.a = b;"
                        "removex g user.a; getx f user.a = ENODATA" },
    { "survives-rename", "file f 644; setx f user.a b; rename f g; getx g user.a = b" },
    { "survives-write",
      "file f 644; setx f user.a b; put f hello; truncate f 0; getx f user.a = b" },
    { "survives-chown",
      "file f 644; setx f user.a b; chown f 5 6; chmod f 600; getx f user.a = b" },
    { "not-inherited", "mkdir d 755; setx d user.a b; file d/f 644; mkdir d/e 755; listx d/f = -;"
                       "listx d/e = -" },
    { "new-file-same-name", "file f 644; setx f user.a b; unlink f; file f 644; listx f = -" },
    { "fsync", "file f 644; open a f rw; setx f user.a b; fsync a; getx f user.a = b" },
    { "capability-file", "file f 755; setx f security.capability 0*3 = EINVAL" },
};

/* Value lengths at which a store moves from the inode to a block or between sizes. */
static const int lengths[] = { 1,   7,   8,   31,   32,   63,   64,   100,  127,  128, 255,
                               256, 511, 512, 1000, 1023, 1024, 2047, 2048, 3000, 3500 };

/* How many attributes of an inode an ext4 block holds: 40 x ~60 bytes. */
static void many(const void *unused)
{
    char name[32], value[48], list[4096];

    (void)unused;
    case_script("file f 644");
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "user.attribute%02d", i);
        int length = snprintf(value, sizeof(value), "%d-%030d", i, i * 7);
        CHECK(setxattr("f", name, value, (size_t)length, XATTR_CREATE) == 0,
              "setting %s: expected ok, got %s", name, error_name(errno));
    }
    ssize_t listed = listxattr("f", list, sizeof(list));
    CHECK(listed == 40 * 17, "listxattr: expected %d bytes, got %zd", 40 * 17, listed);
    for (int i = 0; i < 40; i += 2) {
        snprintf(name, sizeof(name), "user.attribute%02d", i);
        CHECK(removexattr("f", name) == 0, "removing %s: expected ok, got %s", name,
              error_name(errno));
    }
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "user.attribute%02d", i);
        int length = snprintf(value, sizeof(value), "%d-%030d", i, i * 7);
        char got[64];
        ssize_t size = getxattr("f", name, got, sizeof(got));
        if (i % 2 == 0)
            CHECK(size < 0 && errno == ENODATA, "%s: expected ENODATA, got %zd", name, size);
        else
            CHECK(size == length, "%s: expected %d bytes, got %zd", name, length, size);
    }
}

void area_xattr(void)
{
    static const char *const spaces[] = { "user", "trusted", "security" };

    SUITE_TABLE("xattr", cases);
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++)
        suite_script_format(text("xattr/length-%d", lengths[i]),
                            "file f 644; setx f user.a A*%d; getx f user.a = A*%d;"
                            "getx f user.a %d = ERANGE|%d; setx f user.a B*%d replace;"
                            "getx f user.a = B*%d; removex f user.a; listx f = -",
                            lengths[i], lengths[i], lengths[i] - 1, lengths[i], lengths[i],
                            lengths[i]);
    for (size_t i = 0; i < ARRAY_COUNT(spaces); i++)
        suite_script_format(text("xattr/namespace-%s", spaces[i]),
                            "file f 644; setx f %s.n v create; setx f %s.n v create = EEXIST;"
                            "setx f %s.n w replace; getx f %s.n = w; listx f = %s.n;"
                            "removex f %s.n; setx f %s.n w replace = ENODATA",
                            spaces[i], spaces[i], spaces[i], spaces[i], spaces[i], spaces[i],
                            spaces[i]);
    suite_function("xattr/many", many, NULL);
}
