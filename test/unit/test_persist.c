/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* media/persist: the counters, the three implementations, threads. */
#include "media/persist.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE (4u << 20)

static uint8_t *base;
static struct persist *persist;
static int fd = -1;

static void memory_setup(void)
{
    base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(base, MAP_FAILED);
}

static void file_setup_at(const char *folder)
{
    char path[100];

    snprintf(path, sizeof(path), "%s/test_persist.XXXXXX", folder);
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(ftruncate(fd, SIZE), 0);
    base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(base, MAP_FAILED);
}

/* A file on whatever the build directory is on: a disk, if there is one. */
static void file_setup(void)
{
    file_setup_at(".");
}

static void teardown(void)
{
    persist_close(persist);
    persist = NULL;
    munmap(base, SIZE);
    if (fd >= 0)
        close(fd);
    fd = -1;
}

static struct persist_counters counters(void)
{
    struct persist_counters now;

    persist_get_counters(persist, &now);
    return now;
}

static void assert_counters(uint64_t stores, uint64_t data, uint64_t metadata, uint64_t fences)
{
    struct persist_counters now = counters();

    ck_assert_uint_eq(now.stores, stores);
    ck_assert_uint_eq(now.flushed[PERSIST_DATA], data);
    ck_assert_uint_eq(now.flushed[PERSIST_METADATA], metadata);
    ck_assert_uint_eq(now.fences, fences);
}

/* ---- counters -------------------------------------------------------------------------------- */

static void counts(void)
{
    uint8_t bytes[200];

    memset(bytes, 'b', sizeof(bytes));
    assert_counters(0, 0, 0, 0);
    ck_assert_int_eq(persist_drain(persist), 0);
    assert_counters(0, 0, 0, 0); /* nothing to wait for */

    persist_store(persist, base + 100, bytes, 8);
    ck_assert_int_eq(persist_drain(persist), 0);
    assert_counters(1, 0, 0, 0); /* a store alone is not on its way */
    ck_assert_mem_eq(base + 100, bytes, 8);

    persist_flush(persist, base + 100, 8, PERSIST_METADATA);
    ck_assert_int_eq(persist_drain(persist), 0);
    assert_counters(1, 0, 64, 1);
    ck_assert_int_eq(persist_drain(persist), 0);
    assert_counters(1, 0, 64, 1);

    persist_copy(persist, base + 63, bytes, 2, PERSIST_DATA); /* two lines */
    persist_copy(persist, base + 64, bytes, 64, PERSIST_DATA);
    persist_set(persist, base + 4096, 'x', 4096, PERSIST_METADATA);
    ck_assert_int_eq(persist_drain(persist), 0);
    assert_counters(4, 192, 64 + 4096, 2);
    ck_assert_mem_eq(base + 63, bytes, 65);
    for (int i = 0; i < 4096; i++)
        ck_assert_int_eq(base[4096 + i], 'x');
    ck_assert_int_eq(base[8192], 0);

    persist_store64(persist, base + 4096, 0x1122334455667788ull);
    ck_assert_uint_eq(*(uint64_t *)(base + 4096), 0x1122334455667788ull);
    assert_counters(5, 192, 64 + 4096, 2);

    persist_store(persist, base + SIZE, bytes, 0);
    persist_copy(persist, base + SIZE, bytes, 0, PERSIST_DATA);
    persist_flush(persist, base + SIZE, 0, PERSIST_DATA);
    ck_assert_int_eq(persist_drain(persist), 0);
    assert_counters(5, 192, 64 + 4096, 2);
}

START_TEST(pmem_counts)
{
    memory_setup();
    ck_assert_int_eq(persist_open_pmem(base, SIZE, &persist), 0);
    counts();
    ck_assert_uint_eq(counters().syncs, 0);
}
END_TEST

START_TEST(paged_counts)
{
    file_setup();
    ck_assert_int_eq(persist_open_paged(base, SIZE, fd, true, &persist), 0);
    counts();
    ck_assert_uint_eq(counters().syncs, 2);
}
END_TEST

START_TEST(process_counts_and_never_syncs)
{
    file_setup();
    ck_assert_int_eq(persist_open_paged(base, SIZE, fd, false, &persist), 0);
    counts();
    ck_assert_uint_eq(counters().syncs, 0);
}
END_TEST

/* ---- paged ----------------------------------------------------------------------------------- */

static void touch(uint64_t page, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++)
        base[(page + i) * 4096] ^= 1;
    persist_flush(persist, base + page * 4096, pages * 4096, PERSIST_DATA);
}

static uint64_t syncs_of_drain(void)
{
    uint64_t before = counters().syncs;

    ck_assert_int_eq(persist_drain(persist), 0);
    return counters().syncs - before;
}

/* Without a descriptor only the msync of a single range can succeed. */
START_TEST(paged_merges_ranges)
{
    file_setup();
    ck_assert_int_eq(persist_open_paged(base, SIZE, -1, true, &persist), 0);

    /* Overlapping ones. */
    touch(20, 5);
    touch(13, 8);
    touch(22, 1);
    touch(10, 30);
    ck_assert_uint_eq(syncs_of_drain(), 1);

    /* Touching ones, a gap filled last. */
    touch(10, 1);
    touch(12, 2);
    touch(11, 1);
    ck_assert_uint_eq(syncs_of_drain(), 1);
    touch(10, 1);
    touch(11, 1);
    touch(9, 1);
    ck_assert_uint_eq(syncs_of_drain(), 1);
}
END_TEST

