/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest asks for is done, and answered as its kernel takes it: each operation once, and what
 * caching, options and limits make of it.
 */
#include "test_guest.h"

#include <dirent.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sched.h>

START_TEST(test_init)
{
    const struct fuse_init_out *out = ANSWER(struct fuse_init_out);
    uint64_t flags;

    ck_assert_int_eq(ask_init(), 0);
    flags = out->flags | (uint64_t)out->flags2 << 32;
    ck_assert_uint_eq(out->major, 7);
    ck_assert_uint_eq(out->minor, 45);
    ck_assert_uint_eq(out->max_write, 1u << 20);
    ck_assert_uint_eq(out->max_pages, 256);
    ck_assert_uint_eq(out->map_alignment, 21);
    ck_assert(flags & FUSE_HAS_INODE_DAX);
    ck_assert(flags & FUSE_MAP_ALIGNMENT);
    ck_assert(flags & FUSE_AUTO_INVAL_DATA);
    ck_assert(flags & FUSE_HANDLE_KILLPRIV_V2);
    ck_assert(flags & FUSE_POSIX_LOCKS);
    ck_assert(flags & FUSE_FLOCK_LOCKS);
    ck_assert(!(flags &
                (FUSE_WRITEBACK_CACHE | FUSE_EXPORT_SUPPORT | FUSE_SUBMOUNTS | FUSE_SECURITY_CTX)));
    /* Nothing that was not offered; a newer minor is met with ours, an older one is taken. */
    ck_assert_int_eq(ask_init_as(&client, 31, FUSE_ASYNC_READ), 0);
    ck_assert_uint_eq(out->flags, FUSE_ASYNC_READ);
    ck_assert_uint_eq(out->flags2, 0);
    ck_assert_uint_eq(out->minor, 31);
    ck_assert_uint_eq(out->map_alignment, 0);
    ck_assert_int_eq(ask_init_as(&client, 60, 0), 0);
    ck_assert_uint_eq(out->minor, 45);
    ck_assert_int_eq(ask_init_as(&client, 30, 0), -EPROTO);
}
END_TEST

START_TEST(test_init_of_other_majors)
{
    struct fuse_init_in in = { .major = 8, .minor = 0 };
    uint64_t node;

    guest_close(guest);
    const struct guest_options options = guest_fixture_options();
    guest_fixture_open(&options);
    ck_assert_int_eq(ASK(FUSE_INIT, 0, in), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_init_out)->major, 7);
    ck_assert_int_eq(ask_lookup(1, "a", &node), -EIO); /* still none */
    in.major = 6;
    ck_assert_int_eq(ASK(FUSE_INIT, 0, in), -EPROTO);
    /* As a kernel before 7.36 sends it. */
    in = (struct fuse_init_in){ .major = 7, .minor = 31 };
    ck_assert_int_eq(ask(FUSE_INIT, 0, &in, 16, NULL, 0), 0);
    ck_assert_int_eq(ask_lookup(1, "a", &node), -ENOENT);
}
END_TEST

START_TEST(test_names)
{
    const struct fuse_mknod_in fifo = { .mode = S_IFIFO | 0666, .umask = 022 };
    const struct fuse_mknod_in device = { .mode = S_IFCHR | 0600, .rdev = 0x00100305 };
    struct fuse_rename2_in rename = { 0 };
    struct fuse_link_in link = { 0 };
    uint64_t dir, node, again;

    ck_assert_int_eq(ask_lookup(1, "d", &node), -ENOENT);
    ck_assert_int_eq(ask_mkdir(1, "d", &dir), 0);
    ck_assert_uint_gt(dir, UINT32_MAX); /* no inode number */
    ck_assert_int_eq(ask_lookup(1, "d", &again), 0);
    ck_assert_uint_eq(again, dir);
    ck_assert_uint_eq(ANSWER(struct fuse_entry_out)->entry_valid, 1);
    ck_assert_uint_eq(ANSWER(struct fuse_entry_out)->attr_valid, 1);
    ck_assert_int_eq(ASK_NAME(FUSE_MKNOD, dir, fifo, "fifo"), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_entry_out)->attr.mode, S_IFIFO | 0644);
    ck_assert_int_eq(ASK_NAME(FUSE_MKNOD, dir, device, "null"), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_entry_out)->attr.rdev, 0x00100305);
    ck_assert_int_eq(ask(FUSE_SYMLINK, dir, NULL, 0, "sym\0../else/where", 18), 0);
    node = ANSWER(struct fuse_entry_out)->nodeid;
    ck_assert_int_eq(ask(FUSE_READLINK, node, NULL, 0, NULL, 0), 0);
    ck_assert_uint_eq(client.size, 13);
    ck_assert_mem_eq(client.answer, "../else/where", 13);

    ck_assert_int_eq(ask_lookup(dir, "fifo", &node), 0);
    link.oldnodeid = node;
    ck_assert_int_eq(ASK_NAME(FUSE_LINK, 1, link, "other"), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_entry_out)->nodeid, node);
    ck_assert_uint_eq(ANSWER(struct fuse_entry_out)->attr.nlink, 2);
    rename.newdir = 1;
    ck_assert_int_eq(ask(FUSE_RENAME, dir, &rename, 8, "null\0moved", 11), 0);
    rename.flags = 1; /* RENAME_NOREPLACE */
    ck_assert_int_eq(ask(FUSE_RENAME2, dir, &rename, sizeof(rename), "sym\0moved", 10), -EEXIST);
    rename.flags = 2; /* RENAME_EXCHANGE */
    ck_assert_int_eq(ask(FUSE_RENAME2, dir, &rename, sizeof(rename), "sym\0moved", 10), 0);
    ck_assert_int_eq(ask(FUSE_READLINK, node, NULL, 0, NULL, 0), -EINVAL);
    ck_assert_int_eq(ask(FUSE_RMDIR, 1, NULL, 0, "d", 2), -ENOTEMPTY);
    ck_assert_int_eq(ask(FUSE_UNLINK, dir, NULL, 0, "fifo", 5), 0);
    ck_assert_int_eq(ask(FUSE_UNLINK, dir, NULL, 0, "sym", 4), 0);
    ck_assert_int_eq(ask(FUSE_RMDIR, 1, NULL, 0, "d", 2), 0);
    ck_assert_int_eq(ask_lookup(1, "d", &node), -ENOENT);
}
END_TEST

