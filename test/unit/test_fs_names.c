/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test_fs.h"

START_TEST(test_make_and_look_up)
{
    struct fs_attr attr;
    uint64_t ino = fx_mknod(1, "file");

    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 1, fs_name("file"), &attr), 0);
    ck_assert_uint_eq(attr.ino, ino);
    ck_assert_uint_eq(attr.mode, S_IFREG | 0644);
    ck_assert_uint_eq(attr.links, 1);
    ck_assert_uint_ne(attr.generation, 0);
    ck_assert_int_eq(fs_mknod(fx.fs, &fx.rq, 1, fs_name("file"), S_IFREG, 0, 0, &attr), -EEXIST);
    ck_assert_int_eq(fx_lookup(1, "other"), -ENOENT);
    ck_assert_int_eq(fx_lookup(ino, "below"), -ENOTDIR);
}
END_TEST

START_TEST(test_name_limits)
{
    char name[257];
    struct fs_attr attr;

    memset(name, 'x', 256);
    name[256] = 0;
    ck_assert_int_eq(fx_lookup(1, name), -ENAMETOOLONG);
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, 1, fs_name(name), 0755, &attr), -ENAMETOOLONG);
    name[255] = 0;
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, 1, fs_name(name), 0755, &attr), 0);
    ck_assert_int_eq(fx_lookup(1, name), 0);
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, 1, fs_name("a/b"), 0755, &attr), -EINVAL);
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, 1, fs_name(""), 0755, &attr), -EINVAL);
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, 1, (struct fs_name){ "a\0b", 3 }, 0755, &attr),
                     -EINVAL);
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, 1, fs_name("."), 0755, &attr), -EEXIST);
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, 1, fs_name(".."), 0755, &attr), -EEXIST);
}
END_TEST

START_TEST(test_dots)
{
    uint64_t dir = fx_mkdir(1, "dir"), below = fx_mkdir(dir, "below");
    struct fs_attr attr;

    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, below, fs_name("."), &attr), 0);
    ck_assert_uint_eq(attr.ino, below);
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, below, fs_name(".."), &attr), 0);
    ck_assert_uint_eq(attr.ino, dir);
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 1, fs_name(".."), &attr), 0);
    ck_assert_uint_eq(attr.ino, 1);
    /* user-made numbers */
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 0, fs_name("."), &attr), -ESTALE);
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 2, fs_name("."), &attr), -ESTALE);
    ck_assert_int_eq(fs_lookup(fx.fs, &fx.rq, 1ull << 60, fs_name("."), &attr), -ESTALE);
}
END_TEST

START_TEST(test_links_and_removal)
{
    uint64_t dir = fx_mkdir(1, "dir"), ino = fx_mknod(dir, "a");
    struct fs_attr attr;

    ck_assert_int_eq(fs_link(fx.fs, &fx.rq, ino, 1, fs_name("b"), &attr), 0);
    ck_assert_uint_eq(attr.links, 2);
    ck_assert_int_eq(fs_link(fx.fs, &fx.rq, dir, 1, fs_name("c"), &attr), -EPERM);
    ck_assert_int_eq(fs_rmdir(fx.fs, &fx.rq, 1, fs_name("dir")), -ENOTEMPTY);
    ck_assert_int_eq(fs_rmdir(fx.fs, &fx.rq, 1, fs_name("b")), -ENOTDIR);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name("dir")), -EISDIR);
    ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, dir, fs_name("a")), 0);
    ck_assert_uint_eq(fx_attr(ino).links, 1);
    ck_assert_int_eq(fs_rmdir(fx.fs, &fx.rq, 1, fs_name("dir")), 0);
    ck_assert_uint_eq(fx_attr(1).links, 2);
    ck_assert_int_eq(fs_rmdir(fx.fs, &fx.rq, 1, fs_name(".")), -EINVAL);
    ck_assert_int_eq(fs_rmdir(fx.fs, &fx.rq, 1, fs_name("..")), -ENOTEMPTY);
}
END_TEST

/* A directory that was removed while somebody stands in it takes no new names. */
START_TEST(test_removed_directory)
{
    uint64_t dir = fx_mkdir(1, "dir");
    struct fs_attr attr;

    ck_assert_int_eq(fs_rmdir(fx.fs, &fx.rq, 1, fs_name("dir")), 0);
    ck_assert_int_eq(fs_mkdir(fx.fs, &fx.rq, dir, fs_name("x"), 0755, &attr), -ENOENT);
    ck_assert_int_eq(fs_mknod(fx.fs, &fx.rq, dir, fs_name("x"), S_IFREG, 0, 0, &attr), -ENOENT);
    ck_assert_uint_eq(fx_attr(dir).links, 0);
    fs_forget(fx.fs, dir, 1);
    ck_assert_int_eq(fs_getattr(fx.fs, &fx.rq, dir, &attr), -ESTALE);
}
END_TEST

