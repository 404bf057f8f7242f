/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L6 above the superblock: images that are changed at random, half of the changes with checksums made
 * right again, then used. Every operation ends, with an error or without.
 *
 * HOSTILE_SECONDS: how long it runs (2); HOSTILE_SEED: the first seed (1). A seed names an image; that of
 * a run that aborts or hangs is told.
 */
#include "media/validate.h"
#include "test_hostile.h"

#include <signal.h>
#include <time.h>

static uint64_t random_state, current_seed;
static uint64_t targets[1024];
static unsigned target_count;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static bool has_header(uint64_t block)
{
    const struct dxf_block_header *header = (const void *)block_at(block);
    uint32_t magic = le32_get(header->magic);

    return magic == DXF_MAGIC_EXTENT_NODE || magic == DXF_MAGIC_DIR_NODE ||
           magic == DXF_MAGIC_DIR_LEAF || magic == DXF_MAGIC_CHAIN;
}

static uint64_t records_end(void)
{
    return records + (ino_e + DXF_INODES_PER_BLOCK) / DXF_INODES_PER_BLOCK * BLOCK;
}

static void find_targets(void)
{
    uint64_t bitmap = le64_get(((struct dxf_super *)(void *)below.memory)->bitmap_start);

    target_count = 0;
    for (uint64_t block = 0; block < POOL_SIZE / BLOCK; block++)
        if (block <= DXF_INTENT_BLOCK || block == bitmap || block == orphan_block ||
            block == records / BLOCK - 1 || has_header(block) ||
            (block >= records / BLOCK && block < records_end() / BLOCK))
            targets[target_count++] = block;
}

static void seal_lines(uint64_t block, void (*seal)(void *line, uint64_t number))
{
    static const uint8_t zeros[DXF_LINE_SIZE];

    for (unsigned i = 0; i < BLOCK / DXF_LINE_SIZE; i++)
        if (memcmp(block_at(block) + i * DXF_LINE_SIZE, zeros, DXF_LINE_SIZE) != 0)
            seal(block_at(block) + i * DXF_LINE_SIZE, i);
}

static void seal_bitmap(void *line, uint64_t number)
{
    seal_bitmap_line(line, number);
}

static void seal_orphans(void *line, uint64_t number)
{
    seal_orphan_line(line, number);
}

static void seal_intents(void *line, uint64_t number)
{
    seal_intent(line, number);
}

static void seal_leaf(struct dxf_dir_leaf *leaf)
{
    uint32_t at = 0;

    seal_dir_leaf(leaf);
    while (at + sizeof(struct dxf_dirent) + DXF_NAME_MAX < sizeof(leaf->entries)) {
        struct dxf_dirent *entry = (struct dxf_dirent *)(void *)(leaf->entries + (at & ~7u));

        seal_dirent(entry, le64_get(leaf->header.owner));
        at += le16_get(entry->length) + (le16_get(entry->length) == 0 ? 8u : 0u);
    }
}

/* Makes the checksums of what lies in the block right again. */
static void reseal(uint64_t block)
{
    struct dxf_super *super = (struct dxf_super *)(void *)below.memory;
    uint8_t *bytes = block_at(block);

    if (block == DXF_SUPER_BLOCK) {
        seal_super(super);
    } else if (block == DXF_JOURNAL_BLOCK) {
        for (unsigned i = 0; i < DXF_RETIRE_SLOTS; i++)
            seal_retire((struct dxf_retire *)(void *)(bytes + i * DXF_RETIRE_STRIDE), i);
    } else if (block == DXF_ANCHOR_BLOCK) {
        seal_inode((struct dxf_inode *)(void *)bytes, DXF_INO_TABLE);
    } else if (block == DXF_INTENT_BLOCK) {
        seal_lines(block, seal_intents);
    } else if (block == orphan_block) {
        seal_lines(block, seal_orphans);
    } else if (block >= records / BLOCK && block < records_end() / BLOCK) {
        for (unsigned i = 0; i < DXF_INODES_PER_BLOCK; i++) {
            uint64_t ino = (block - records / BLOCK) * DXF_INODES_PER_BLOCK + i;

            if (le16_get(record_of(ino)->mode) != 0)
                seal_inode(record_of(ino), ino);
        }
    } else if (le32_get(((struct dxf_block_header *)(void *)bytes)->magic) == DXF_MAGIC_DIR_LEAF) {
        seal_leaf((struct dxf_dir_leaf *)(void *)bytes);
    } else if (has_header(block)) {
        seal_block((struct dxf_block_header *)(void *)bytes);
    } else {
        seal_lines(block, seal_bitmap);
    }
}

static uint64_t interesting(void)
{
    uint64_t block = targets[random_next() % target_count];

    switch (random_next() % 6) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX >> random_next() % 64;
    case 2:
        return random_next() % 600;
    case 3:
        return random_next();
    default:
        return block;
    }
}

static void mutate(void)
{
    uint64_t block = targets[random_next() % target_count];
    uint8_t *bytes = block_at(block);
    /* Near the start of something more often than not. */
    uint64_t at = random_next() % 2 ? random_next() % BLOCK : random_next() % 16 * 256;

    if (random_next() % 3 == 0) {
        bytes[at] ^= (uint8_t)(1u << random_next() % 8);
    } else if (random_next() % 8 == 0) {
        memcpy(bytes, block_at(targets[random_next() % target_count]), BLOCK);
    } else {
        uint64_t value = interesting();

        at = (at + random_next() % 192) % BLOCK & ~7ull;
        memcpy(bytes + at, &value, random_next() % 2 ? 8 : 2);
    }
    if (random_next() % 2)
        reseal(block);
}

static void tell_seed(int number)
{
    char text[80];
    int length = snprintf(text, sizeof(text), "\nHOSTILE_SEED=%llu: signal %d\n",
                          (unsigned long long)current_seed, number);

    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(1);
    signal(number, SIG_DFL);
    raise(number == SIGALRM ? SIGABRT : number);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double run_seconds(void)
{
    const char *length = getenv("HOSTILE_SECONDS");

    return length ? atof(length) : 2;
}

START_TEST(random_images)
{
    const char *first = getenv("HOSTILE_SEED");
    double end = seconds() + run_seconds();
    uint8_t *image = malloc(POOL_SIZE);
    unsigned opened = 0;

    ck_assert_ptr_nonnull(image);
    find_targets();
    memcpy(image, below.memory, POOL_SIZE);
    signal(SIGALRM, tell_seed);
    signal(SIGABRT, tell_seed);
    current_seed = first ? strtoull(first, NULL, 10) : 1;
    do {
        random_state = (current_seed + 1) * 0x9e3779b97f4a7c15ull;
        memcpy(below.memory, image, POOL_SIZE);
        for (unsigned i = random_next() % 4; i < 4; i++)
            mutate();
        alarm(30);
        if (fs_try() == 0) {
            opened++;
            use_all();
            fs_stop();
        }
        alarm(0);
        current_seed++;
    } while (seconds() < end);
    ck_assert_uint_gt(opened, 0);
    free(image);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_random");
    TCase *tcase = tcase_create("images");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, random_images);
    tcase_set_timeout(tcase, run_seconds() + 60);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
