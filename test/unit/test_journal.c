/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal: commit, retirement, replay, and what crashes leave (L4, at the journal's level). */
#include "base/checksum.h"
#include "base/endian.h"
#include "crash_device.h"
#include "journal/journal.h"
#include "media/validate.h"
#include "pool_fixture.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define POOL_BYTES (8ull << 20)
#define CELLS 24u

/* Words in lines and blocks of their own; any journaled bytes will do. */
static uint64_t cell_offset(unsigned cell)
{
    return (600ull + cell % 5) * DXF_BLOCK_SIZE + cell * 192ull;
}

#define FILLER_OFFSET (700ull * DXF_BLOCK_SIZE)

static uint64_t cell_get(const struct pool *pool, unsigned cell)
{
    uint64_t value;
    memcpy(&value, pool_at(pool, cell_offset(cell)), sizeof(value));
    return value;
}

/* A transaction that sets four cells of a random place to value, and a filler of that many bytes. */
static int commit_cells(struct journal *journal, uint64_t value, unsigned first, uint32_t filler)
{
    static uint8_t bytes[16384];
    struct journal_record records[5];
    unsigned count = 0;
    for (unsigned i = 0; i < 4; i++)
        records[count++] = (struct journal_record){ .offset = cell_offset((first + i * 5) % CELLS),
                                                    .length = 8,
                                                    .data = &value };
    if (filler)
        records[count++] =
            (struct journal_record){ .offset = FILLER_OFFSET, .length = filler, .data = bytes };
    return journal_commit(journal, records, count, false, NULL);
}

/* The log and the slots of one pool, put into the memory of another: as if nothing in place had
 * been written back. */
static void copy_logs(struct pool_fixture *to, const struct pool_fixture *from)
{
    const struct dxf_super *super = &from->pool->super;
    uint64_t start = le64_get(super->log_start) * DXF_BLOCK_SIZE;
    uint64_t length =
        (uint64_t)le32_get(super->log_count) * le32_get(super->log_blocks) * DXF_BLOCK_SIZE;
    memcpy(to->memory + start, from->memory + start, length);
    memcpy(to->memory + DXF_BLOCK_SIZE, from->memory + DXF_BLOCK_SIZE, DXF_BLOCK_SIZE);
}

/* Once, before the cases: most of them fill the logs, and where retirement frees none a commit looks for
 * room for ever. It is busy with that: a limit on the program's own time ends it. */
static void full_logs_are_freed(void)
{
    const struct itimerval limit = { .it_value.tv_sec = 5 }, none = { 0 };
    struct pool_fixture fixture;
    setitimer(ITIMER_VIRTUAL, &limit, NULL);
    pool_fixture_create(&fixture, POOL_BYTES);
    for (unsigned i = 0; i < POOL_BYTES / 8192; i++)
        ck_assert_int_eq(commit_cells(fixture.journal, i, i, 8192), 0);
    pool_fixture_destroy(&fixture);
    setitimer(ITIMER_VIRTUAL, &none, NULL);
}

START_TEST(commit_then_replay_gives_the_same_bytes)
{
    struct pool_fixture live, crashed;
    struct journal_replayed counts;
    uint8_t big[DXF_RECORD_LENGTH_MAX / 2];
    memset(big, 0x5a, sizeof(big));
    pool_fixture_create(&live, POOL_BYTES);
    pool_fixture_create(&crashed, POOL_BYTES);
    memset(crashed.memory + FILLER_OFFSET, 0xee, 40000);
    const struct journal_record records[] = {
        { FILLER_OFFSET + 3, 5, "abcde" },
        { FILLER_OFFSET + 64, sizeof(big), big },
        { FILLER_OFFSET + 20000, 20000, NULL },
    };
    uint64_t sequence[2];
    ck_assert_int_eq(journal_commit(live.journal, records, 2, false, &sequence[0]), 0);
    ck_assert_int_eq(journal_commit(live.journal, records + 2, 1, true, &sequence[1]), 0);
    ck_assert_uint_eq(sequence[1], sequence[0] + 1);
    copy_logs(&crashed, &live);
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(journal_replay(crashed.pool, &counts), 0);
        ck_assert_uint_eq(counts.entries, again ? 0 : 2);
        ck_assert_uint_eq(counts.last_sequence, sequence[1]);
        ck_assert_mem_eq(crashed.memory + FILLER_OFFSET + 3, "abcde", 5);
        ck_assert_mem_eq(crashed.memory + FILLER_OFFSET + 64, big, sizeof(big));
        for (unsigned i = 0; i < 20000; i++)
            ck_assert_uint_eq(crashed.memory[FILLER_OFFSET + 20000 + i], 0);
    }
    ck_assert_mem_eq(live.memory + FILLER_OFFSET + 3, "abcde", 5);
    pool_fixture_destroy(&crashed);
    pool_fixture_destroy(&live);
}
END_TEST