START_TEST(test_forget_gives_back)
{
    struct {
        struct fuse_batch_forget_in in;
        struct fuse_forget_one one[3];
    } batch = { .in.count = 3 };
    uint64_t a, b;

    ck_assert_int_eq(ask_mkdir(1, "a", &a), 0);
    ck_assert_int_eq(ask_mkdir(1, "b", &b), 0);
    ck_assert_int_eq(ask_lookup(1, "a", &a), 0);
    ck_assert_uint_eq(guest_lookups(), 3);
    ck_assert_int_eq(ask_forget(a, 1), 1);
    ck_assert_uint_eq(guest_lookups(), 2);
    batch.one[0] = (struct fuse_forget_one){ a, 1 };
    batch.one[1] = (struct fuse_forget_one){ 12345, 7 };
    batch.one[2] = (struct fuse_forget_one){ b, 1 };
    ck_assert_int_eq(ASK(FUSE_BATCH_FORGET, 0, batch), 1);
    ck_assert_uint_eq(guest_lookups(), 0);
    ck_assert_int_eq(ASK(FUSE_GETATTR, a, (struct fuse_getattr_in){ 0 }), -ESTALE);
    /* Looked up again it has another id. */
    ck_assert_int_eq(ask_lookup(1, "a", &b), 0);
    ck_assert_uint_ne(a, b);
    ck_assert_int_eq(ask_forget(1, 1000), 1);
    ck_assert_int_eq(ask_lookup(1, "a", &b), 0); /* the root stays */
}
END_TEST

START_TEST(test_attributes)
{
    struct fuse_setattr_in set = { .valid = FATTR_MODE | FATTR_UID | FATTR_MTIME | FATTR_ATIME_NOW,
                                   .mode = 04755,
                                   .uid = 7,
                                   .mtime = (uint64_t)-5,
                                   .mtimensec = 250000000 };
    const struct fuse_getattr_in get = { 0 };
    const struct fuse_statx_in statx = { .sx_mask = 0xfff };
    const struct fuse_statx_out *statx_out = ANSWER(struct fuse_statx_out);
    const struct fuse_attr *attr = &ANSWER(struct fuse_attr_out)->attr;
    uint64_t node, fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ASK(FUSE_SETATTR, node, set), 0);
    ck_assert_int_eq(ASK(FUSE_GETATTR, node, get), 0);
    ck_assert_uint_eq(client.size, sizeof(struct fuse_attr_out));
    ck_assert_uint_eq(attr->mode, S_IFREG | 04755);
    ck_assert_uint_eq(attr->uid, 7);
    ck_assert_uint_eq(attr->mtime, (uint64_t)-5);
    ck_assert_uint_eq(attr->mtimensec, 250000000);
    set = (struct fuse_setattr_in){ .valid = FATTR_SIZE | FATTR_FH | FATTR_KILL_SUIDGID,
                                    .fh = fh,
                                    .size = 5000 };
    ck_assert_int_eq(ASK(FUSE_SETATTR, node, set), 0);
    ck_assert_uint_eq(attr->size, 5000);
    ck_assert_uint_eq(attr->mode, S_IFREG | 0755);
    ck_assert_int_eq(ASK(FUSE_STATX, node, statx), 0);
    ck_assert_uint_eq(client.size, sizeof(*statx_out));
    ck_assert_uint_eq(statx_out->stat.size, 5000);
    ck_assert_int_ne(statx_out->stat.btime.tv_sec, 0);
    ck_assert_int_eq(ask(FUSE_STATFS, 1, NULL, 0, NULL, 0), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_statfs_out)->st.bsize, 4096);
    ck_assert_uint_gt(ANSWER(struct fuse_statfs_out)->st.blocks, 0);
}
END_TEST