START_TEST(test_symlinks)
{
    static const size_t lengths[] = { 1, 127, 128, 129, 4000, 4095 };
    char target[4097];
    struct fs_attr attr;

    for (unsigned i = 0; i < 6; i++) {
        char name[16], *read;

        memset(target, 'a' + (int)i, sizeof(target));
        snprintf(name, sizeof(name), "l%u", i);
        ck_assert_int_eq(fs_symlink(fx.fs, &fx.rq, 1, fs_name(name),
                                    (struct fs_name){ target, lengths[i] }, &attr),
                         0);
        ck_assert_uint_eq(attr.size, lengths[i]);
        ck_assert_int_eq(fs_readlink(fx.fs, &fx.rq, attr.ino, &read), 0);
        ck_assert_uint_eq(strlen(read), lengths[i]);
        ck_assert_int_eq(memcmp(read, target, lengths[i]), 0);
        free(read);
    }
    ck_assert_int_eq(
        fs_symlink(fx.fs, &fx.rq, 1, fs_name("x"), (struct fs_name){ target, 4096 }, &attr),
        -ENAMETOOLONG);
    ck_assert_int_eq(fs_symlink(fx.fs, &fx.rq, 1, fs_name("x"), fs_name(""), &attr), -ENOENT);
}
END_TEST

/* As on ext4: the flag that says how files are mapped goes on to files and directories, and no other
 * flag does. */
START_TEST(test_flags_from_the_directory)
{
    const uint32_t others = DXF_FLAG_NODUMP | DXF_FLAG_NOATIME;
    struct fs_handle *handle;
    struct fs_attr attr;
    uint64_t dir = fx_mkdir(1, "dir");

    ck_assert_uint_eq(fx_attr(fx_mknod(dir, "before")).flags, 0);
    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, dir, DXF_FLAG_DAX | others), 0);
    ck_assert_uint_eq(fx_attr(fx_mknod(dir, "file")).flags, DXF_FLAG_DAX);
    ck_assert_int_eq(
        fs_create(fx.fs, &fx.rq, dir, fs_name("open"), S_IFREG | 0644, O_RDWR, &attr, &handle), 0);
    ck_assert_uint_eq(attr.flags, DXF_FLAG_DAX);
    fs_release(fx.fs, handle);
    ck_assert_int_eq(fs_tmpfile(fx.fs, &fx.rq, dir, S_IFREG | 0644, O_RDWR, &attr, &handle), 0);
    ck_assert_uint_eq(attr.flags, DXF_FLAG_DAX);
    fs_release(fx.fs, handle);
    ck_assert_int_eq(fs_symlink(fx.fs, &fx.rq, dir, fs_name("l"), fs_name("to"), &attr), 0);
    ck_assert_uint_eq(attr.flags, 0);
    ck_assert_int_eq(fs_mknod(fx.fs, &fx.rq, dir, fs_name("p"), S_IFIFO | 0644, 0, 0, &attr), 0);
    ck_assert_uint_eq(attr.flags, 0);
    dir = fx_mkdir(dir, "below");
    ck_assert_uint_eq(fx_attr(dir).flags, DXF_FLAG_DAX);
    ck_assert_uint_eq(fx_attr(fx_mknod(dir, "file")).flags, DXF_FLAG_DAX);
}
END_TEST

struct seen {
    unsigned count, stop;
    uint64_t cookie;
    char names[600][16];
};

static int see(void *arg, const struct fs_dirent *entry, const struct fs_attr *attr)
{
    struct seen *seen = arg;

    (void)attr;
    if (seen->stop-- == 0)
        return 1;
    memcpy(seen->names[seen->count], entry->name.bytes, entry->name.length);
    seen->names[seen->count++][entry->name.length] = 0;
    seen->cookie = entry->next;
    return 0;
}

/* An entry that is there throughout is seen once, whatever comes and goes meanwhile. */
START_TEST(test_readdir_under_change)
{
    static struct seen seen;
    struct fs_handle *handle = fx_open(1, O_RDONLY);
    unsigned kept = 0;
    char name[16];

    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "%s%u", i % 2 ? "keep" : "go", i);
        fs_forget(fx.fs, fx_mknod(1, name), 1);
    }
    seen = (struct seen){ .stop = 200 };
    ck_assert_int_eq(fs_readdir(fx.fs, &fx.rq, handle, 0, false, see, &seen), 0);
    ck_assert_uint_eq(seen.count, 200);
    ck_assert_str_eq(seen.names[0], ".");
    ck_assert_str_eq(seen.names[1], "..");
    for (unsigned i = 0; i < 500; i += 2) {
        snprintf(name, sizeof(name), "go%u", i);
        ck_assert_int_eq(fs_unlink(fx.fs, &fx.rq, 1, fs_name(name)), 0);
    }
    seen.stop = 1000;
    ck_assert_int_eq(fs_readdir(fx.fs, &fx.rq, handle, seen.cookie, false, see, &seen), 0);
    for (unsigned i = 0; i < seen.count; i++) {
        kept += seen.names[i][0] == 'k';
        for (unsigned j = 0; j < i; j++)
            ck_assert_str_ne(seen.names[i], seen.names[j]);
    }
    ck_assert_uint_eq(kept, 250);
    fs_release(fx.fs, handle);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_make_and_look_up);
    tcase_add_test(tcase, test_name_limits);
    tcase_add_test(tcase, test_dots);
    tcase_add_test(tcase, test_links_and_removal);
    tcase_add_test(tcase, test_removed_directory);
    tcase_add_test(tcase, test_symlinks);
    tcase_add_test(tcase, test_flags_from_the_directory);
    tcase_add_test(tcase, test_readdir_under_change);
}

int main(void)
{
    return fx_main("fs_names", add);
}
