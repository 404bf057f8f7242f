/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chmod(2) and chown(2): who may, what becomes of setuid, setgid and sticky, and the clearing of
 * setuid and setgid by whoever changes a file's owner or its bytes.
 */
#include "harness.h"

static const struct fs_case chmod_cases[] = {
    { "owner", "u> file f 644; u> chmod f 600; mode f = 0600" },
    { "root", "u> file f 644; chmod f 444; mode f = 0444; uid f = 1001" },
    { "other", "u> file f 644; v> chmod f 666 = EPERM; mode f = 0644" },
    { "group-member", "u> file f 664; g> chmod f 666 = EPERM" },
    { "fd", "file f 644; open a f rd; chmod $a 600; mode f = 0600" },
    { "fd-other", "u> file f 644; v> open a f rd; v> chmod $a 600 = EPERM" },
    { "follows-symlink", "file f 644; symlink f l; chmod l 600; mode f = 0600; mode l = 0777" },
    { "dangling", "symlink f l; chmod l 600 = ENOENT" },
    { "missing", "chmod f 600 = ENOENT" },
    { "no-search", "mkdir d 700; file d/f 644; chown d/f 1001 1001; u> chmod d/f 600 = EACCES" },
    { "under-file", "file d 644; chmod d/f 600 = ENOTDIR" },
    { "type-bits-ignored", "file f 644; chmod f 040600; type f = reg; mode f = 0600" },
    { "suid-owner", "u> file f 755; u> chmod f 4755; mode f = 4755" },
    { "sgid-owner-own-group", "u> file f 755; u> chmod f 2755; mode f = 2755" },
    { "sgid-supplementary", "file f 755; chown f 1001 2000; 1001:1001:2000> chmod f 2755;"
                            "mode f = 2755" },
    { "sgid-not-member", "file f 755; chown f 1001 2000; u> chmod f 2755; mode f = 0755" },
    { "sgid-not-member-no-exec", "file f 644; chown f 1001 2000; u> chmod f 2644; mode f = 0644" },
    { "sgid-not-member-suid-stays",
      "file f 755; chown f 1001 2000; u> chmod f 6755; mode f = 4755" },
    { "sgid-not-member-clears-old", "file f 755; chown f 1001 2000; chmod f 2755; u> chmod f 2755;"
                                    "mode f = 0755" },
    { "sgid-root-any-group", "file f 755; chown f 1001 2000; chmod f 2755; mode f = 2755" },
    { "sgid-dir-not-member", "mkdir d 755; chown d 1001 2000; u> chmod d 2755; mode d = 0755" },
    { "sgid-dir-member", "u> mkdir d 755; u> chmod d 2755; mode d = 2755" },
    { "sgid-dir-off", "mkdir d 2755; chmod d 2755; chmod d 755; mode d = 0755" },
    { "sticky-file-user", "u> file f 644; u> chmod f 1644; mode f = 1644" },
    { "sticky-file-root", "file f 644; chmod f 1644; mode f = 1644" },
    { "sticky-dir-user", "u> mkdir d 755; u> chmod d 1777; mode d = 1777" },
    { "not-clearing-data", "file f 644 abc; chmod f 0; size f = 3; chmod f 644; data f 0 9 = abc" },
    { "open-after", "u> file f 0; u> try f rd = EACCES; u> chmod f 400; u> try f rd;"
                    "u> try f wr = EACCES" },
    { "fifo", "u> mknod p fifo 644; u> chmod p 600; mode p = 0600" },
};