START_TEST(test_files)
{
    const struct fuse_lseek_in lseek_in = { .offset = 0, .whence = SEEK_HOLE };
    struct fuse_fallocate_in fallocate = { .length = 20000 };
    struct fuse_fsync_in fsync_in = { .fsync_flags = 1 };
    struct fuse_flush_in flush = { 0 };
    struct fuse_copy_file_range_in copy = { .len = 6 };
    struct fuse_lseek_in seek = lseek_in;
    uint64_t node, fh, other, other_fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ask_write(node, fh, 0, "hello guest", 11, 0), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_write_out)->size, 11);
    ck_assert_int_eq(ask_write(node, fh, 3, "APPENDED", 8, O_APPEND), 0);
    ck_assert_int_eq(ask_read(node, fh, 0, 100), 0);
    ck_assert_uint_eq(client.size, 19);
    ck_assert_mem_eq(client.answer, "hello guestAPPENDED", 19);
    ck_assert_int_eq(ask_read(node, fh, 6, 5), 0);
    ck_assert_uint_eq(client.size, 5);
    ck_assert_int_eq(ask_read(node, fh, 19, 5), 0);
    ck_assert_uint_eq(client.size, 0);
    fallocate.fh = seek.fh = fsync_in.fh = flush.fh = fh;
    ck_assert_int_eq(ASK(FUSE_FALLOCATE, node, fallocate), 0);
    ck_assert_int_eq(ask_truncate(node, 8192), 0);
    ck_assert_int_eq(ASK(FUSE_LSEEK, node, seek), 0);
    ck_assert_uint_le(ANSWER(struct fuse_lseek_out)->offset, 8192);
    ck_assert_int_eq(ASK(FUSE_FSYNC, node, fsync_in), 0);
    ck_assert_int_eq(ASK(FUSE_FLUSH, node, flush), 0);
    ck_assert_int_eq(ASK(FUSE_SYNCFS, 1, (struct fuse_syncfs_in){ 0 }), 0);

    ck_assert_int_eq(ask_create(1, "g", O_RDWR, &other, &other_fh), 0);
    copy.fh_in = fh;
    copy.off_in = 5;
    copy.nodeid_out = other;
    copy.fh_out = other_fh;
    ck_assert_int_eq(ASK(FUSE_COPY_FILE_RANGE, node, copy), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_write_out)->size, 6);
    copy.off_out = 6;
    ck_assert_int_eq(ASK(FUSE_COPY_FILE_RANGE_64, node, copy), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_copy_file_range_out)->bytes_copied, 6);
    ck_assert_int_eq(ask_read(other, other_fh, 0, 100), 0);
    ck_assert_uint_eq(client.size, 12);
    ck_assert_mem_eq(client.answer, " guest guest", 12);

    ck_assert_uint_eq(guest_handles(), 2);
    ck_assert_int_eq(ask_release(node, fh, false), 0);
    ck_assert_int_eq(ask_release(other, other_fh, false), 0);
    while (guest_handles() > 0) /* the worker that copied may not have let go yet */
        sched_yield();
    ck_assert_int_eq(ask_open(node, O_RDONLY, false, &fh), 0);
    ck_assert_int_eq(ask_read(node, fh, 0, 5), 0);
    ck_assert_int_eq(ask_open(node, O_RDWR | O_TRUNC, false, &fh), 0);
    ck_assert_int_eq(ask_read(node, fh, 0, 5), 0);
    ck_assert_uint_eq(client.size, 0);
    ck_assert_int_eq(ASK_NAME(FUSE_TMPFILE, 1,
                              ((struct fuse_create_in){ .flags = O_RDWR, .mode = S_IFREG | 0600 }),
                              "/"),
                     0);
    ck_assert_uint_eq(ANSWER(struct fuse_entry_out)->attr.nlink, 0);
}
END_TEST

