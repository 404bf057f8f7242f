/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libFuzzer's target: a damaged pool is checked, mounted and used, repaired, checked, mounted and used.
 *
 *   No input crashes, hangs, leaks, or reaches outside the pool.
 *   The check without repair writes nothing but the replay of the journal.
 *   What is repaired whole is clean for the next check, mounts, and holds nothing that is refused as
 *   damaged, also by changes; and the next check after those is clean too.
 *
 * FUZZ_SAY=1 in the environment: the damage, what the check finds and what is done about it, on stderr.
 */
#include "damage.h"
#include "use.h"

#include "base/log.h"
#include "journal/replay.h"
#include "media/validate.h"
#include "tools/fsck.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);
size_t LLVMFuzzerMutate(uint8_t *input, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *input, size_t size, size_t room, unsigned seed);

static bool say;
static uint8_t *replayed; /* what a replay alone makes of a pool */

/* What lies around a pool in memory is out of reach. */
static void fence(const struct base *base, uint64_t size, bool on)
{
    if (size < BASE_SIZE && mprotect(base->memory + size, BASE_SIZE - size,
                                     on ? PROT_NONE : PROT_READ | PROT_WRITE) < 0)
        err(2, "mprotect");
}

static _Noreturn void wrong(const uint8_t *input, size_t size, const char *what)
{
    fprintf(stderr, "fuzz_pool: %s\n", what);
    damage_print(input, size);
    abort();
}

/* ---- the check --------------------------------------------------------------------------------------- */

static int check(const struct base *base, uint64_t size, enum fsck_mode mode,
                 struct fsck_result *ret_result)
{
    const uint8_t *memory = base->memory;
    struct fsck_options options = {
        .mode = mode,
        .out = say ? stderr : NULL,
        .primary_bad = validate_super((const void *)memory) != NULL,
        .spare_bad =
            validate_super((const void *)(memory + DXF_SPARE_BLOCK * DXF_BLOCK_SIZE)) != NULL,
    };
    struct pool *pool;
    int r = base_pool(base->memory, size, &pool);

    if (say)
        fprintf(stderr, "--- fsck %s: open %d\n", mode == FSCK_CHECK ? "-n" : "-y", r);
    if (r < 0)
        return r;
    r = fsck_run(pool, &options, ret_result);
    pool_close(pool);
    if (say)
        fprintf(stderr, "--- %d: %" PRIu64 " found, %" PRIu64 " left\n", r, ret_result->found,
                ret_result->left);
    return r;
}

static void replay_alone(const struct base *base, uint64_t size)
{
    struct journal_replayed counts;
    struct pool *pool;

    if (base_pool(base->memory, size, &pool) == 0) {
        journal_replay(pool, &counts);
        pool_close(pool);
    }
    memcpy(replayed, base->memory, size);
}

static void check_writes_nothing(const struct base *base, const uint8_t *input, size_t length)
{
    struct fsck_result *result = malloc(sizeof(*result));
    uint64_t size;

    damage_apply(base, input, length);
    size = damage_pool_size(base);
    fence(base, size, true);
    if (input[0] & DAMAGE_COMPARE) {
        replay_alone(base, size);
        fence(base, size, false);
        damage_apply(base, input, length);
        fence(base, size, true);
    }
    int r = check(base, size, FSCK_CHECK, result);
    if (r < 0 && r != -EUCLEAN && r != -ENOTSUP && r != -EINVAL && r != -EIO)
        wrong(input, length, "fsck -n could not run");
    if (input[0] & DAMAGE_COMPARE && memcmp(replayed, base->memory, size) != 0)
        wrong(input, length, "fsck -n has written");
    fence(base, size, false);
    free(result);
}

/* ---- the mount ---------------------------------------------------------------------------------------- */

/* Mounts and uses what nobody has repaired. */
static void use_damaged(const struct base *base, uint64_t size, const uint8_t *input, size_t length)
{
    struct use use = { 0 };
    struct pool *pool;
    int r = base_mount(base->memory, size, &pool, &use.fs);

    if (say)
        fprintf(stderr, "--- mount, damaged: %d\n", r);
    if (r < 0) {
        if (r != -EUCLEAN && r != -ENOTSUP && r != -EINVAL && r != -EIO && r != -ENOSPC)
            wrong(input, length, strerror(-r));
        return;
    }
    use_walk(&use);
    use_change(&use);
    base_umount(pool, use.fs);
}

static void expect_sound(const char *when, const struct use *use, const uint8_t *input,
                         size_t length)
{
    if (use->damaged == 0)
        return;
    fprintf(stderr, "%u answers that it is damaged, the first from %s of inode %" PRIu64 "\n",
            use->damaged, use->first, use->first_ino);
    wrong(input, length, when);
}

