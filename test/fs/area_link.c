/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * link(2) and unlink(2). Where another user links, it is the file's owner: fs.protected_hardlinks
 * forbids the rest in the VFS, or not, by a setting that is not the filesystem's.
 */
#include "harness.h"

#include <stdio.h>

static const struct fs_case link_cases[] = {
    { "plain",
      "file f 640 abc; link f g; same f g = 1; nlink f = 2; nlink g = 2; data g 0 9 = abc" },
    { "three", "file f 644; link f g; link g h; nlink f = 3; unlink f; nlink h = 2; same g h = 1" },
    { "shares-mode", "file f 644; link f g; chmod g 600; mode f = 0600; chown g 5 6; uid f = 5" },
    { "shares-data",
      "file f 644; link f g; put g hello; data f 0 9 = hello; truncate f 2; size g = 2" },
    { "shares-xattr", "file f 644; link f g; setx f user.a b; getx g user.a = b" },
    { "shares-times", "file f 644; link f g; utimens f 11 12; mtime g = 12.000000000" },
    { "unlink-first", "file f 644 abc; link f g; unlink f; nlink g = 1; data g 0 9 = abc" },
    { "other-dir", "mkdir d 755; file f 644; link f d/g; same f d/g = 1; ls d = g" },
    { "existing", "file f 644; file g 644; link f g = EEXIST; nlink f = 1" },
    { "existing-self", "file f 644; link f f = EEXIST; nlink f = 1" },
    { "existing-dir", "file f 644; mkdir d 755; link f d = EEXIST" },
    { "existing-symlink", "file f 644; symlink x l; link f l = EEXIST" },
    { "dir", "mkdir d 755; link d e = EPERM; lstat e = ENOENT" },
    { "dir-user", "u> mkdir d 755; u> link d e = EPERM" },
    { "missing", "link f g = ENOENT" },
    { "no-parent", "file f 644; link f d/g = ENOENT; nlink f = 1" },
    { "parent-file", "file f 644; file d 644; link f d/g = ENOTDIR" },
    { "source-parent-file", "file d 644; link d/f g = ENOTDIR" },
    { "source-trailing-slash", "file f 644; link f/ g = ENOTDIR" },
    { "target-trailing-slash", "file f 644; link f g/ = ENOENT" },
    { "symlink-itself",
      "file f 644; symlink f l; link l m; type m = lnk; same l m = 1; nlink f = 1" },
    { "symlink-follow", "file f 644; symlink f l; linkfollow l m; type m = reg; same f m = 1" },
    { "symlink-follow-dangling", "symlink f l; linkfollow l m = ENOENT" },
    { "symlink-follow-dir", "mkdir d 755; symlink d l; linkfollow l m = EPERM" },
    { "fifo", "mknod p fifo 644; link p q; nlink q = 2; type q = fifo" },
    { "sock", "mknod p sock 644; link p q; nlink q = 2" },
    { "target-no-permission", "u> file f 644; mkdir d 755; u> link f d/g = EACCES; nlink f = 1" },
    { "target-no-search", "u> file f 644; mkdir d 766; u> link f d/g = EACCES" },
    { "source-no-search", "mkdir d 700; file d/f 666; u> link d/f g = EACCES" },
    { "source-dir-unwritable", "mkdir d 755; file d/f 644; chown d/f 1001 1001; u> link d/f g;"
                               "nlink g = 2" },
    { "owner-no-mode", "u> file f 0; u> link f g; nlink g = 2" },
    { "setgid-dir-keeps-group", "mkdir d 777; chown d 0 2000; chmod d 2777; u> file f 644;"
                                "u> link f d/g; gid d/g = 1001" },
    { "open-file", "file f 644 abc; open a f rw; link f g; nlink $a = 2; unlink f; nlink $a = 1" },
    { "fd", "file f 644; open a f rd; linkfd a g; same f g = 1; nlink f = 2" },
    { "same-name-other-dir", "mkdir d 755; mkdir e 755; file d/f 644; link d/f e/f;"
                             "unlink d/f; nlink e/f = 1" },
    { "link-unlink-link",
      "file f 644 abc; link f g; unlink f; link g f; unlink g; data f 0 9 = abc;"
      "nlink f = 1" },
};

static const struct fs_case unlink_cases[] = {
    { "plain", "file f 644; unlink f; lstat f = ENOENT; ls . = -" },
    { "symlink", "file f 644; symlink f l; unlink l; lstat l = ENOENT; type f = reg" },
    { "dangling-symlink", "symlink x l; unlink l; lstat l = ENOENT" },
    { "fifo", "mknod p fifo 644; unlink p; lstat p = ENOENT" },
    { "sock", "mknod p sock 644; unlink p; lstat p = ENOENT" },
    { "chr", "mknod p chr 644 1 3; unlink p; lstat p = ENOENT" },
    { "blk", "mknod p blk 644 7 0; unlink p; lstat p = ENOENT" },
    { "missing", "unlink f = ENOENT" },
    { "twice", "file f 644; unlink f; unlink f = ENOENT" },
    { "trailing-slash", "file f 644; unlink f/ = ENOTDIR; type f = reg" },
    { "dot", "unlink . = EISDIR|EINVAL" },
    { "symlink-to-dir", "mkdir d 755; symlink d l; unlink l; type d = dir" },
    { "symlink-to-dir-slash",
      "mkdir d 755; symlink d l; unlink l/ = ENOTDIR|EISDIR; type l = lnk" },
    { "no-permission", "mkdir d 755; file d/f 666; u> unlink d/f = EACCES; type d/f = reg" },
    { "no-search", "mkdir d 766; file d/f 666; u> unlink d/f = EACCES" },
    { "others-file", "mkdir d 777; file d/f 600; u> unlink d/f; ls d = -" },
    { "mode-000", "file f 0; u> unlink f" },
    { "prefix-file", "file d 644; unlink d/f = ENOTDIR" },
    { "parent-size-again", "mkdir d 755; file d/f 644; unlink d/f; file d/f 600; mode d/f = 0600" },
    { "data-gone",
      "file f 644 secret; unlink f; file f 644; truncate f 100; data f 0 100 = 0*100" },
    { "suid-link-count", "file f 6755; link f g; unlink f; mode g = 6755" },
    { "open-others", "u> file f 600 abc; open a f rd; u> unlink f; read a 9 = abc" },
};

void area_link(void)
{
    SUITE_TABLE("link", link_cases);
    SUITE_TABLE("unlink", unlink_cases);
    /* Many links, through the sizes where a count might be stored too small. */
    static const int counts[] = { 2, 10, 127, 128, 255, 256, 300 };
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        char script[8192] = "file f 644";
        size_t used = 10;

        for (int j = 1; j < counts[i]; j++)
            used += (size_t)snprintf(script + used, sizeof(script) - used, ";link f %d", j);
        suite_script_format(text("link/count-%d", counts[i]),
                            "%s;nlink f = %d;unlink f;nlink 1 = %d", script, counts[i],
                            counts[i] - 1);
    }
}
