/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX ACLs, through their xattrs in binary form: what they do to the mode and the mode to them,
 * inheritance from a directory's default ACL, who may set them, and who gets in.
 */
#include "harness.h"

static const struct fs_case cases[] = {
    { "set-get", "file f 644; setacl f access u::rw,u:1001:r,g::r,m::rw,o::r;"
                 "getacl f access = u::rw-,u:1001:r--,g::r--,m::rw-,o::r--" },
    { "none", "file f 644; getacl f access = ENODATA; getacl f default = ENODATA" },
    { "minimal-is-mode", "file f 644; setacl f access u::rwx,g::rx,o::x; mode f = 0751;"
                         "getacl f access = ENODATA" },
    { "mask-is-group-bits", "file f 600; setacl f access u::rw,u:1001:rwx,g::r,m::rwx,o::r;"
                            "mode f = 0674" },
    { "keeps-special-bits", "file f 4755; chmod f 7755; setacl f access u::rw,u:5:r,g::r,m::r,o::r;"
                            "mode f = 7644" },
    { "chmod-sets-mask",
      "file f 644; setacl f access u::rw,u:1001:rwx,g::rwx,m::rwx,o::r;"
      "chmod f 640; mode f = 0640; getacl f access = u::rw-,u:1001:rwx,g::rwx,m::r--,o::---" },
    { "chmod-back", "file f 644; setacl f access u::rw,u:1001:rwx,g::rwx,m::rwx,o::r; chmod f 600;"
                    "u> access f r = EACCES; chmod f 660; u> access f rw" },
    { "chmod-fd", "file f 644; open a f rd; setacl f access u::rw,u:1001:rwx,g::r,m::rwx,o::r;"
                  "chmod $a 444; getacl f access = u::r--,u:1001:rwx,g::r--,m::r--,o::r--" },
    { "remove", "file f 644; setacl f access u::rw,u:1001:rwx,g::r,m::rwx,o::r; removeacl f access;"
                "getacl f access = ENODATA; u> access f w = EACCES" },
    { "replace", "file f 644; setacl f access u::rw,u:1001:r,g::r,m::r,o::;"
                 "setacl f access u::rw,u:1002:w,g::,m::w,o::;"
                 "getacl f access = u::rw-,u:1002:-w-,g::---,m::-w-,o::---" },
    { "listed", "file f 644; setacl f access u::rw,u:5:r,g::r,m::r,o::r;"
                "listx f = system.posix_acl_access" },
    { "default-listed", "mkdir d 755; setacl d default u::rwx,g::rx,o::rx;"
                        "listx d = system.posix_acl_default" },
    { "fd", "file f 644; open a f rd; setacl $a access u::rw,u:5:r,g::r,m::r,o::r;"
            "getacl f access = u::rw-,u:5:r--,g::r--,m::r--,o::r--" },
    { "by-owner", "u> file f 644; u> setacl f access u::rw,u:5:r,g::r,m::r,o::r" },
    { "by-other", "u> file f 666; v> setacl f access u::rw,u:5:r,g::r,m::r,o::r = EPERM;"
                  "getacl f access = ENODATA" },
    { "remove-by-other", "u> file f 666; setacl f access u::rw,u:5:r,g::r,m::r,o::r;"
                         "v> removeacl f access = EPERM" },
    { "get-by-other", "file f 600; setacl f access u::rw,u:5:r,g::,m::r,o::;"
                      "u> getacl f access = u::rw-,u:5:r--,g::---,m::r--,o::---" },
    { "sgid-cleared-for-foreign",
      "file f 755; chown f 1001 2000; chmod f 2755;"
      "u> setacl f access u::rwx,u:5:rx,g::rx,m::rx,o::rx; mode f = 0755" },
    { "sgid-kept-for-member", "u> file f 755; u> chmod f 2755;"
                              "u> setacl f access u::rwx,u:5:rx,g::rx,m::rx,o::rx; mode f = 2755" },
    { "sgid-kept-for-root", "file f 755; chown f 1001 2000; chmod f 2755;"
                            "setacl f access u::rwx,u:5:rx,g::rx,m::rx,o::rx; mode f = 2755" },
    { "symlink", "file f 644; symlink f l; setacl l access u::rw,u:5:r,g::r,m::r,o::r;"
                 "getacl f access = u::rw-,u:5:r--,g::r--,m::r--,o::r--" },
    { "fifo", "mknod p fifo 600; setacl p access u::rw,u:1001:r,g::,m::r,o::; u> try p rd|nonblock;"
              "v> try p rd|nonblock = EACCES" },
    { "default-on-file", "file f 644; setacl f default u::rw,g::r,o::r = EACCES" },
    { "no-mask", "file f 644; setacl f access u::rw,u:5:r,g::r,o::r = EINVAL" },
    { "no-owner", "file f 644; setacl f access g::r,o::r = EINVAL" },
    { "no-group", "file f 644; setacl f access u::r,o::r = EINVAL" },
    { "no-other", "file f 644; setacl f access u::r,g::r = EINVAL" },
    { "two-owners", "file f 644; setacl f access u::r,u::w,g::r,o::r = EINVAL" },
    { "bad-version", "file f 644; setx f system.posix_acl_access AAAA = EOPNOTSUPP" },
    { "bad-size", "file f 644; setx f system.posix_acl_access AAAAAA = EINVAL|EOPNOTSUPP" },
    { "many-entries",
      "file f 640; setacl f access u::rw,u:1:r,u:2:r,u:3:r,u:4:r,u:5:r,u:6:r,u:7:r,"
      "u:8:r,u:9:r,u:10:r,u:11:r,u:12:r,u:13:r,u:14:r,u:15:r,u:1001:rw,g::r,g:1:r,g:2:r,m::rw,o::;"
      "u> access f rw; 15:15> access f r; 16:16> access f r = EACCES" },
    { "ids-large", "file f 600; setacl f access u::rw,u:4000000000:r,g::,m::r,o::;"
                   "4000000000:7> access f r" },
    { "survives-rename",
      "file f 600; setacl f access u::rw,u:1001:r,g::,m::r,o::; rename f g;"
      "u> access g r; getacl g access = u::rw-,u:1001:r--,g::---,m::r--,o::---" },
    { "survives-link",
      "file f 600; setacl f access u::rw,u:1001:r,g::,m::r,o::; link f g; unlink f;"
      "u> access g r" },
    { "chown-owner-entry",
      "file f 600; setacl f access u::rw,u:1002:r,g::,m::r,o::; chown f 1001 0;"
      "u> access f rw; v> access f r" },

    { "inherit-file",
      "mkdir d 755; setacl d default u::rwx,u:1001:rwx,g::rx,m::rwx,o::rx;"
      "file d/f 666; mode d/f = 0664; getacl d/f access = u::rw-,u:1001:rwx,g::r-x,m::rw-,o::r--" },
    { "inherit-dir",
      "mkdir d 755; setacl d default u::rwx,u:1001:rwx,g::rx,m::rwx,o::rx;"
      "mkdir d/e 777; mode d/e = 0775; getacl d/e access = u::rwx,u:1001:rwx,g::r-x,m::rwx,o::r-x;"
      "getacl d/e default = u::rwx,u:1001:rwx,g::r-x,m::rwx,o::r-x" },
    { "inherit-deep", "mkdir d 755; setacl d default u::rwx,u:1001:rwx,g::rx,m::rwx,o::;"
                      "mkdir d/e 777; mkdir d/e/f 777; file d/e/f/g 666; u> access d/e/f/g rw;"
                      "v> access d/e/f/g r = EACCES" },
    { "inherit-masks-by-mode",
      "mkdir d 755; setacl d default u::rwx,u:1001:rwx,g::rwx,m::rwx,o::rwx;"
      "file d/f 640; mode d/f = 0640; getacl d/f access = u::rw-,u:1001:rwx,g::rwx,m::r--,o::---" },
    { "inherit-ignores-umask", "mkdir d 755; setacl d default u::rwx,g::rwx,o::rwx; umask 077;"
                               "file d/f 666; mode d/f = 0666; mkdir d/e 777; mode d/e = 0777" },
    { "inherit-named-ignores-umask",
      "mkdir d 755; setacl d default u::rwx,u:5:rwx,g::rwx,m::rwx,o::rx;"
      "umask 077; file d/f 666; mode d/f = 0664" },
    { "umask-without-default",
      "mkdir d 755; setacl d access u::rwx,u:5:rwx,g::rx,m::rwx,o::rx;"
      "umask 077; file d/f 666; mode d/f = 0600; getacl d/f access = ENODATA" },
    { "inherit-minimal",
      "mkdir d 755; setacl d default u::rwx,g::r,o::; file d/f 666; mode d/f = 0640;"
      "getacl d/f access = ENODATA" },
    { "inherit-fifo", "mkdir d 755; setacl d default u::rwx,u:1001:rw,g::,m::rw,o::;"
                      "mknod d/p fifo 666; mode d/p = 0660; u> access d/p rw" },
    { "inherit-symlink-not", "mkdir d 755; setacl d default u::rwx,u:1001:rw,g::,m::rw,o::;"
                             "symlink x d/l; mode d/l = 0777; llistx d/l = -" },
    { "inherit-tmpfile", "mkdir d 755; setacl d default u::rwx,u:1001:rw,g::,m::rw,o::;"
                         "open a d rw|tmpfile 666; mode $a = 0660" },
    { "inherit-not-link",
      "mkdir d 755; setacl d default u::rwx,u:1001:rw,g::,m::rw,o::; file f 600;"
      "link f d/f; mode d/f = 0600; getacl d/f access = ENODATA" },
    { "inherit-not-rename",
      "mkdir d 755; setacl d default u::rwx,u:1001:rw,g::,m::rw,o::; file f 600;"
      "rename f d/f; mode d/f = 0600; getacl d/f access = ENODATA" },
    { "inherit-setgid",
      "mkdir d 777; chown d 0 2000; chmod d 2777;"
      "setacl d default u::rwx,u:1001:rwx,g::rx,m::rwx,o::; mkdir d/e 777; mode d/e = 2770;"
      "gid d/e = 2000" },
    { "default-gives-no-access", "mkdir d 700; setacl d default u::rwx,u:1001:rwx,g::,m::rwx,o::;"
                                 "u> access d r = EACCES" },
    { "default-remove", "mkdir d 755; setacl d default u::rwx,g::rwx,o::rwx; removeacl d default;"
                        "umask 027; file d/f 666; mode d/f = 0640" },
    { "default-remove-none", "mkdir d 755; removeacl d default = ok|ENODATA" },
    { "default-mode-stays", "mkdir d 751; setacl d default u::rwx,u:5:rwx,g::rwx,m::rwx,o::rwx;"
                            "mode d = 0751" },
    { "default-and-access",
      "mkdir d 755; setacl d access u::rwx,u:1001:rwx,g::,m::rwx,o::;"
      "setacl d default u::rwx,u:1002:rwx,g::,m::rwx,o::; u> file d/f 666; v> access d x = EACCES;"
      "getacl d/f access = u::rw-,u:1002:rwx,g::---,m::rw-,o::---" },
    { "default-by-other", "u> mkdir d 777; v> setacl d default u::rwx,g::rx,o::rx = EPERM" },

    { "dir-create",
      "mkdir d 700; setacl d access u::rwx,u:1001:rwx,g::,m::rwx,o::; u> file d/f 644;"
      "u> unlink d/f; v> file d/f 644 = EACCES" },
    { "dir-search-only", "mkdir d 700; file d/f 644; setacl d access u::rwx,u:1001:x,g::,m::x,o::;"
                         "u> stat d/f; u> ls d = EACCES; v> stat d/f = EACCES" },
    { "chmod-by-acl-writer", "file f 600; setacl f access u::rw,u:1001:rw,g::,m::rw,o::;"
                             "u> chmod f 666 = EPERM" },
    { "utimes-by-acl-writer", "file f 600; setacl f access u::rw,u:1001:rw,g::,m::rw,o::;"
                              "u> utimens f null; u> utimens f 1 2 = EPERM" },
    { "truncate-by-acl",
      "file f 600 abc; setacl f access u::rw,u:1001:w,g::,m::w,o::; u> truncate f 1;"
      "v> truncate f 0 = EACCES" },
};