static const struct fs_case chown_cases[] = {
    { "root", "file f 644; chown f 5 6; uid f = 5; gid f = 6" },
    { "uid-only", "file f 644; chown f 5 -; uid f = 5; gid f = 0" },
    { "gid-only", "file f 644; chown f - 6; uid f = 0; gid f = 6" },
    { "neither", "file f 644; chown f 5 6; chown f - -; uid f = 5; gid f = 6" },
    { "large-ids", "file f 644; chown f 4000000000 4000000001; uid f = 4000000000;"
                   "gid f = 4000000001" },
    { "ids-65534-and-up", "file f 644; chown f 65535 65536; uid f = 65535; gid f = 65536" },
    { "owner-gives-away", "u> file f 644; u> chown f 1002 - = EPERM; uid f = 1001" },
    { "owner-to-self", "u> file f 644; u> chown f 1001 1001" },
    { "owner-own-group", "u> file f 644; 1001:1001:2000> chown f - 2000; gid f = 2000" },
    { "owner-effective-group", "u> file f 644; 1001:3000> chown f - 3000; gid f = 3000" },
    { "owner-foreign-group", "u> file f 644; u> chown f - 2000 = EPERM; gid f = 1001" },
    { "owner-uid-and-group", "u> file f 644; 1001:1001:2000> chown f 1001 2000; gid f = 2000" },
    { "other", "u> file f 666; v> chown f 1002 - = EPERM" },
    { "other-group", "u> file f 666; v> chown f - 1002 = EPERM" },
    { "other-neither", "u> file f 666; v> chown f - -" },
    { "group-member", "u> file f 666; g> chown f - 1001 = EPERM" },
    { "fd", "file f 644; open a f rd; chown $a 5 6; uid f = 5; gid f = 6" },
    { "follows-symlink", "file f 644; symlink f l; chown l 5 6; uid f = 5; uid l = 0" },
    { "lchown-symlink", "file f 644; symlink f l; lchown l 5 6; uid f = 0; uid l = 5; gid l = 6" },
    { "lchown-symlink-other", "symlink f l; u> lchown l 1001 - = EPERM" },
    { "lchown-file", "file f 644; lchown f 5 6; uid f = 5" },
    { "dangling", "symlink f l; chown l 5 6 = ENOENT; lchown l 5 6" },
    { "missing", "chown f 5 6 = ENOENT" },
    { "under-file", "file d 644; chown d/f 5 6 = ENOTDIR" },
    { "no-search", "mkdir d 700; file d/f 644; chown d/f 1001 1001; u> chown d/f - 1001 = EACCES" },
    { "dir", "mkdir d 755; chown d 5 6; uid d = 5; gid d = 6; nlink d = 2" },
    { "fifo", "mknod p fifo 644; chown p 5 6; uid p = 5" },
    { "hard-link", "file f 644; link f g; chown g 5 6; uid f = 5" },
    { "clears-suid-owner", "u> file f 755; chmod f 6755; 1001:1001:2000> chown f - 2000;"
                           "mode f = 0755" },
    { "clears-suid-root", "file f 755; chmod f 6755; chown f 5 6; mode f = 0755" },
    { "sgid-without-exec-root", "file f 644; chmod f 2644; chown f 5 6; mode f = 2644" },
    { "clears-suid-without-exec", "file f 644; chmod f 4644; chown f 5 6; mode f = 0644" },
    { "clears-suid-same-owner",
      "u> file f 755; chmod f 6755; u> chown f 1001 1001; mode f = 0755" },
    { "dir-keeps-sgid", "mkdir d 755; chmod d 2755; chown d 5 6; mode d = 2755" },
    { "dir-keeps-sticky", "mkdir d 755; chmod d 1777; chown d 5 6; mode d = 1777" },
    { "file-keeps-rest", "file f 755; chmod f 7751; chown f 5 6; mode f = 1751" },
    { "failed-keeps-suid",
      "u> file f 755; chmod f 6755; v> chown f 1002 - = EPERM; mode f = 6755" },
    { "then-owner-rules", "file f 600 abc; chown f 1001 1001; u> data f 0 9 = abc;"
                          "v> data f 0 9 = EACCES" },
    { "removes-capability", "file f 755; setx f security.capability 0*3+\x02+0*16; chown f 5 6"
                            "; getx f security.capability = ENODATA" },
};

