/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport/mountinfo: whose pages wait for nobody's server. */
#include "suite.h"
#include "transport/mountinfo.h"

#include <check.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#define XFS_MAGIC 0x58465342

static bool is_local(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    bool local = mountinfo_is_local(fd);
    close(fd);
    return local;
}

START_TEST(memory_is_local)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);

    ck_assert(mountinfo_is_local(fd));
    close(fd);
    ck_assert(is_local("/dev/shm", O_RDWR | O_TMPFILE));
}
END_TEST

START_TEST(what_is_not_known_is_not)
{
    ck_assert(!is_local("/proc/self/status", O_RDONLY));
    ck_assert(!is_local("/dev/null", O_RDWR));
    ck_assert(!mountinfo_is_local(-1));
}
END_TEST

/* Wherever the tests are built. */
START_TEST(a_disk_is_local)
{
    struct statfs stat;

    ck_assert_int_eq(statfs(".", &stat), 0);
    ck_assert_int_eq(is_local("test_mountinfo.file", O_RDWR | O_CREAT),
                     stat.f_type == EXT4_SUPER_MAGIC || stat.f_type == XFS_MAGIC ||
                         stat.f_type == BTRFS_SUPER_MAGIC || stat.f_type == TMPFS_MAGIC);
    unlink("test_mountinfo.file");
}
END_TEST

/* A filesystem that only somebody else sees may be of any kind. */
START_TEST(a_mount_of_another_namespace)
{
    char folder[] = "/tmp/daxfuse-mountinfo-XXXXXX", path[64];

    ck_assert_int_eq(mountinfo_keep(), 0);
    if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return; /* nobody may here */
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    if (mount("none", folder, "ramfs", 0, NULL) == 0) {
        snprintf(path, sizeof(path), "%s/file", folder);
        ck_assert(!is_local(path, O_RDWR | O_CREAT));
        ck_assert_int_eq(mountinfo_keep(), 0); /* of this one */
        ck_assert(is_local(path, O_RDWR));
        umount2(folder, MNT_DETACH);
    }
    rmdir(folder);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, memory_is_local);
    tcase_add_test(tcase, what_is_not_known_is_not);
    tcase_add_test(tcase, a_disk_is_local);
    tcase_add_test(tcase, a_mount_of_another_namespace);
}

int main(void)
{
    return suite_run("mountinfo", 30, NULL, NULL, add);
}