/*
 * Who gets what: the first class that fits decides (owner, named user, any fitting group, other),
 * and the mask limits all but owner and other. The file is 1001:2000; users come as shown.
 */
static const struct {
    const char *name;
    const char *acl;
    const char *who;
    const char *granted;
} permissions[] = {
    { "owner", "u::rw,u:1002:r,g::rwx,m::rwx,o::rwx", "1001:2000", "rw" },
    { "owner-not-by-mask", "u::rwx,u:1002:r,g::r,m::,o::", "1001:1", "rwx" },
    { "owner-not-as-named", "u::r,u:1001:rwx,g::r,m::rwx,o::", "1001:1", "r" },
    { "named-user", "u::,u:1002:rx,g::,m::rwx,o::", "1002:1", "rx" },
    { "named-user-masked", "u::,u:1002:rwx,g::,m::r,o::rwx", "1002:1", "r" },
    { "named-user-empty", "u::rwx,u:1002:,g::rwx,m::rwx,o::rwx", "1002:2000", "" },
    { "named-user-before-group", "u::rwx,u:1002:r,g::rwx,m::rwx,o::rwx", "1002:2000", "r" },
    { "group", "u::,u:5:r,g::wx,m::rwx,o::r", "1003:2000", "wx" },
    { "group-masked", "u::,u:5:r,g::rwx,m::x,o::rwx", "1003:2000", "x" },
    { "group-supplementary", "u::,u:5:r,g::rw,m::rwx,o::", "1003:1:7,2000", "rw" },
    { "group-empty", "u::rwx,u:5:r,g::,m::rwx,o::rwx", "1003:2000", "" },
    { "named-group", "u::,g::,g:3000:rw,m::rwx,o::", "1003:3000", "rw" },
    { "named-group-supplementary", "u::,g::,g:3000:x,m::rwx,o::", "1003:1:3000", "x" },
    { "named-group-masked", "u::,g::,g:3000:rwx,m::w,o::rwx", "1003:3000", "w" },
    { "named-group-empty", "u::rwx,g::rwx,g:3000:,m::rwx,o::rwx", "1003:3000", "" },
    { "other", "u::,u:5:rwx,g::rwx,g:3000:rwx,m::,o::rx", "1003:1", "rx" },
    { "other-empty", "u::rwx,u:5:rwx,g::rwx,m::rwx,o::", "1003:1", "" },
    { "two-groups-either", "u::,g::r,g:3000:r,m::rwx,o::w", "1003:2000:3000", "r" },
};