/* The bytes of a page that is written back go where they were, set-ID bits go when asked. */
START_TEST(test_write_flags)
{
    struct fuse_write_in in = {
        .offset = 1, .size = 1, .write_flags = FUSE_WRITE_CACHE, .flags = O_APPEND
    };
    const struct fuse_setattr_in set = { .valid = FATTR_MODE, .mode = 04755 };
    uint64_t node, fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR | O_APPEND, &node, &fh), 0);
    ck_assert_int_eq(ask_write(node, fh, 0, "abc", 3, 0), 0);
    in.fh = fh;
    ck_assert_int_eq(ask(FUSE_WRITE, node, &in, sizeof(in), "X", 1), 0);
    ck_assert_int_eq(ask_read(node, fh, 0, 9), 0);
    ck_assert_uint_eq(client.size, 3);
    ck_assert_mem_eq(client.answer, "aXc", 3);
    ck_assert_int_eq(ASK(FUSE_SETATTR, node, set), 0);
    in.write_flags = FUSE_WRITE_KILL_SUIDGID;
    ck_assert_int_eq(ask(FUSE_WRITE, node, &in, sizeof(in), "Y", 1), 0);
    ck_assert_int_eq(ASK(FUSE_GETATTR, node, (struct fuse_getattr_in){ 0 }), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_attr_out)->attr.mode, S_IFREG | 0755);
    ck_assert_uint_eq(ANSWER(struct fuse_attr_out)->attr.size, 4);
}
END_TEST

/* Large, in segments, and in more of them than a vector has. */
START_TEST(test_a_large_transfer)
{
    static const size_t pieces[] = { 0, 4096, 1000, 4096 };
    uint8_t *bytes = malloc(1u << 20);
    uint64_t node, fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    for (size_t i = 0; i < 4; i++) {
        uint64_t base = (uint64_t)i << 20;

        client.piece = pieces[i];
        for (unsigned at = 0; at < 1u << 20; at++)
            bytes[at] = (uint8_t)(at * 7 + at / 4096 + i);
        ck_assert_int_eq(ask_write(node, fh, base, bytes, 1u << 20, 0), 0);
        ck_assert_uint_eq(ANSWER(struct fuse_write_out)->size, 1u << 20);
        for (unsigned at = 0; at < 1u << 20; at += 128u << 10) {
            ck_assert_int_eq(ask_read(node, fh, base + at, 128u << 10), 0);
            ck_assert_uint_eq(client.size, 128u << 10);
            ck_assert_mem_eq(client.answer, bytes + at, 128u << 10);
        }
    }
    /* No more than there is room for. */
    client.room = 16 + 100;
    ck_assert_int_eq(ask_read(node, fh, 0, 128u << 10), 0);
    ck_assert_uint_eq(client.size, 100);
    free(bytes);
}
END_TEST

struct seen {
    unsigned count, with_node;
    uint64_t last, dot, dotdot;
};

static void walk_answer(bool plus, struct seen *seen)
{
    for (size_t at = 0; at < client.size;) {
        struct fuse_direntplus entry = { 0 };
        size_t skip = plus ? sizeof(struct fuse_entry_out) : 0;
        const char *name;

        if (plus)
            memcpy(&entry.entry_out, client.answer + at, sizeof(entry.entry_out));
        memcpy(&entry.dirent, client.answer + at + skip, FUSE_NAME_OFFSET);
        name = (const char *)client.answer + at + skip + FUSE_NAME_OFFSET;
        if (entry.dirent.namelen == 1 && name[0] == '.')
            seen->dot = entry.dirent.ino;
        if (entry.dirent.namelen == 2 && memcmp(name, "..", 2) == 0)
            seen->dotdot = entry.dirent.ino;
        seen->count++;
        seen->with_node += entry.entry_out.nodeid != 0;
        seen->last = entry.dirent.off;
        at += FUSE_REC_ALIGN(skip + FUSE_NAME_OFFSET + entry.dirent.namelen);
    }
}

START_TEST(test_directories)
{
    struct fuse_read_in in = { .size = 4096 };
    struct fuse_fsync_in fsync_in = { 0 };
    uint64_t dir, node, fh, lookups;
    char name[32];

    ck_assert_int_eq(ask_mkdir(1, "d", &dir), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "directory-%d", i);
        ck_assert_int_eq(ask_mkdir(dir, name, &node), 0);
    }
    lookups = guest_lookups();
    ck_assert_int_eq(ask_open(dir, O_RDONLY, true, &fh), 0);
    in.fh = fsync_in.fh = fh;
    for (int plus = 0; plus < 2; plus++) {
        struct seen seen = { 0 };

        in.offset = 0;
        do {
            ck_assert_int_eq(ASK(plus ? FUSE_READDIRPLUS : FUSE_READDIR, dir, in), 0);
            ck_assert_uint_le(client.size, 4096);
            walk_answer(plus, &seen);
            in.offset = seen.last;
        } while (client.size > 0);
        ck_assert_uint_eq(seen.count, 102);
        ck_assert_uint_eq(seen.with_node, plus ? 100 : 0);
        ck_assert_uint_eq(guest_lookups(), lookups + (plus ? 100 : 0));
        ck_assert_uint_eq(seen.dotdot, 1);
    }
    ck_assert_int_eq(ASK(FUSE_FSYNCDIR, dir, fsync_in), 0);
    ck_assert_int_eq(ask_release(dir, fh, true), 0);
}
END_TEST