START_TEST(paged_many_ranges)
{
    file_setup();
    ck_assert_int_eq(persist_open_paged(base, SIZE, fd, true, &persist), 0);

    /* Several ranges: one submission, if the kernel has rings. */
    persist_copy(persist, base + 100 * 4096, "c", 1, PERSIST_DATA);
    ck_assert_uint_eq(syncs_of_drain(), 1);
    persist_set(persist, base + 100 * 4096, 's', 1, PERSIST_DATA);
    ck_assert_uint_eq(syncs_of_drain(), 1);
    touch(100, 1);
    touch(50, 1);
    touch(70, 1);
    ck_assert_uint_le(syncs_of_drain(), 3);

    /* More than the list holds, from the last to the first. */
    for (uint64_t i = 0; i < 200; i++)
        touch(800 - i * 4, 1);
    ck_assert_uint_le(syncs_of_drain(), 32);
    ck_assert_uint_eq(syncs_of_drain(), 0);
}
END_TEST

/* Pages of the file that its page cache still has dirty. */
static bool page_is_dirty(uint64_t page)
{
    uint64_t entry = 0;
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
    bool dirty = false;

    if (pread(pagemap, &entry, 8, (off_t)((uintptr_t)(base + page * 4096) / 4096 * 8)) == 8 &&
        pread(flags, &entry, 8, (off_t)((entry & ((1ull << 55) - 1)) * 8)) == 8)
        dirty = entry & (1u << 4); /* KPF_DIRTY */
    close(pagemap);
    close(flags);
    return dirty;
}

/* Not on tmpfs, where every page is dirty for ever, nor where the kernel does not tell. */
static bool pages_get_clean(void)
{
    bool was_dirty;

    base[0] ^= 1;
    was_dirty = page_is_dirty(0);
    ck_assert_int_eq(msync(base, 4096, MS_SYNC), 0);
    return was_dirty && !page_is_dirty(0);
}

/* What a drain has returned for is written out: asked of the kernel, where it tells. */
START_TEST(paged_drain_writes_out)
{
    static const uint64_t pages[] = { 3, 300, 7, 900, 500, 8, 9 };
    const size_t count = sizeof(pages) / sizeof(pages[0]);
    bool can_tell;

    file_setup();
    if (!pages_get_clean()) { /* a build directory in memory; this one outlives a reboot */
        teardown();
        file_setup_at("/var/tmp");
    }
    can_tell = pages_get_clean();
    ck_assert_int_eq(persist_open_paged(base, SIZE, fd, true, &persist), 0);
    for (size_t i = 0; i < count; i++)
        touch(pages[i], 1);
    base[600 * 4096] ^= 1; /* sent nowhere: stays dirty, or the test can not tell */
    can_tell = can_tell && page_is_dirty(3) && page_is_dirty(600);
    ck_assert_int_eq(persist_drain(persist), 0);
    for (size_t i = 0; can_tell && i < count; i++)
        ck_assert_msg(!page_is_dirty(pages[i]), "page %lu", (unsigned long)pages[i]);
}
END_TEST

START_TEST(paged_failure_stays)
{
    file_setup();
    ck_assert_int_eq(persist_open_paged(base, SIZE, fd, true, &persist), 0);
    touch(5, 1);
    munmap(base + 5 * 4096, 4096); /* msync of what is not mapped fails */
    ck_assert_int_eq(persist_drain(persist), -EIO);
    touch(7, 1);
    ck_assert_int_eq(persist_drain(persist), -EIO);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

#define THREADS 100 /* more than there are slots */
#define ROUNDS 50

static pthread_barrier_t barrier;

static void *thread_body(void *arg)
{
    uint8_t *mine = base + (uintptr_t)arg * 4096;
    uint64_t value = (uintptr_t)arg;

    pthread_barrier_wait(&barrier); /* all are alive at once */
    for (int i = 0; i < ROUNDS; i++) {
        persist_store(persist, mine, &value, 8);
        persist_flush(persist, mine, 8, PERSIST_METADATA);
        persist_copy(persist, mine + 64, &value, 8, PERSIST_DATA);
        ck_assert_int_eq(persist_drain(persist), 0);
    }
    pthread_barrier_wait(&barrier);
    persist_copy(persist, mine + 128, &value, 8, PERSIST_DATA); /* left outstanding */
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[THREADS];
    struct persist_counters now;

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_body, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);

    now = counters();
    ck_assert_uint_eq(now.stores, THREADS * (2 * ROUNDS + 1));
    ck_assert_uint_eq(now.flushed[PERSIST_METADATA], THREADS * ROUNDS * 64);
    ck_assert_uint_eq(now.flushed[PERSIST_DATA], THREADS * (ROUNDS + 1) * 64);
    ck_assert_uint_le(now.fences, THREADS * ROUNDS);
    ck_assert_uint_ge(now.fences, ROUNDS);
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_uint_eq(*(uint64_t *)(base + i * 4096), i);
}