/* Of two fitting groups one grants read and the other write: each is granted, both are not. */
static const struct fs_case group_cases[] = {
    { "two-groups-not-summed",
      "file f 0; chown f 1001 2000; setacl f access "
      "u::,g::r,g:3000:w,m::rwx,o::; 1003:2000:3000> access f r; 1003:2000:3000> access f w;"
      "1003:2000:3000> access f rw = EACCES" },
    { "root-reads-all", "file f 0 abc; setacl f access u::,u:5:,g::,m::,o::; data f 0 9 = abc;"
                        "put f xyz; need exec; exec f = EACCES" },
};

void area_acl(void)
{
    static const char letters[] = "rwx";

    SUITE_TABLE("acl", cases);
    SUITE_TABLE("acl", group_cases);
    for (size_t i = 0; i < ARRAY_COUNT(permissions); i++) {
        for (const char *letter = letters; *letter; letter++) {
            bool granted = false;
            for (const char *at = permissions[i].granted; *at; at++)
                granted = granted || *at == *letter;
            suite_script_format(text("acl/grants-%s-%c", permissions[i].name, *letter),
                                "file f 0; chown f 1001 2000; setacl f access %s;"
                                "%s> access f %c = %s",
                                permissions[i].acl, permissions[i].who, *letter,
                                granted ? "ok" : "EACCES");
        }
    }
}