START_TEST(capacity_is_a_quarter_of_a_log)
{
    struct pool_fixture fixture;
    pool_fixture_create(&fixture, POOL_BYTES);
    uint32_t capacity = journal_capacity(fixture.journal);
    ck_assert_uint_eq(capacity, le32_get(fixture.pool->super.log_blocks) * 1024 -
                                    sizeof(struct dxf_log_entry));
    uint8_t *bytes = calloc(1, capacity);
    struct journal_record record = { FILLER_OFFSET, capacity - 8, bytes };
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(journal_commit(fixture.journal, &record, 1, false, NULL), 0);
    record.length++;
    ck_assert_int_eq(journal_commit(fixture.journal, &record, 1, false, NULL), -E2BIG);
    free(bytes);
    pool_fixture_destroy(&fixture);
}
END_TEST

START_TEST(a_failed_pool_takes_no_commit)
{
    struct pool_fixture fixture;
    pool_fixture_create(&fixture, POOL_BYTES);
    pool_fail(fixture.pool, "test");
    ck_assert_int_eq(commit_cells(fixture.journal, 7, 0, 0), -EIO);
    ck_assert_uint_eq(cell_get(fixture.pool, 0), 0);
    pool_fixture_destroy(&fixture);
}
END_TEST

/* §5: one fence for the entry, one more for data; retirement is a small part. */
START_TEST(costs_of_a_commit)
{
    struct pool_fixture fixture;
    struct persist_counters before, after;
    const unsigned rounds = 2000;
    pool_fixture_create(&fixture, POOL_BYTES);
    persist_get_counters(fixture.pool->persist, &before);
    for (unsigned i = 0; i < rounds; i++) {
        ck_assert_int_eq(commit_cells(fixture.journal, i, i, 0), 0);
        journal_balance(fixture.journal);
    }
    ck_assert_int_eq(journal_retire(fixture.journal), 0);
    persist_get_counters(fixture.pool->persist, &after);
    ck_assert_uint_le(after.fences - before.fences, rounds * 105 / 100);
    ck_assert_uint_le(after.flushed[PERSIST_METADATA] - before.flushed[PERSIST_METADATA],
                      rounds * 2 * DXF_LINE_SIZE * 105 / 100); /* 24 + 4 * 16 bytes: two lines */
    pool_fixture_destroy(&fixture);
}
END_TEST

/* ---- crashes ---------------------------------------------------------------------------------- */

enum mutation {
    MUTATION_NONE,
    MUTATION_NO_FLUSH,       /* of the lines in place */
    MUTATION_NO_ENTRY_FENCE, /* after an entry was copied to its log */
    MUTATION_NO_LINES_FENCE, /* after the lines were flushed */
    MUTATION_NO_SLOT_FENCE,  /* after a retire slot */
    MUTATIONS
};

struct crash_run {
    struct crash_device device;
    struct pool_fixture fixture;
    enum mutation mutation;
    enum { LAST_OTHER, LAST_LOG, LAST_SLOT } last; /* what the last event but fences was for */
    uint64_t states[512][CELLS];                   /* after commit i */
    unsigned returned;                             /* commits whose call has returned */
    unsigned checked, wrong;
    unsigned images; /* at each fence */
};