/* Below the export's root only: ".." leads nowhere else, in names and in what is read. */
START_TEST(test_an_export_has_no_above)
{
    struct guest_options options = guest_fixture_options();
    struct fuse_read_in in = { .size = 4096 };
    struct seen seen = { 0 };
    uint64_t node, fh, secret = fx_mknod(1, "secret");

    options.root = fx_mkdir(1, "export");
    guest_again(&options);
    ck_assert_int_eq(ask_lookup(1, "secret", &node), -ENOENT);
    ck_assert_int_eq(ask_lookup(1, "..", &node), -ESTALE);
    ck_assert_int_eq(ask_lookup(1, ".", &node), -ESTALE);
    ck_assert_int_eq(ask_open(1, O_RDONLY, true, &fh), 0);
    in.fh = fh;
    ck_assert_int_eq(ASK(FUSE_READDIRPLUS, 1, in), 0);
    walk_answer(true, &seen);
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_uint_eq(seen.dot, options.root);
    ck_assert_uint_eq(seen.dotdot, options.root);
    ck_assert_int_eq(ask_mkdir(1, "sub", &node), 0);
    ck_assert_int_eq(fx_lookup(options.root, "sub"), 0);
    fs_forget(fx.fs, secret, 1);
}
END_TEST

START_TEST(test_xattrs)
{
    struct fuse_setxattr_in set = { .size = 5 };
    struct fuse_getxattr_in get = { .size = 100 };
    uint64_t node, fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ask(FUSE_SETXATTR, node, &set, sizeof(set), "user.a/b\0value", 14), 0);
    ck_assert_int_eq(ASK_NAME(FUSE_GETXATTR, node, get, "user.a/b"), 0);
    ck_assert_uint_eq(client.size, 5);
    ck_assert_mem_eq(client.answer, "value", 5);
    ck_assert_int_eq(ASK(FUSE_LISTXATTR, node, get), 0);
    ck_assert_uint_eq(client.size, 9);
    get.size = 3;
    ck_assert_int_eq(ASK_NAME(FUSE_GETXATTR, node, get, "user.a/b"), -ERANGE);
    get.size = 0;
    ck_assert_int_eq(ASK_NAME(FUSE_GETXATTR, node, get, "user.a/b"), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_getxattr_out)->size, 5);
    ck_assert_int_eq(ASK(FUSE_LISTXATTR, node, get), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_getxattr_out)->size, 9);
    ck_assert_int_eq(ask(FUSE_REMOVEXATTR, node, NULL, 0, "user.a/b", 9), 0);
    ck_assert_int_eq(ASK_NAME(FUSE_GETXATTR, node, get, "user.a/b"), -ENODATA);
    /* The short struct, of a guest without SETXATTR_EXT. */
    ck_assert_int_eq(ask_init_as(&client, 45, 0), 0);
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    ck_assert_int_eq(ask(FUSE_SETXATTR, node, &set, 8, "user.b\0value", 12), 0);
}
END_TEST

