/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of 255 and 256 bytes with every call that takes one, PATH_MAX, and loops of symlinks. */
#include "harness.h"

/* %s is a name; each is tried with 255 and 256 bytes. */
static const struct {
    const char *name;
    const char *setup;
    const char *step; /* with a name of 255 bytes it succeeds, with 256 it is ENAMETOOLONG */
} rows[] = {
    { "creat", "stat .", "file %s 644" },
    { "open", "file @255 644", "try %s rd" },
    { "mkdir", "stat .", "mkdir %s 755" },
    { "rmdir", "mkdir @255 755", "rmdir %s" },
    { "unlink", "file @255 644", "unlink %s" },
    { "mknod", "stat .", "mknod %s fifo 644" },
    { "symlink", "stat .", "symlink x %s" },
    { "readlink", "symlink x @255", "readlink %s" },
    { "link-from", "file @255 644", "link %s g" },
    { "link-to", "file f 644", "link f %s" },
    { "rename-from", "file @255 644", "rename %s g" },
    { "rename-to", "file f 644", "rename f %s" },
    { "rename-dir", "mkdir d 755", "rename d %s" },
    { "stat", "file @255 644", "lstat %s" },
    { "chmod", "file @255 644", "chmod %s 600" },
    { "chown", "file @255 644", "chown %s 5 6" },
    { "truncate", "file @255 644", "truncate %s 10" },
    { "utimens", "file @255 644", "utimens %s 1 2" },
    { "access", "file @255 644", "access %s r" },
    { "setxattr", "file @255 644", "setx %s user.a b" },
    { "listxattr", "file @255 644", "listx %s" },
    { "prefix", "mkdir @255 755", "file %s/f 644" },
    { "list", "mkdir @255 755", "ls %s" },
};

static const struct fs_case cases[] = {
    { "name-255-listed", "file a@254 644; ls . = a+x*254" },
    { "name-255-differs-at-end", "file @254a 644 1; file @254b 644 2; data @254a 0 9 = 1;"
                                 "data @254b 0 9 = 2; unlink @254a; ls . = x*254+b" },
    { "name-of-every-length",
      "file @1 644; file @2 644; file @3 644; file @4 644; file @5 644;"
      "file @8 644; file @16 644; file @32 644; file @64 644; file @128 644; unlink @16; unlink @3;"
      "unlink @128; size @64 = 0; size @32 = 0; lstat @16 = ENOENT" },
    { "path-4095", "file f 644 abc; data @P4094f 0 9 = abc" },
    { "path-4096", "file f 644; lstat @P4095f = ENAMETOOLONG" },
    { "path-4095-creat", "file @P4094f 644; ls . = f" },
    { "path-4096-creat", "file @P4095f 644 = ENAMETOOLONG; ls . = -" },
    { "path-4096-mkdir", "mkdir @P4095d 755 = ENAMETOOLONG" },
    { "path-4096-rename", "file f 644; rename f @P4095g = ENAMETOOLONG; ls . = f" },
    { "path-4096-symlink", "symlink x @P4095l = ENAMETOOLONG" },
    { "path-4096-unlink", "file f 644; unlink @P4095f = ENAMETOOLONG; ls . = f" },
    { "path-4095-through-symlink", "file f 644 abc; symlink @P4094f l; data l 0 9 = abc" },
    { "symlink-target-256", "symlink @256 l; readlink l = x*256; stat l = ENAMETOOLONG" },
    { "loop-self", "symlink l l; stat l = ELOOP; try l rd = ELOOP; lstat l; readlink l = l" },
    { "loop-two", "symlink m l; symlink l m; stat l = ELOOP; try m rd = ELOOP" },
    { "loop-three", "symlink b a; symlink c b; symlink a c; stat a = ELOOP" },
    { "loop-in-prefix",
      "symlink l l; lstat l/f = ELOOP; file l/f 644 = ELOOP; mkdir l/d 755 = ELOOP" },
    { "loop-through-dir", "mkdir d 755; symlink ../d/l d/l; stat d/l = ELOOP" },
    { "loop-removable", "symlink l l; unlink l; ls . = -" },
    { "loop-renamable", "symlink l l; rename l m; readlink m = l; stat m = ENOENT" },
    { "loop-creat", "symlink l l; try l rw|creat 644 = ELOOP" },
    { "loop-chmod", "symlink l l; chmod l 644 = ELOOP" },
    { "loop-chown", "symlink l l; chown l 5 6 = ELOOP; lchown l 5 6" },
    { "loop-truncate", "symlink l l; truncate l 0 = ELOOP" },
    { "loop-xattr", "symlink l l; setx l user.a b = ELOOP; listx l = ELOOP" },
    { "loop-utimens", "symlink l l; utimens l 1 2 = ELOOP; lutimens l 1 2" },
    { "loop-link-follow", "symlink l l; linkfollow l m = ELOOP; link l m; nlink l = 2" },
    { "name-255-symlink-followed", "file @255 644 abc; symlink @255 l; data l 0 9 = abc" },
    { "name-bytes",
      "file \x01 644; file \x7f 644; file \xff 644; unlink \x7f; lstat \x01; lstat \xff" },
    { "name-utf8", "file \xc3\xa9\xe2\x82\xac 644 abc; data \xc3\xa9\xe2\x82\xac 0 9 = abc;"
                   "lstat \xc3\xa9 = ENOENT" },
    { "name-255-exchange", "file a@254 644 1; file b@254 644 2; rename2 a@254 b@254 exchange;"
                           "data a@254 0 9 = 2" },
    { "name-255-whiteout", "file a@254 644; rename2 a@254 b@254 whiteout; type a@254 = chr" },
};

/* Linux follows 40 symlinks in one look-up and no more. */
static void chain(const void *argument)
{
    int length = *(const int *)argument;

    case_script("file 0 644 abc");
    for (int i = 0; i < length; i++)
        case_script("symlink %d %d", i, i + 1);
    case_script("data %d 0 9 = %s; stat %d = %s", length, length <= 40 ? "abc" : "ELOOP", length,
                length <= 40 ? "ok" : "ELOOP");
}

void area_limits(void)
{
    static const int lengths[] = { 1, 10, 39, 40, 41, 60 };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        suite_script_format(text("limits/%s-255", rows[i].name), "%s; %s = ok", rows[i].setup,
                            text_fill(rows[i].step, "@255"));
        suite_script_format(text("limits/%s-256", rows[i].name), "%s; %s = ENAMETOOLONG",
                            rows[i].setup, text_fill(rows[i].step, "@256"));
    }
    SUITE_TABLE("limits", cases);
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++)
        suite_function(text("limits/symlinks-%d", lengths[i]), chain, &lengths[i]);
}