static bool run_ignore(void *arg, const struct persist_event *event)
{
    struct crash_run *run = arg;
    const struct dxf_super *super = &run->fixture.pool->super;
    uint64_t block = event->offset / DXF_BLOCK_SIZE, start = le64_get(super->log_start);
    bool ignore = false;
    switch (run->mutation) {
    case MUTATION_NO_FLUSH:
        ignore = event->kind == PERSIST_EVENT_FLUSH;
        break;
    case MUTATION_NO_ENTRY_FENCE:
        ignore = event->kind == PERSIST_EVENT_FENCE && run->last == LAST_LOG;
        break;
    case MUTATION_NO_LINES_FENCE:
        ignore = event->kind == PERSIST_EVENT_FENCE && run->last == LAST_OTHER;
        break;
    case MUTATION_NO_SLOT_FENCE:
        ignore = event->kind == PERSIST_EVENT_FENCE && run->last == LAST_SLOT;
        break;
    default:
        break;
    }
    if (event->kind != PERSIST_EVENT_FENCE)
        run->last = block == DXF_JOURNAL_BLOCK ? LAST_SLOT
                    : block >= start && block < start + (uint64_t)le32_get(super->log_count) *
                                                            le32_get(super->log_blocks)
                        ? LAST_LOG
                        : LAST_OTHER;
    return ignore;
}

static bool image_is_state(const struct pool *image, const uint64_t state[CELLS])
{
    for (unsigned i = 0; i < CELLS; i++)
        if (cell_get(image, i) != state[i])
            return false;
    return true;
}

/* All that returned is there, and the one that is running wholly or not at all; also when the
 * recovery is itself cut off and done again. */
static void run_check(struct crash_run *run, bool all)
{
    struct pool *image = crash_device_image(&run->device, all);
    struct journal_replayed counts;
    bool right = true;
    for (int i = 0; i < 2 && right; i++)
        right = journal_replay(image, &counts) == 0 &&
                (image_is_state(image, run->states[run->returned]) ||
                 image_is_state(image, run->states[run->returned + 1]));
    run->checked++;
    run->wrong += !right;
    crash_device_image_close(image);
}

static void run_on_fence(void *arg, struct crash_device *device, uint32_t thread)
{
    struct crash_run *run = arg;
    (void)device;
    (void)thread;
    for (unsigned i = 0; i < run->images; i++)
        run_check(run, i == 0);
}

/* So that both logs have entries of all times, where there are two CPUs. */
static bool change_cpu(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu % 2, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0;
}

/* Commits of mixed sizes; balance: retired early, else only when a log is full. */
static void crash_run(struct crash_run *run, uint64_t seed, unsigned commits, bool balance)
{
    run->device.random = seed;
    run->device.on_fence = run_on_fence;
    run->device.ignore = run_ignore;
    run->device.arg = run;
    pool_fixture_create_with(&run->fixture, POOL_BYTES, crash_device_persist, &run->device);
    for (unsigned i = 0; i < commits; i++) {
        uint64_t state = seed + i;
        change_cpu(i);
        unsigned first = test_random(&state) % CELLS;
        uint32_t filler = test_random(&state) % 3 ? test_random(&state) % 12000 + 1 : 0;
        memcpy(run->states[i + 1], run->states[i], sizeof(run->states[i]));
        for (unsigned j = 0; j < 4; j++)
            run->states[i + 1][(first + j * 5) % CELLS] = i + 1;
        memcpy(run->states[i + 2], run->states[i + 1], sizeof(run->states[i]));
        ck_assert_int_eq(commit_cells(run->fixture.journal, i + 1, first, filler), 0);
        run->returned = i + 1;
        if (balance)
            journal_balance(run->fixture.journal);
        if (i % 7 == 0)
            run_check(run, false);
    }
    run->images = 0;
    pool_fixture_destroy(&run->fixture);
    crash_device_destroy(&run->device);
}