START_TEST(test_ioctls)
{
    struct fuse_ioctl_in in = { .cmd = FS_IOC_SETFLAGS, .in_size = 4 };
    const uint32_t wish = FS_NODUMP_FL | FS_NOATIME_FL;
    struct fsxattr fsx = { .fsx_xflags = FS_XFLAG_DAX };
    uint64_t node, fh;
    uint32_t flags;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    in.fh = fh;
    ck_assert_int_eq(ask(FUSE_IOCTL, node, &in, sizeof(in), &wish, 4), 0);
    ck_assert_uint_eq(client.size, sizeof(struct fuse_ioctl_out));
    in = (struct fuse_ioctl_in){ .fh = fh, .cmd = FS_IOC_GETFLAGS, .out_size = 4 };
    ck_assert_int_eq(ASK(FUSE_IOCTL, node, in), 0);
    ck_assert_uint_eq(client.size, sizeof(struct fuse_ioctl_out) + 4);
    memcpy(&flags, client.answer + sizeof(struct fuse_ioctl_out), 4);
    ck_assert_uint_eq(flags, wish);
    in = (struct fuse_ioctl_in){ .fh = fh, .cmd = FS_IOC_FSSETXATTR, .in_size = sizeof(fsx) };
    ck_assert_int_eq(ask(FUSE_IOCTL, node, &in, sizeof(in), &fsx, sizeof(fsx)), 0);
    in = (struct fuse_ioctl_in){ .fh = fh, .cmd = FS_IOC_FSGETXATTR, .out_size = sizeof(fsx) };
    ck_assert_int_eq(ASK(FUSE_IOCTL, node, in), 0);
    memcpy(&fsx, client.answer + sizeof(struct fuse_ioctl_out), sizeof(fsx));
    ck_assert_uint_eq(fsx.fsx_xflags, FS_XFLAG_DAX);
    /* With the flag it is for the window, however small. */
    ck_assert_int_eq(ASK(FUSE_GETATTR, node, (struct fuse_getattr_in){ 0 }), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_attr_out)->attr.flags, FUSE_ATTR_DAX);
    in.cmd = FITRIM;
    ck_assert_int_eq(ASK(FUSE_IOCTL, node, in), -ENOTTY);
    /* Of directories, too. */
    ck_assert_int_eq(ask_open(1, O_RDONLY, true, &fh), 0);
    in = (struct fuse_ioctl_in){
        .fh = fh, .cmd = FS_IOC_GETFLAGS, .out_size = 4, .flags = FUSE_IOCTL_DIR
    };
    ck_assert_int_eq(ASK(FUSE_IOCTL, 1, in), 0);
}
END_TEST

static uint32_t dax_of(uint64_t node)
{
    ck_assert_int_eq(ASK(FUSE_GETATTR, node, (struct fuse_getattr_in){ 0 }), 0);
    return ANSWER(struct fuse_attr_out)->attr.flags;
}

START_TEST(test_which_files_are_mapped)
{
    static const struct {
        enum guest_dax dax;
        bool door;
        uint32_t small, large;
    } cases[] = {
        { GUEST_DAX_SIZE, true, 0, FUSE_ATTR_DAX },
        { GUEST_DAX_ALWAYS, true, FUSE_ATTR_DAX, FUSE_ATTR_DAX },
        { GUEST_DAX_INODE, true, 0, 0 },
        { GUEST_DAX_NEVER, true, 0, 0 },
        { GUEST_DAX_ALWAYS, false, 0, 0 },
    };
    struct guest_options options = guest_fixture_options();
    uint64_t small, large, fh;

    ck_assert_int_eq(ask_create(1, "small", O_RDWR, &small, &fh), 0);
    ck_assert_int_eq(ask_truncate(small, (1u << 20) - 1), 0);
    ck_assert_int_eq(ask_create(1, "large", O_RDWR, &large, &fh), 0);
    ck_assert_int_eq(ask_truncate(large, 1u << 20), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        options.dax = cases[i].dax;
        options.dax_door = cases[i].door ? &window.door : NULL;
        guest_again(&options);
        ck_assert_uint_eq(ANSWER(struct fuse_init_out)->map_alignment, cases[i].door ? 21 : 0);
        ck_assert_int_eq(!(ANSWER(struct fuse_init_out)->flags2 & FUSE_HAS_INODE_DAX >> 32),
                         !cases[i].door || cases[i].dax == GUEST_DAX_NEVER);
        ck_assert_int_eq(ask_lookup(1, "small", &small), 0);
        ck_assert_int_eq(ask_lookup(1, "large", &large), 0);
        ck_assert_uint_eq(dax_of(small), cases[i].small);
        ck_assert_uint_eq(dax_of(large), cases[i].large);
        ck_assert_uint_eq(dax_of(1), 0);
    }
}
END_TEST

/* A file that grows and shrinks stays what it was when its node was made, whoever asks how. */
START_TEST(test_mapped_or_not_while_it_lives)
{
    const struct fuse_entry_out *entry = ANSWER(struct fuse_entry_out);
    struct fuse_link_in link;
    uint64_t node, fh, dir;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ask_truncate(node, 2u << 20), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_attr_out)->attr.flags, 0);
    ck_assert_uint_eq(dax_of(node), 0);
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    ck_assert_uint_eq(entry->attr.flags, 0);
    link.oldnodeid = node;
    ck_assert_int_eq(ASK_NAME(FUSE_LINK, 1, link, "g"), 0);
    ck_assert_uint_eq(entry->attr.flags, 0);

    ck_assert_int_eq(ask_forget(node, 3), 1);
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    ck_assert_uint_eq(entry->attr.flags, FUSE_ATTR_DAX);
    ck_assert_int_eq(ask_truncate(node, 0), 0);
    ck_assert_uint_eq(dax_of(node), FUSE_ATTR_DAX);
    ck_assert_int_eq(ask_lookup(1, "g", &node), 0);
    ck_assert_uint_eq(entry->attr.flags, FUSE_ATTR_DAX);

    /* However small, by its directory. */
    ck_assert_int_eq(ask_mkdir(1, "d", &dir), 0);
    ck_assert_int_eq(fs_setflags(fx.fs, &fx.rq, entry->attr.ino, DXF_FLAG_DAX), 0);
    ck_assert_int_eq(ask_create(dir, "f", O_RDWR, &node, &fh), 0);
    ck_assert_uint_eq(entry->attr.flags, FUSE_ATTR_DAX);
}
END_TEST

