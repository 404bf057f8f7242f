/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rename(2) and renameat2(2): the plain moves, every pair of types, flags, and who may. */
#include "harness.h"

static const struct fs_case cases[] = {
    { "file", "file f 640 abc; rename f g; lstat f = ENOENT; data g 0 9 = abc; mode g = 0640" },
    { "file-other-dir", "mkdir d 755; file f 644 abc; rename f d/g; ls d = g; data d/g 0 9 = abc" },
    { "keeps-inode", "file f 644; open a f rd; rename f g; same $a g = 1" },
    { "replaces", "file f 644 new; file g 600 old; rename f g; data g 0 9 = new; mode g = 0644;"
                  "lstat f = ENOENT; ls . = g" },
    { "replaces-link-count", "file f 644; file g 644; link g h; rename f g; nlink h = 1" },
    { "same-name", "file f 644 abc; rename f f; data f 0 9 = abc" },
    { "same-inode", "file f 644 abc; link f g; rename f g; nlink f = 2; nlink g = 2" },
    { "hard-link-away", "file f 644; link f g; rename g h; nlink h = 2; lstat g = ENOENT" },
    { "dir", "mkdir d 755; file d/f 644 abc; rename d e; data e/f 0 9 = abc; lstat d = ENOENT" },
    { "dir-same-name", "mkdir d 755; rename d d; type d = dir; nlink d = 2" },
    { "dir-other-parent", "mkdir a 755; mkdir b 755; mkdir a/d 755; rename a/d b/d; nlink a = 2;"
                          "nlink b = 3; same b/d/.. b = 1" },
    { "dir-onto-empty",
      "mkdir d 755; mkdir e 700; file d/f 644; rename d e; ls e = f; mode e = 0755" },
    { "dir-onto-empty-nlink", "mkdir p 755; mkdir p/d 755; mkdir p/e 755; nlink p = 4;"
                              "rename p/d p/e; nlink p = 3" },
    { "dir-onto-empty-across", "mkdir p 755; mkdir q 755; mkdir p/d 755; mkdir q/e 755;"
                               "rename p/d q/e; nlink p = 2; nlink q = 3; same q/e/.. q = 1" },
    { "dir-onto-full", "mkdir d 755; mkdir e 755; file e/f 644; rename d e = ENOTEMPTY|EEXIST;"
                       "type d = dir; ls e = f" },
    { "dir-into-itself", "mkdir d 755; rename d d/e = EINVAL; type d = dir; ls d = -" },
    { "dir-into-child", "mkdir d 755; mkdir d/e 755; rename d d/e/f = EINVAL" },
    { "dir-onto-child", "mkdir d 755; mkdir d/e 755; rename d d/e = EINVAL" },
    { "dir-onto-parent", "mkdir d 755; mkdir d/e 755; rename d/e d = ENOTEMPTY" },
    { "file-onto-parent", "mkdir d 755; file d/f 644; rename d/f d = EISDIR|ENOTEMPTY" },
    { "dir-deep-into-itself",
      "mkdir a 755; mkdir a/b 755; mkdir a/b/c 755; rename a a/b/c/a = EINVAL" },
    { "dir-up", "mkdir a 755; mkdir a/b 755; mkdir a/b/c 755; file a/b/c/f 644; rename a/b/c c;"
                "ls c = f; nlink a/b = 2; same c/.. . = 1" },
    { "dot", "mkdir d 755; rename d/. e = EBUSY|EINVAL" },
    { "dotdot", "mkdir d 755; mkdir d/e 755; rename d/e/.. f = EBUSY|EINVAL" },
    { "to-dot", "mkdir d 755; mkdir e 755; rename d e/. = EBUSY|EINVAL" },
    { "to-dotdot", "mkdir d 755; mkdir e 755; rename d e/.. = EBUSY|EINVAL|EEXIST|ENOTEMPTY" },
    { "missing", "rename f g = ENOENT" },
    { "missing-onto", "file g 644 abc; rename f g = ENOENT; data g 0 9 = abc" },
    { "to-missing-dir", "file f 644; rename f d/g = ENOENT; type f = reg" },
    { "to-under-file", "file f 644; file d 644; rename f d/g = ENOTDIR" },
    { "from-under-file", "file d 644; rename d/f g = ENOTDIR" },
    { "empty-from", "rename \"\" g = ENOENT" },
    { "empty-to", "file f 644; rename f \"\" = ENOENT" },
    { "file-from-slash", "file f 644; rename f/ g = ENOTDIR" },
    { "file-to-slash", "file f 644; rename f g/ = ENOTDIR" },
    { "dir-slashes", "mkdir d 755; rename d/ e/; type e = dir" },
    { "symlink",
      "file f 644; symlink f l; rename l m; type m = lnk; readlink m = f; type f = reg" },
    { "onto-symlink", "file f 644 abc; file t 644 old; symlink t l; rename f l; type l = reg;"
                      "data t 0 9 = old" },
    { "symlink-onto-target", "file f 644; symlink f l; rename l f; type f = lnk" },
    { "symlink-to-dir-not-dir", "mkdir d 755; symlink d l; mkdir e 755; rename e l = ENOTDIR" },
    { "open-dir", "mkdir d 755; open a d rd|dir; rename d e; openat b a f rw|creat 644; ls e = f" },
    { "cwd", "mkdir d 755; cd d; rename ../d ../e; file f 644; ls ../e = f" },
    { "setgid-dir-keeps-group", "mkdir d 777; chown d 0 2000; chmod d 2777; u> file f 644;"
                                "u> rename f d/f; gid d/f = 1001" },
    { "keeps-attributes",
      "file f 4711; chown f 5 6; chmod f 4711; setx f user.a b; utimens f 3 4;"
      "rename f g; mode g = 4711; uid g = 5; getx g user.a = b; mtime g = 4.000000000" },
    { "name-back-and-forth", "file f 644 abc; rename f g; rename g f; rename f g; data g 0 9 = abc;"
                             "ls . = g" },
    { "case-differs", "file f 644; file F 644; rename f F; ls . = F" },
    { "long-to-short", "file @255 644; rename @255 f; ls . = f; rename f @254; size @254 = 0" },

    { "noreplace-new",
      "file f 644 abc; rename2 f g noreplace; data g 0 9 = abc; lstat f = ENOENT" },
    { "noreplace-file",
      "file f 644 abc; file g 644 x; rename2 f g noreplace = EEXIST; data g 0 9 = x" },
    { "noreplace-dir", "mkdir d 755; mkdir e 755; rename2 d e noreplace = EEXIST; type d = dir" },
    { "noreplace-dangling", "file f 644; symlink x l; rename2 f l noreplace = EEXIST" },
    { "noreplace-self", "file f 644; rename2 f f noreplace = EEXIST" },
    { "noreplace-hard-link", "file f 644; link f g; rename2 f g noreplace = EEXIST; nlink f = 2" },
    { "noreplace-missing", "rename2 f g noreplace = ENOENT" },
    { "noreplace-dir-new", "mkdir d 755; mkdir e 755; rename2 d e/d noreplace; nlink e = 3" },
    { "exchange-files", "file f 644 abc; file g 600 xyz; rename2 f g exchange; data f 0 9 = xyz;"
                        "data g 0 9 = abc; mode f = 0600; mode g = 0644" },
    { "exchange-keeps-inodes", "file f 644; file g 644; open a f rd; open b g rd;"
                               "rename2 f g exchange; same $a g = 1; same $b f = 1; nlink f = 1" },
    { "exchange-file-dir", "file f 644 abc; mkdir d 755; file d/x 644; rename2 f d exchange;"
                           "type f = dir; ls f = x; data d 0 9 = abc" },
    { "exchange-dirs-across",
      "mkdir p 755; mkdir q 755; mkdir p/d 755; mkdir q/e 755;"
      "file p/d/1 644; file q/e/2 644; rename2 p/d q/e exchange; ls p/d = 2; ls q/e = 1;"
      "same p/d/.. p = 1; same q/e/.. q = 1" },
    { "exchange-nlink-across",
      "mkdir p 755; mkdir q 755; mkdir p/d 755; file q/f 644;"
      "rename2 p/d q/f exchange; nlink p = 2; nlink q = 3; same q/f/.. q = 1" },
    { "exchange-full-dirs", "mkdir d 755; mkdir e 755; file d/1 644; file e/2 644;"
                            "rename2 d e exchange; ls d = 2; ls e = 1" },
    { "exchange-symlink", "symlink t l; file f 644 abc; rename2 l f exchange; readlink f = t;"
                          "data l 0 9 = abc" },
    { "exchange-missing", "file f 644; rename2 f g exchange = ENOENT; type f = reg" },
    { "exchange-missing-source", "file g 644; rename2 f g exchange = ENOENT" },
    { "exchange-self", "file f 644 abc; rename2 f f exchange; data f 0 9 = abc" },
    { "exchange-parent-child", "mkdir d 755; mkdir d/e 755; rename2 d d/e exchange = EINVAL" },
    { "exchange-child-parent", "mkdir d 755; mkdir d/e 755; rename2 d/e d exchange = EINVAL" },
    { "exchange-no-permission", "mkdir d 755; file d/f 666; file g 666; u> rename2 d/f g exchange"
                                " = EACCES" },
    { "exchange-noreplace", "file f 644; file g 644; rename2 f g exchange|noreplace = EINVAL" },
    { "whiteout-new", "file f 644 abc; rename2 f g whiteout; data g 0 9 = abc; type f = chr;"
                      "rdev f = 0:0; mode f = 0000" },
    { "whiteout-replace", "file f 644 abc; file g 644 x; rename2 f g whiteout; data g 0 9 = abc;"
                          "type f = chr; rdev f = 0:0" },
    { "whiteout-dir", "mkdir d 755; file d/x 644; rename2 d e whiteout; ls e = x; type d = chr" },
    { "whiteout-dir-across", "mkdir p 755; mkdir q 755; mkdir p/d 755; rename2 p/d q/d whiteout;"
                             "nlink p = 2; nlink q = 3; type p/d = chr; same q/d/.. q = 1" },
    { "whiteout-noreplace", "file f 644; file g 644; rename2 f g whiteout|noreplace = EEXIST;"
                            "type f = reg" },
    { "whiteout-noreplace-new", "file f 644; rename2 f g whiteout|noreplace; type f = chr" },
    { "whiteout-removable", "file f 644; rename2 f g whiteout; unlink f; ls . = g" },
    { "whiteout-exchange", "file f 644; file g 644; rename2 f g whiteout|exchange = EINVAL" },
    { "flags-unknown", "file f 644; rename2 f g 0x100 = EINVAL; type f = reg" },

    { "source-dir-unwritable", "mkdir d 755; file d/f 666; chown d/f 1001 1001;"
                               "u> rename d/f f = EACCES; type d/f = reg" },
    { "target-dir-unwritable", "mkdir d 755; u> file f 666; u> rename f d/f = EACCES" },
    { "both-writable-others-file", "mkdir d 777; file d/f 600; u> rename d/f f; ls d = -" },
    { "source-no-search", "mkdir d 766; file d/f 666; u> rename d/f f = EACCES" },
    { "target-no-search", "mkdir d 766; u> file f 666; u> rename f d/f = EACCES" },
    { "dir-unwritable-same-parent", "mkdir d 555; chown d 1001 1001; u> rename d e; type e = dir" },
    { "dir-unwritable-other-parent", "mkdir p 777; mkdir d 555; chown d 1001 1001;"
                                     "u> rename d p/d = EACCES; type d = dir" },
    { "dir-writable-other-parent", "mkdir p 777; u> mkdir d 755; u> rename d p/d; type p/d = dir" },
    { "replace-unwritable-file", "mkdir d 777; file d/f 600 old; u> file d/g 644 new;"
                                 "u> rename d/g d/f; data d/f 0 9 = new" },
};