START_TEST(l4_every_crash_leaves_whole_transactions)
{
    struct crash_run *run = calloc(1, sizeof(*run));
    run->images = 4;
    crash_run(run, 1000 + (unsigned)_i, 90, _i % 2);
    ck_assert_uint_gt(run->checked, 300);
    ck_assert_uint_eq(run->wrong, 0);
    free(run);
}
END_TEST

START_TEST(l4_a_missing_flush_or_fence_is_noticed)
{
    unsigned wrong = 0;
    if (_i == MUTATION_NO_SLOT_FENCE && !change_cpu(1))
        return; /* with one log in use, a late slot harms nobody */
    for (uint64_t seed = 1; seed < 6 && wrong == 0; seed++) {
        struct crash_run *run = calloc(1, sizeof(*run));
        run->images = 4;
        run->mutation = (enum mutation)_i;
        crash_run(run, seed, 60, false);
        wrong += run->wrong;
        free(run);
    }
    ck_assert_uint_gt(wrong, 0);
}
END_TEST

/* ---- threads ---------------------------------------------------------------------------------- */

#define THREADS 4u
#define THREAD_COMMITS 1500u

struct thread_run {
    struct pool_fixture fixture;
    struct crash_device device;
    _Atomic uint64_t returned[THREADS];
    _Atomic bool stop;
    unsigned fences, checked;
    bool failed;
};

struct thread_arg {
    struct thread_run *run;
    unsigned thread;
    unsigned commits;
};

/* Each thread has a pair of cells of its own, always equal after a crash. */
static void *thread_commit(void *arg)
{
    struct thread_arg *mine = arg;
    for (uint64_t value = 1; value <= mine->commits; value++) {
        const struct journal_record records[] = {
            { cell_offset(mine->thread * 2), 8, &value },
            { cell_offset(mine->thread * 2 + 1), 8, &value },
            { FILLER_OFFSET + mine->thread * 8192, 700, NULL },
        };
        if (journal_commit(mine->run->fixture.journal, records, 3, value % 2, NULL) != 0)
            mine->run->failed = true;
        atomic_store(&mine->run->returned[mine->thread], value);
        if (value % 3 == 0)
            journal_balance(mine->run->fixture.journal);
    }
    return NULL;
}

static void *thread_retire(void *arg)
{
    struct thread_run *run = arg;
    uint64_t last = 0;
    while (!atomic_load(&run->stop)) {
        if (journal_retire(run->fixture.journal) != 0 ||
            journal_retired(run->fixture.journal) < last)
            run->failed = true;
        last = journal_retired(run->fixture.journal);
        struct timespec pause = { .tv_nsec = 200000 };
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void threads_run(struct thread_run *run, unsigned commits)
{
    pthread_t threads[THREADS], retirer;
    struct thread_arg args[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        args[i] = (struct thread_arg){ run, i, commits };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_commit, &args[i]), 0);
    }
    ck_assert_int_eq(pthread_create(&retirer, NULL, thread_retire, run), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&run->stop, true);
    pthread_join(retirer, NULL);
    ck_assert(!run->failed);
}

START_TEST(threads_and_retirement)
{
    static struct thread_run run;
    struct journal_stats stats;
    pool_fixture_create(&run.fixture, POOL_BYTES);
    threads_run(&run, THREAD_COMMITS);
    journal_get_stats(run.fixture.journal, &stats);
    ck_assert_uint_eq(stats.commits, THREADS * THREAD_COMMITS);
    ck_assert_uint_eq(stats.sequence, THREADS * THREAD_COMMITS);
    ck_assert_uint_ge(stats.retirements, 2);
    pool_fixture_reopen(&run.fixture);
    for (unsigned i = 0; i < THREADS * 2; i++)
        ck_assert_uint_eq(cell_get(run.fixture.pool, i), THREAD_COMMITS);
    pool_fixture_destroy(&run.fixture);
}
END_TEST