START_TEST(test_caching)
{
    struct guest_options options = guest_fixture_options();
    const struct fuse_open_out *open = ANSWER(struct fuse_open_out);
    uint64_t node, fh;

    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    options.cache = GUEST_CACHE_ALWAYS;
    guest_again(&options);
    ck_assert(!(ANSWER(struct fuse_init_out)->flags & FUSE_AUTO_INVAL_DATA));
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_entry_out)->attr_valid, 86400);
    ck_assert_int_eq(ask_open(node, O_RDONLY, false, &fh), 0);
    ck_assert(open->open_flags & FOPEN_KEEP_CACHE);
    ck_assert(!(open->open_flags & FOPEN_DIRECT_IO));
    ck_assert_int_eq(ask_lookup(1, "none", &fh), 0); /* a name that is not there, to be kept */
    ck_assert_uint_eq(fh, 0);
    options.cache = GUEST_CACHE_NEVER;
    guest_again(&options);
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    ck_assert_uint_eq(ANSWER(struct fuse_entry_out)->attr_valid, 0);
    ck_assert_int_eq(ask_open(node, O_RDONLY, false, &fh), 0);
    ck_assert(open->open_flags & FOPEN_DIRECT_IO);
    ck_assert_int_eq(ask_truncate(node, 1u << 20), 0); /* for the window, when it is made anew */
    ck_assert_int_eq(ask_forget(node, 1), 1);
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    ck_assert_int_eq(ask_open(node, O_RDONLY, false, &fh), 0);
    ck_assert(!(open->open_flags & FOPEN_DIRECT_IO));
}
END_TEST

START_TEST(test_a_read_only_export)
{
    struct guest_options options = guest_fixture_options();
    const struct fuse_mkdir_in mkdir_in = { .mode = 0755 };
    const struct fuse_setattr_in set = { .valid = FATTR_MODE, .mode = 0600 };
    const struct fuse_setattr_in old = { .valid = FATTR_ATIME, .atime = 1 };
    const struct fuse_create_in create = { .flags = O_RDWR, .mode = S_IFREG | 0600 };
    const struct fuse_setxattr_in setx = { .size = 1 };
    struct fuse_ioctl_in ioctl_in = { .cmd = FS_IOC_SETFLAGS, .in_size = 4 };
    struct fuse_rename_in rename = { .newdir = 1 };
    struct fs_attr before;
    uint64_t node, fh;

    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, "l\0target", 9), 0);
    ck_assert_int_eq(ASK(FUSE_SETATTR, ANSWER(struct fuse_entry_out)->nodeid, old), 0);
    ck_assert_int_eq(ask_create(1, "f", O_RDWR, &node, &fh), 0);
    ck_assert_int_eq(ask_write(node, fh, 0, "abc", 3, 0), 0);
    ck_assert_int_eq(ASK(FUSE_SETATTR, node, old), 0); /* a read would move it */
    options.read_only = true;
    guest_again(&options);
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    before = fx_attr(ANSWER(struct fuse_entry_out)->attr.ino);
    ck_assert_int_eq(ASK_NAME(FUSE_MKDIR, 1, mkdir_in, "d"), -EROFS);
    ck_assert_int_eq(ASK(FUSE_SETATTR, node, set), -EROFS);
    ck_assert_int_eq(ASK_NAME(FUSE_CREATE, 1, create, "g"), -EROFS);
    ck_assert_int_eq(ASK_NAME(FUSE_TMPFILE, 1, create, "/"), -EROFS);
    ck_assert_int_eq(ask(FUSE_SETXATTR, node, &setx, sizeof(setx), "user.a\0v", 8), -EROFS);
    ck_assert_int_eq(ask(FUSE_UNLINK, 1, NULL, 0, "f", 2), -EROFS);
    ck_assert_int_eq(ask(FUSE_RENAME, 1, &rename, 8, "f\0g", 4), -EROFS);
    ck_assert_int_eq(ask(FUSE_SYMLINK, 1, NULL, 0, "s\0t", 4), -EROFS);
    ck_assert_int_eq(ask_open(node, O_RDWR, false, &fh), -EROFS);
    ck_assert_int_eq(ask_open(node, O_RDONLY | O_TRUNC, false, &fh), -EROFS);
    ck_assert_int_eq(ask_map(node, 0, CHUNK, 0, FUSE_SETUPMAPPING_FLAG_WRITE), -EROFS);
    ck_assert_int_eq(ask_open(node, O_RDONLY, false, &fh), 0);
    ck_assert_int_eq(ask_write(node, fh, 0, "x", 1, 0), -EROFS);
    ioctl_in.fh = fh;
    ck_assert_int_eq(ask(FUSE_IOCTL, node, &ioctl_in, sizeof(ioctl_in), &ioctl_in, 4), -EROFS);
    ck_assert_int_eq(ask_read(node, fh, 0, 10), 0);
    ck_assert_uint_eq(client.size, 3);
    ck_assert_int_eq(fx_attr(before.ino).atime, before.atime);
    ck_assert_int_eq(ask_lookup(1, "l", &node), 0);
    before = fx_attr(ANSWER(struct fuse_entry_out)->attr.ino);
    ck_assert_int_eq(ask(FUSE_READLINK, node, NULL, 0, NULL, 0), 0);
    ck_assert_int_eq(fx_attr(before.ino).atime, before.atime);
}
END_TEST

