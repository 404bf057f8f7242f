/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VMM and its guest for a server that runs, in a sandbox or not: sandbox_guest SOCKET NAME
 *
 * Makes the file NAME, writes to it, maps it through the window, stores to the mapping, reads that back
 * by a request. Leaves at once, with the mapping. The server's tag and window are those of vhost_front.h.
 */
#include "../unit/vhost_front.h"
#include "dax/mapper.h"
#include "transport/virtiofs/wire.h"

#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUEUE 1
#define ROOM 8192u

static const char *path, *name;
static struct front front;
static struct {
    struct fuse_out_header header;
    uint8_t bytes[ROOM - sizeof(struct fuse_out_header)];
} answer;
static uint8_t *mapped; /* what the window shows */

/* As the VMM: maps, and says so. */
static void channel_serve(void)
{
    struct vhost_user_header header;
    struct vhost_user_shmem_map map;
    struct iovec vector[2] = { { &header, sizeof(header) }, { &map, sizeof(map) } };
    char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct msghdr message = { .msg_iov = vector,
                              .msg_iovlen = 2,
                              .msg_control = control,
                              .msg_controllen = sizeof(control) };
    struct {
        struct vhost_user_header header;
        uint64_t result;
    } __attribute__((packed)) reply = { { 0, VHOST_USER_VERSION | VHOST_USER_REPLY, 8 }, 0 };
    int fd = -1;

    ck_assert_int_gt(recvmsg(front.channel, &message, MSG_CMSG_CLOEXEC), 0);
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    if (part)
        memcpy(&fd, CMSG_DATA(part), sizeof(fd));
    if (header.request == VHOST_USER_BACKEND_SHMEM_MAP) {
        ck_assert_int_ge(fd, 0);
        mapped =
            mmap(NULL, map.length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)map.fd_offset);
        ck_assert_ptr_ne(mapped, MAP_FAILED);
        close(fd);
    }
    reply.header.request = header.request;
    ck_assert_int_eq(send(front.channel, &reply, sizeof(reply), MSG_NOSIGNAL), sizeof(reply));
}

static void ask(uint32_t opcode, uint64_t node, const void *fixed, size_t size, const void *more,
                size_t more_size)
{
    static uint64_t unique;
    struct fuse_in_header header = { .len = (uint32_t)(sizeof(header) + size + more_size),
                                     .opcode = opcode,
                                     .unique = ++unique,
                                     .nodeid = node,
                                     .pid = 1 };
    struct pollfd polled = { .fd = front.channel, .events = POLLIN };
    uint64_t in, out;
    uint8_t *bytes;

    front.buffer = FRONT_BUFFERS;
    in = guest_buffer(&front, header.len);
    out = guest_buffer(&front, ROOM);
    bytes = front_at(&front, in);
    memcpy(bytes, &header, sizeof(header));
    if (size)
        memcpy(bytes + sizeof(header), fixed, size);
    if (more_size)
        memcpy(bytes + sizeof(header) + size, more, more_size);
    guest_desc(&front, QUEUE, 0, in, header.len, VRING_DESC_NEXT, 1);
    guest_desc(&front, QUEUE, 1, out, ROOM, VRING_DESC_WRITE, 0);
    guest_avail(&front, QUEUE, 0);
    guest_kick(&front, QUEUE);
    for (int tries = 0; !guest_has_used(&front, QUEUE); tries++) {
        ck_assert_int_lt(tries, FRONT_TIMEOUT_MS);
        if (poll(&polled, 1, 1) == 1)
            channel_serve();
    }
    guest_used(&front, QUEUE);
    memcpy(&answer, front_at(&front, out), sizeof(answer));
    ck_assert_msg(answer.header.error == 0, "request %u: error %d", opcode, answer.header.error);
}

START_TEST(session)
{
    const struct fuse_init_in init = { .major = 7, .minor = 38, .flags = FUSE_MAP_ALIGNMENT };
    const struct fuse_create_in create = { .flags = O_RDWR, .mode = S_IFREG | 0644 };
    struct fuse_setupmapping_in setup = {
        .len = DAX_CHUNK_SIZE, .flags = FUSE_SETUPMAPPING_FLAG_WRITE | FUSE_SETUPMAPPING_FLAG_READ
    };
    struct fuse_write_in write_in = { .size = 5 };
    struct fuse_read_in read_in = { .size = 10 };
    struct fuse_entry_out entry;
    struct fuse_open_out open_out;

    front_open(&front, path);
    front_start(&front, FRONT_FEATURES, 2, 16);
    ask(FUSE_INIT, 0, &init, sizeof(init), NULL, 0);
    ask(FUSE_STATFS, 1, NULL, 0, NULL, 0);
    ask(FUSE_CREATE, 1, &create, sizeof(create), name, strlen(name) + 1);
    memcpy(&entry, answer.bytes, sizeof(entry));
    memcpy(&open_out, answer.bytes + sizeof(entry), sizeof(open_out));
    write_in.fh = read_in.fh = setup.fh = open_out.fh;
    ask(FUSE_WRITE, entry.nodeid, &write_in, sizeof(write_in), "wrote", 5);
    ask(FUSE_SETUPMAPPING, entry.nodeid, &setup, sizeof(setup), NULL, 0);
    ck_assert_ptr_nonnull(mapped);
    ck_assert_mem_eq(mapped, "wrote", 5);
    memcpy(mapped, "store", 5);
    write_in.offset = 5;
    ask(FUSE_WRITE, entry.nodeid, &write_in, sizeof(write_in), "again", 5);
    ask(FUSE_READ, entry.nodeid, &read_in, sizeof(read_in), NULL, 0);
    ck_assert_mem_eq(answer.bytes, "storeagain", 10);
    ck_assert_mem_eq(mapped, "storeagain", 10);
}
END_TEST

/* What the other side is made of asserts as tests do. */
int main(int argc, char **argv)
{
    Suite *suite = suite_create("sandbox_guest");
    TCase *tcase = tcase_create("session");
    SRunner *runner;
    int failed;

    if (argc != 3)
        return EXIT_FAILURE;
    path = argv[1];
    name = argv[2];
    tcase_add_test(tcase, session);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