static void threads_on_fence(void *arg, struct crash_device *device, uint32_t thread)
{
    struct thread_run *run = arg;
    struct journal_replayed counts;
    uint64_t floor[THREADS];
    (void)thread;
    if (run->fences++ % 16 != 0)
        return;
    for (unsigned i = 0; i < THREADS; i++)
        floor[i] = atomic_load(&run->returned[i]);
    struct pool *image = crash_device_image(device, false);
    bool right = journal_replay(image, &counts) == 0;
    for (unsigned i = 0; i < THREADS; i++) {
        uint64_t value = cell_get(image, i * 2);
        /* At most one more than has returned is on its way; the call may return meanwhile. */
        right = right && value == cell_get(image, i * 2 + 1) && value >= floor[i] &&
                value <= atomic_load(&run->returned[i]) + 1;
    }
    if (!right)
        run->failed = true;
    run->checked++;
    crash_device_image_close(image);
}

START_TEST(l4_crashes_among_threads)
{
    static struct thread_run run;
    run.device.random = 99;
    run.device.on_fence = threads_on_fence;
    run.device.arg = &run;
    pool_fixture_create_with(&run.fixture, POOL_BYTES, crash_device_persist, &run.device);
    threads_run(&run, 250);
    ck_assert_uint_gt(run.checked, 40);
    run.device.on_fence = NULL;
    pool_fixture_destroy(&run.fixture);
    crash_device_destroy(&run.device);
}
END_TEST

/* ---- damage ----------------------------------------------------------------------------------- */

static struct dxf_retire *slot_of(const struct pool_fixture *fixture, unsigned slot)
{
    return (struct dxf_retire *)(fixture->memory + DXF_BLOCK_SIZE + slot * DXF_RETIRE_STRIDE);
}

/* J6: whichever slot is lost, at whatever moment, the other one is enough. */
START_TEST(one_damaged_slot_loses_nothing)
{
    struct pool_fixture fixture;
    struct journal_replayed counts;
    uint64_t state[CELLS] = { 0 }, random = 5;
    pool_fixture_create(&fixture, POOL_BYTES);
    for (unsigned i = 1; i < 400; i++) {
        unsigned first = test_random(&random) % CELLS;
        change_cpu(i / 3);
        ck_assert_int_eq(commit_cells(fixture.journal, i, first, test_random(&random) % 9000), 0);
        for (unsigned j = 0; j < 4; j++)
            state[(first + j * 5) % CELLS] = i;
        if (i % (i < 200 ? 3 : 40) == 0)
            journal_balance(fixture.journal);
        for (unsigned slot = 0; slot < 2 && i % 5 == 0; slot++) {
            struct pool_fixture image;
            pool_fixture_create(&image, POOL_BYTES);
            memcpy(image.memory, fixture.memory, fixture.size);
            slot_of(&image, slot)->retired.raw ^= 1;
            ck_assert_int_eq(journal_replay(image.pool, &counts), 0);
            ck_assert(image_is_state(image.pool, state));
            ck_assert_ptr_null(validate_retire(slot_of(&image, 0), 0, &image.pool->super));
            ck_assert_ptr_null(validate_retire(slot_of(&image, 1), 1, &image.pool->super));
            /* Its own journal was opened before all this: leave it alone. */
            atomic_store(&image.pool->failed, true);
            pool_fixture_destroy(&image);
        }
    }
    pool_fixture_destroy(&fixture);
}
END_TEST

/* A slot with a right checksum that says less than what was retired: what the logs still hold of before is
 * behind new entries, and must not be taken for their continuation. */