/*
 * What each way of changing a file's bytes leaves of its mode bits. A writer without CAP_FSETID
 * loses setuid, and setgid where the group may execute; without group execute setgid stays for a
 * member of the file's group. For others Linux takes it away since 6.1, but a FUSE server is told
 * to clear it only where the group may execute (FUSE_HANDLE_KILLPRIV_V2), and knows no
 * supplementary groups. Root keeps all.
 */
static const struct {
    const char *name;
    const char *step; /* descriptor a is open for reading and writing, of a file with 4096 bytes */
} changes[] = {
    { "write", "write a hello = 5" },
    { "pwrite", "pwrite a 100 hello = 5" },
    { "pwrite-past-eof", "pwrite a 8192 hello = 5" },
    { "writev", "writev a he llo = 5" },
    { "append", "append f hello = 5" },
    { "ftruncate-down", "truncate $a 10" },
    { "ftruncate-up", "truncate $a 9999" },
    { "truncate", "truncate f 10" },
    { "open-trunc", "try f wr|trunc" },
    { "fallocate", "fallocate a 0 0 16384" },
    { "punch", "fallocate a keep|punch 0 4096" },
    { "zero-range", "fallocate a zero 0 4096" },
    { "copy", "copy b 0 a 0 3 = 3" },
};

static const struct {
    const char *who;
    const char *before;
    const char *after;
} modes[] = {
    { "u", "6777", "0777" }, /* the owner is no exception */
    { "v", "6777", "0777" }, { "v", "4777", "0777" },      { "v", "2777", "0777" },
    { "v", "4666", "0666" }, { "v", "2766", "0766|2766" }, /* not in the file's group: see above */
    { "g", "2766", "2766" }, { "r", "6777", "6777" },
};

static void matrix_clearing(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        for (size_t j = 0; j < ARRAY_COUNT(modes); j++) {
            suite_script_format(
                text("clear/%s-by-%s-%s", changes[i].name, modes[j].who, modes[j].before),
                "file f 666 A*4096; file s 666 xyz; chown f 1001 1001;"
                "chmod f %s; %s> open a f rw; %s> open b s rd; mode f = %s;"
                "%s> %s; mode f = %s; mode $a = %s",
                modes[j].before, modes[j].who, modes[j].who, modes[j].before, modes[j].who,
                changes[i].step, modes[j].after, modes[j].after);
        }
    }
}

/* Reading and changing attributes leaves the bits alone. */
static const char *const harmless[] = { "data f 0 10 = A*10",     "utimens f now now", "link f g",
                                        "rename f g; rename g f", "setx f user.a b",   "stat f",
                                        "open a f rw; fsync a" };

void area_mode(void)
{
    SUITE_TABLE("chmod", chmod_cases);
    SUITE_TABLE("chown", chown_cases);
    matrix_clearing();
    for (size_t i = 0; i < ARRAY_COUNT(harmless); i++)
        suite_script_format(text("clear/not-by-%zu", i + 1),
                            "file f 777 A*10; chmod f 6777; %s; mode f = 6777", harmless[i]);
    /* Every mode is stored as it was given, on files and directories, by chmod and by fchmod. */
    for (unsigned int bit = 0; bit < 12; bit++) {
        unsigned int mode = 1U << bit;
        suite_script_format(text("chmod/file-bit-%04o", mode),
                            "file f 777; chmod f %04o; mode f = %04o; chmod f %04o; mode f = %04o",
                            mode, mode, 07777 & ~mode, 07777 & ~mode);
        suite_script_format(text("chmod/dir-bit-%04o", mode),
                            "mkdir d 777; open a d rd; chmod $a %04o; mode d = %04o;"
                            "chmod $a %04o; mode d = %04o",
                            mode, mode, 07777 & ~mode, 07777 & ~mode);
    }
}