START_TEST(pmem_threads)
{
    memory_setup();
    ck_assert_int_eq(persist_open_pmem(base, SIZE, &persist), 0);
    run_threads();
}
END_TEST

START_TEST(process_threads)
{
    memory_setup();
    ck_assert_int_eq(persist_open_paged(base, SIZE, -1, false, &persist), 0);
    run_threads();
}
END_TEST

/* A file in memory: writing out costs only the system calls. */
START_TEST(paged_threads)
{
    fd = memfd_create("test_persist", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, SIZE), 0);
    base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(base, MAP_FAILED);
    ck_assert_int_eq(persist_open_paged(base, SIZE, fd, true, &persist), 0);
    run_threads();
}
END_TEST

static void *slot_body(void *arg)
{
    *(unsigned *)arg = persist_thread_slot();
    return NULL;
}

START_TEST(slots_are_given_back)
{
    unsigned slot = 0, mine = persist_thread_slot();

    ck_assert_uint_lt(mine, PERSIST_SLOT_SHARED);
    for (int i = 0; i < 200; i++) {
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, slot_body, &slot), 0);
        pthread_join(thread, NULL);
        ck_assert_uint_lt(slot, PERSIST_SLOT_SHARED);
        ck_assert_uint_ne(slot, mine);
    }
    memory_setup();
}
END_TEST

/* ---- recording ------------------------------------------------------------------------------- */

#define EVENTS_MAX 16

static struct persist_event events[EVENTS_MAX];
static uint8_t first_bytes[EVENTS_MAX];
static unsigned event_count;

static void on_event(void *arg, const struct persist_event *event)
{
    ck_assert_ptr_eq(arg, &event_count);
    ck_assert_uint_lt(event_count, EVENTS_MAX);
    if (event->bytes != NULL)
        first_bytes[event_count] = event->bytes[0];
    events[event_count++] = *event;
}

static void assert_event(unsigned at, enum persist_event_kind kind, uint64_t offset,
                         uint32_t length)
{
    ck_assert_uint_lt(at, event_count);
    ck_assert_int_eq((int)events[at].kind, (int)kind);
    ck_assert_uint_eq(events[at].offset, offset);
    ck_assert_uint_eq(events[at].length, length);
    ck_assert_uint_eq(events[at].thread, persist_thread_slot());
}

static void record(bool pmem, uint64_t unit)
{
    uint8_t bytes[100];

    memory_setup();
    memset(bytes, 'q', sizeof(bytes));
    ck_assert_int_eq(persist_open_recording(base, SIZE, pmem, on_event, &event_count, &persist), 0);
    persist_drain(persist);
    persist_store(persist, base + 10, bytes, 100);
    persist_drain(persist);
    persist_flush(persist, base + 10, 100, PERSIST_METADATA);
    persist_copy(persist, base + 5000, bytes, 7, PERSIST_DATA);
    persist_drain(persist);
    persist_drain(persist);
    persist_set(persist, base + 9000, 's', 50, PERSIST_DATA);
    persist_store64(persist, base + 16, 0);
    persist_drain(persist);

    ck_assert_uint_eq(event_count, 7);
    assert_event(0, PERSIST_EVENT_STORE, 10, 100);
    ck_assert_int_eq(first_bytes[0], 'q');
    assert_event(1, PERSIST_EVENT_FLUSH, 0, (uint32_t)(unit == 64 ? 128 : 4096));
    assert_event(2, PERSIST_EVENT_COPY, 5000, 7);
    ck_assert_int_eq(first_bytes[2], 'q');
    assert_event(3, PERSIST_EVENT_FENCE, 0, 0);
    assert_event(4, PERSIST_EVENT_COPY, 9000, 50);
    ck_assert_int_eq(first_bytes[4], 's');
    assert_event(5, PERSIST_EVENT_STORE, 16, 8);
    ck_assert_int_eq(first_bytes[5], 0);
    assert_event(6, PERSIST_EVENT_FENCE, 0, 0);
    ck_assert_uint_eq(counters().fences, 2);
}

START_TEST(recording_as_pmem)
{
    record(true, 64);
}
END_TEST

START_TEST(recording_as_pages)
{
    record(false, 4096);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("persist");
    TCase *tcase = tcase_create("persist");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 20);
    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_test(tcase, pmem_counts);
    tcase_add_test(tcase, paged_counts);
    tcase_add_test(tcase, process_counts_and_never_syncs);
    tcase_add_test(tcase, paged_merges_ranges);
    tcase_add_test(tcase, paged_many_ranges);
    tcase_add_test(tcase, paged_drain_writes_out);
    tcase_add_test(tcase, paged_failure_stays);
    tcase_add_test(tcase, pmem_threads);
    tcase_add_test(tcase, process_threads);
    tcase_add_test(tcase, paged_threads);
    tcase_add_test(tcase, slots_are_given_back);
    tcase_add_test(tcase, recording_as_pmem);
    tcase_add_test(tcase, recording_as_pages);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