START_TEST(a_slot_that_says_too_little)
{
    for (unsigned slots = 1; slots <= 2; slots++) { /* which is sound */
        struct pool_fixture fixture;
        struct journal_replayed counts;
        pool_fixture_create(&fixture, POOL_BYTES);
        change_cpu(0); /* all in one log */
        for (unsigned i = 1; i < 200; i++)
            ck_assert_int_eq(commit_cells(fixture.journal, i, i, 0), 0);
        journal_close(fixture.journal);
        for (unsigned slot = 0; slot < 2; slot++) {
            slot_of(&fixture, slot)->retired = le64_make(50);
            memset(slot_of(&fixture, slot)->tail, 0, sizeof(slot_of(&fixture, slot)->tail));
            seal_retire(slot_of(&fixture, slot), slot);
            if (!(slots >> slot & 1))
                slot_of(&fixture, slot)->csum.raw ^= 1;
        }
        ck_assert_int_eq(journal_replay(fixture.pool, &counts), 0);
        ck_assert_int_eq(journal_open(fixture.pool, &fixture.journal), 0);
        for (unsigned i = 0; i < 4; i++) /* 39 lines each; of those before each has two */
            ck_assert_int_eq(commit_cells(fixture.journal, i, i, 2400), 0);
        ck_assert_int_eq(journal_retire(fixture.journal), 0);
        ck_assert_int_eq(journal_replay(fixture.pool, &counts), 0);
        ck_assert_uint_eq(counts.entries, 0);
        pool_fixture_destroy(&fixture);
    }
}
END_TEST

START_TEST(both_slots_damaged)
{
    struct pool_fixture fixture;
    struct journal_replayed counts;
    pool_fixture_create(&fixture, POOL_BYTES);
    slot_of(&fixture, 0)->generation.raw ^= 4;
    slot_of(&fixture, 1)->tail[0].raw ^= 4;
    ck_assert_int_eq(journal_replay(fixture.pool, &counts), -EUCLEAN);
    atomic_store(&fixture.pool->failed, true);
    pool_fixture_destroy(&fixture);
}
END_TEST

/* An entry made by hand at the start of log 0. */
static void entry_forge(struct pool_fixture *fixture, uint64_t sequence, uint64_t record,
                        uint32_t data_bytes, uint32_t claimed_bytes)
{
    uint8_t *place = fixture->memory + le64_get(fixture->pool->super.log_start) * DXF_BLOCK_SIZE;
    struct dxf_log_entry *entry = (struct dxf_log_entry *)place;
    memset(place, 0x11, 40 + data_bytes);
    *entry = (struct dxf_log_entry){
        .magic = le32_make(DXF_LOG_MAGIC),
        .bytes = le32_make(claimed_bytes),
        .sequence = le64_make(sequence),
    };
    *(le64 *)(place + sizeof(*entry)) = le64_make(record);
    entry->csum =
        le64_make(checksum64(place, claimed_bytes, le64_get(fixture->pool->super.log_seed)));
}

static uint64_t record_word(uint64_t offset, uint64_t length)
{
    return offset | length << DXF_RECORD_LENGTH_SHIFT;
}

START_TEST(j5_replay_refuses_what_no_entry_may_touch)
{
    struct pool_fixture fixture;
    struct journal_replayed counts;
    pool_fixture_create(&fixture, POOL_BYTES);
    uint64_t log = le64_get(fixture.pool->super.log_start) * DXF_BLOCK_SIZE;
    const uint64_t records[] = {
        record_word(0, 8),
        record_word(DXF_BLOCK_SIZE - 1, 1),
        record_word(DXF_BLOCK_SIZE, 8),
        record_word(2 * DXF_BLOCK_SIZE - 8, 16),
        record_word(DXF_SPARE_BLOCK * DXF_BLOCK_SIZE + 100, 8),
        record_word(log + 4096, 8),
        record_word(log - 4, 8),
        record_word(POOL_BYTES - 4, 8),
        record_word(POOL_BYTES, 8),
        record_word(DXF_RECORD_OFFSET_MASK, 8),
        record_word(700 * DXF_BLOCK_SIZE, 0),
        record_word(700 * DXF_BLOCK_SIZE, 17) /* its data are cut off */,
        record_word(POOL_BYTES - 16, 17) | DXF_RECORD_ZERO,
    };
    uint8_t *before = malloc(POOL_BYTES);
    for (unsigned i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        entry_forge(&fixture, 1, records[i], 16, 48);
        memcpy(before, fixture.memory, POOL_BYTES);
        ck_assert_int_eq(journal_replay(fixture.pool, &counts), -EUCLEAN);
        ck_assert_mem_eq(before, fixture.memory, POOL_BYTES);
    }
    entry_forge(&fixture, 1, record_word(POOL_BYTES - 16, 16), 16, 48);
    ck_assert_int_eq(journal_replay(fixture.pool, &counts), 0);
    ck_assert_uint_eq(counts.entries, 1);
    free(before);
    atomic_store(&fixture.pool->failed, true);
    pool_fixture_destroy(&fixture);
}
END_TEST