/* What a file of each type meets in the place of each other type. */
static const struct {
    const char *name;
    const char *make; /* with the name to be filled in */
    bool directory;
} kinds[] = {
    { "reg", "file %s 644", false },          { "dir", "mkdir %s 755", true },
    { "lnk", "symlink nowhere %s", false },   { "fifo", "mknod %s fifo 644", false },
    { "sock", "mknod %s sock 644", false },   { "chr", "mknod %s chr 644 1 3", false },
    { "blk", "mknod %s blk 644 7 0", false },
};

static const char *make(size_t kind, const char *name)
{
    return text_fill(kinds[kind].make, name);
}

static void matrix_types(void)
{
    for (size_t from = 0; from < ARRAY_COUNT(kinds); from++) {
        for (size_t to = 0; to < ARRAY_COUNT(kinds); to++) {
            bool allowed = kinds[from].directory == kinds[to].directory;
            const char *error = kinds[from].directory ? "ENOTDIR" : "EISDIR";
            suite_script_format(
                text("rename/%s-onto-%s", kinds[from].name, kinds[to].name),
                allowed ? "%s; %s; rename f g = %s; lstat f = ENOENT; type g = %s; ls . = g"
                        : "%s; %s; rename f g = %s; type f = %s; ls . = f,g",
                make(from, "f"), make(to, "g"), allowed ? "ok" : error, kinds[from].name);
            if (from >= to)
                continue;
            suite_script_format(
                text("rename/exchange-%s-%s", kinds[from].name, kinds[to].name),
                "mkdir p 755; mkdir q 755; %s; %s; rename2 p/f q/g exchange; type p/f = %s;"
                "type q/g = %s; types p = f:%s; types q = g:%s",
                make(from, "p/f"), make(to, "q/g"), kinds[to].name, kinds[from].name,
                kinds[to].name, kinds[from].name);
        }
    }
}

void area_rename(void)
{
    SUITE_TABLE("rename", cases);
    matrix_types();
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        suite_script_format(text("rename/%s-across", kinds[i].name),
                            "mkdir d 755; %s; rename f d/g; type d/g = %s; ls . = d; ls d = g",
                            make(i, "f"), kinds[i].name);
        suite_script_format(text("rename/%s-noreplace", kinds[i].name),
                            "%s; %s; rename2 f g noreplace = EEXIST; type f = reg; type g = %s",
                            "file f 644", make(i, "g"), kinds[i].name);
        suite_script_format(text("rename/%s-whiteout", kinds[i].name),
                            "%s; rename2 f g whiteout; type g = %s; types . = f:chr,g:%s",
                            make(i, "f"), kinds[i].name, kinds[i].name);
    }
}