START_TEST(test_what_is_counted)
{
    struct door_kind_stats stats;
    uint64_t node;

    ck_assert_int_eq(ask_lookup(1, "a", &node), -ENOENT);
    ck_assert_int_eq(ask_mkdir(1, "a", &node), 0);
    ck_assert_int_eq(ask_lookup(1, "a", &node), 0);
    ck_assert(guest_get_stats(guest, DOOR_LOOKUP, &stats));
    ck_assert_str_eq(stats.name, "lookup");
    ck_assert_uint_eq(stats.count, 2);
    ck_assert_uint_eq(stats.errors, 1);
    ck_assert_uint_gt(stats.longest, 0);
    ck_assert(!guest_get_stats(guest, DOOR_KINDS, &stats));
    for (unsigned kind = 0; guest_get_stats(guest, kind, &stats); kind++)
        ck_assert_ptr_nonnull(stats.name);
}
END_TEST

/* A lock that somebody has is waited for in a worker, not in the queue's thread. */
START_TEST(test_who_waits)
{
    struct fs_read read;
    struct fs_handle *handle = fx_create("f");
    struct vhost_request *request;
    uint8_t buffer[200];
    uint64_t node, fh;
    size_t size;

    fx_fill(handle, 0, 4096, 'a');
    ck_assert_int_eq(ask_lookup(1, "f", &node), 0);
    ck_assert_int_eq(ask_open(node, O_RDWR, false, &fh), 0);
    ck_assert_int_eq(fs_read_begin(fx.fs, &fx.rq, handle, 0, 4096, &read), 0);
    {
        const struct fuse_write_in in = { .fh = fh, .size = 5 };
        size = put_request(&client, buffer, FUSE_WRITE, node, &in, sizeof(in), "later", 5);
    }
    request = fake_request(buffer, size, 100, 0);
    guest_dispatch(guest, request);
    ck_assert(!fake_is_done(request));
    ck_assert_int_eq(fs_read_end(fx.fs, &read), 0);
    ck_assert_uint_eq(fake_wait(request), 16 + 8);
    fake_free(request);
    ck_assert_uint_eq(atomic_load(&guest->handed_over), 1 + 1); /* INIT was one */
    ck_assert_int_eq(ask_read(node, fh, 0, 5), 0);
    ck_assert_mem_eq(client.answer, "later", 5);
    fs_forget(fx.fs, fs_handle_ino(handle), 1);
    fs_release(fx.fs, handle);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, test_init);
    tcase_add_test(tcase, test_init_of_other_majors);
    tcase_add_test(tcase, test_names);
    tcase_add_test(tcase, test_forget_gives_back);
    tcase_add_test(tcase, test_attributes);
    tcase_add_test(tcase, test_files);
    tcase_add_test(tcase, test_write_flags);
    tcase_add_test(tcase, test_a_large_transfer);
    tcase_add_test(tcase, test_directories);
    tcase_add_test(tcase, test_an_export_has_no_above);
    tcase_add_test(tcase, test_xattrs);
    tcase_add_test(tcase, test_ioctls);
    tcase_add_test(tcase, test_which_files_are_mapped);
    tcase_add_test(tcase, test_mapped_or_not_while_it_lives);
    tcase_add_test(tcase, test_caching);
    tcase_add_test(tcase, test_a_read_only_export);
    tcase_add_test(tcase, test_what_is_counted);
    tcase_add_test(tcase, test_who_waits);
}

int main(void)
{
    return guest_main("guest_ops", guest_setup, add);
}