START_TEST(j1_what_is_no_entry_ends_the_log)
{
    struct pool_fixture fixture;
    struct journal_replayed counts;
    pool_fixture_create(&fixture, POOL_BYTES);
    uint64_t record = record_word(700 * DXF_BLOCK_SIZE, 16);
    uint8_t *log = fixture.memory + le64_get(fixture.pool->super.log_start) * DXF_BLOCK_SIZE;
    for (unsigned kind = 0; kind < 5; kind++) {
        entry_forge(&fixture, kind == 0 ? 0 : kind == 1 ? UINT64_MAX : 9, record, 16, 48);
        if (kind == 2)
            log[44] ^= 1;
        else if (kind == 3)
            log[4] = 20; /* bytes, less than a header */
        else if (kind == 4)
            memset(log + 4, 0xff, 4);
        ck_assert_int_eq(journal_replay(fixture.pool, &counts), 0);
        ck_assert_uint_eq(counts.entries, 0);
    }
    atomic_store(&fixture.pool->failed, true);
    pool_fixture_destroy(&fixture);
}
END_TEST

/* L6: whatever is in the log, with right checksums or not. */
START_TEST(l6_replay_of_anything)
{
    struct pool_fixture fixture;
    struct journal_replayed counts;
    uint64_t random = 77;
    pool_fixture_create(&fixture, POOL_BYTES);
    for (unsigned i = 0; i < 3000; i++) {
        uint32_t bytes = 24 + test_random(&random) % 40 * 8;
        entry_forge(&fixture, i + 1, test_random(&random), 512, bytes);
        if (i % 3 == 0)
            fixture.memory[le64_get(fixture.pool->super.log_start) * DXF_BLOCK_SIZE +
                           test_random(&random) % 100] ^= 1u << test_random(&random) % 8;
        int error = journal_replay(fixture.pool, &counts);
        ck_assert(error == 0 || error == -EUCLEAN);
    }
    atomic_store(&fixture.pool->failed, true);
    pool_fixture_destroy(&fixture);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal");
    TCase *tc = tcase_create("journal");
    tcase_set_timeout(tc, 30);
    tcase_add_unchecked_fixture(tc, full_logs_are_freed, NULL);
    tcase_add_test(tc, commit_then_replay_gives_the_same_bytes);
    tcase_add_test(tc, capacity_is_a_quarter_of_a_log);
    tcase_add_test(tc, a_failed_pool_takes_no_commit);
    tcase_add_test(tc, costs_of_a_commit);
    tcase_add_loop_test(tc, l4_every_crash_leaves_whole_transactions, 0, 4);
    tcase_add_loop_test(tc, l4_a_missing_flush_or_fence_is_noticed, 1, MUTATIONS);
    tcase_add_test(tc, threads_and_retirement);
    tcase_add_test(tc, l4_crashes_among_threads);
    tcase_add_test(tc, one_damaged_slot_loses_nothing);
    tcase_add_test(tc, a_slot_that_says_too_little);
    tcase_add_test(tc, both_slots_damaged);
    tcase_add_test(tc, j5_replay_refuses_what_no_entry_may_touch);
    tcase_add_test(tc, j1_what_is_no_entry_ends_the_log);
    tcase_add_test(tc, l6_replay_of_anything);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