static void use_repaired(const struct base *base, uint64_t size, const uint8_t *input,
                         size_t length)
{
    struct use use = { 0 };
    struct pool *pool;
    int r = base_mount(base->memory, size, &pool, &use.fs);

    if (say)
        fprintf(stderr, "--- mount, repaired: %d\n", r);
    if (r < 0)
        wrong(input, length, "what was repaired can not be mounted");
    use_walk(&use);
    expect_sound("a walk of what was repaired", &use, input, length);
    use_change(&use);
    expect_sound("changes of what was repaired", &use, input, length);
    use_walk(&use);
    expect_sound("a walk of what was repaired and changed", &use, input, length);
    base_umount(pool, use.fs);
}

static void repair(const struct base *base, uint64_t size, const uint8_t *input, size_t length)
{
    struct fsck_result *result = malloc(sizeof(*result));
    int r = check(base, size, FSCK_YES, result);

    if (r < 0) {
        if (r != -EUCLEAN && r != -ENOTSUP && r != -EINVAL)
            wrong(input, length, "fsck -y could not run");
    } else if (result->left == 0) {
        r = check(base, size, FSCK_CHECK, result);
        if (r < 0 || result->found > 0)
            wrong(input, length, "what was repaired is not clean");
        use_repaired(base, size, input, length);
        r = check(base, size, FSCK_CHECK, result);
        if (r < 0 || result->found > 0)
            wrong(input, length, "what was repaired, mounted and changed is not clean");
    } else {
        use_damaged(base, size, input, length);
    }
    free(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
    const struct base *base = damage_base(input, length);
    uint64_t size;

    if (length == 0)
        return 0;
    if (say)
        damage_print(input, length);
    check_writes_nothing(base, input, length);

    damage_apply(base, input, length);
    size = damage_pool_size(base);
    fence(base, size, true);
    use_damaged(base, size, input, length);
    fence(base, size, false);

    if (!(input[0] & DAMAGE_USE_FIRST)) {
        damage_apply(base, input, length);
        size = damage_pool_size(base);
    }
    fence(base, size, true);
    repair(base, size, input, length);
    fence(base, size, false);
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    say = getenv("FUZZ_SAY") != NULL;
    log_open("fuzz_pool", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
    if (!say)
        log_set_level((enum log_level)(LOG_LEVEL_ERROR - 1)); /* damage is no news here */
    bases_make();
    replayed = mmap(NULL, BASE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (replayed == MAP_FAILED)
        err(2, "mmap");
    return 0;
}

/* ---- inputs ------------------------------------------------------------------------------------------- */

static uint64_t mutator_state;

static uint32_t dice(uint32_t sides)
{
    mutator_state = mutator_state * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(mutator_state >> 33) % sides;
}

static struct damage_command random_command(void)
{
    return (struct damage_command){
        .what = (uint8_t)(dice(DAMAGE_OPS) | (dice(3) ? DAMAGE_SEAL : 0)),
        .class = (uint8_t)dice(CLASSES),
        .index = (uint16_t)dice(dice(2) ? 8 : 65536),
        .offset = (uint16_t)dice(dice(2) ? 256 : 4096),
        .arg = (uint16_t)dice(dice(2) ? 256 : 65536),
        .value = dice(2) ? dice(256) : dice(UINT32_MAX),
    };
}

/* Whole commands: one more, one less, one other. Else what libFuzzer does to any bytes. */
size_t LLVMFuzzerCustomMutator(uint8_t *input, size_t size, size_t room, unsigned seed)
{
    struct damage_command command;
    size_t count = size == 0 ? 0 : (size - 1) / sizeof(command);
    size_t at = 1 + (count ? seed % count : 0) * sizeof(command);

    mutator_state = seed * 0x9e3779b97f4a7c15 + 1;
    dice(2);
    if (size == 0 && room > 0) {
        input[0] = (uint8_t)dice(256);
        size = 1;
    }
    switch (dice(8)) {
    case 0:
        input[0] ^= (uint8_t)(1u << dice(5));
        return size;
    case 1:
        if (count > 1) {
            memmove(input + at, input + at + sizeof(command), size - at - sizeof(command));
            return size - sizeof(command);
        }
        break;
    case 2:
        if (count > 0) {
            memcpy(&command, input + at, sizeof(command));
            command.what ^= DAMAGE_SEAL;
            memcpy(input + at, &command, sizeof(command));
            return size;
        }
        break;
    case 3:
        if (count > 0) {
            LLVMFuzzerMutate(input + at, sizeof(command), sizeof(command));
            return size;
        }
        break;
    case 4:
        return LLVMFuzzerMutate(input, size, room);
    default:
        break;
    }
    command = random_command();
    if (count > 0 && (count >= 8 || dice(3) == 0 || 1 + (count + 1) * sizeof(command) > room)) {
        memcpy(input + at, &command, sizeof(command));
        return size;
    }
    if (1 + (count + 1) * sizeof(command) > room)
        return size;
    memcpy(input + 1 + count * sizeof(command), &command, sizeof(command));
    return 1 + (count + 1) * sizeof(command);
}
