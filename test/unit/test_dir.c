/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole directories against an array of names, through transactions, aborts and remounts; names with
 * one hash; damage. What a leaf does by itself is in test_dir_leaf.c.
 */
#include "base/checksum.h"
#include "base/endian.h"
#include "media/validate.h"
#include "meta/dir.h"
#include "meta/dir_internal.h"
#include "meta_fixture.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWNER DXF_INO_ROOT
#define INO 1000

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t draw(uint32_t below)
{
    seed = checksum64(&seed, sizeof(seed), 7);
    return (uint32_t)(seed >> 8) % below;
}

/* ---- a directory ------------------------------------------------------------------------------ */

struct oracle {
    uint64_t *ino; /* of name i; 0: not there */
    uint32_t names;
    uint32_t count;
    uint64_t fixed; /* free blocks and the directory's blocks together */
};

static struct dir_name name_of(uint32_t i, char *buffer)
{
    uint64_t random = checksum64(&i, sizeof(i), 99);
    size_t length = 8 + (i % 3 == 0 ? random % 248 : random % 24);

    if (i > 0 && i < 256 && i != '/' && i != '.') {
        buffer[0] = (char)i;
        return (struct dir_name){ buffer, 1 };
    }
    memset(buffer, 'n', length);
    for (unsigned digit = 0; digit < 8; digit++)
        buffer[digit] = "0123456789abcdef"[i >> 4 * digit & 15];
    return (struct dir_name){ buffer, length };
}

static const struct dxf_inode *root_view(struct meta_fixture *f)
{
    const struct dxf_inode *inode;

    ck_assert_int_eq(inode_view(f->meta, NULL, OWNER, &inode), 0);
    return inode;
}

static uint64_t free_blocks(struct meta_fixture *f)
{
    struct space_info info;

    space_get_info(f->space, &info);
    return info.free;
}

static void oracle_open(struct oracle *oracle, struct meta_fixture *f, uint32_t names)
{
    *oracle = (struct oracle){ .names = names, .ino = calloc(names, sizeof(uint64_t)) };
    ck_assert_ptr_nonnull(oracle->ino);
    oracle->fixed = free_blocks(f) + le64_get(root_view(f)->blocks);
}

enum change { CHANGE_INSERT, CHANGE_REMOVE, CHANGE_REPLACE };

/* One change, through a transaction of its own that may be aborted. */
static void change(struct meta_fixture *f, struct oracle *oracle, uint32_t i, enum change what,
                   bool abort)
{
    char buffer[DXF_NAME_MAX];
    struct dir_name name = name_of(i, buffer);
    uint64_t ino = INO + draw(1000000);
    struct dxf_inode *dir;
    int expected, got;
    struct txn txn;

    txn_begin(&txn, f->space);
    dir = inode_edit(f->meta, &txn, OWNER);
    ck_assert_ptr_nonnull(dir);
    if (what == CHANGE_INSERT) {
        got = dir_insert(f->meta, &txn, OWNER, dir, name, ino, DT_REG);
        expected = oracle->ino[i] != 0 ? -EEXIST : 0;
    } else if (what == CHANGE_REMOVE) {
        got = dir_remove(f->meta, &txn, OWNER, dir, name);
        expected = oracle->ino[i] == 0 ? -ENOENT : 0;
    } else {
        got = dir_replace(f->meta, &txn, OWNER, dir, name, ino, DT_REG);
        expected = oracle->ino[i] == 0 ? -ENOENT : 0;
    }
    ck_assert_int_eq(got, expected);
    if (got == 0) {
        /* Inside the transaction the change is there already. */
        struct dir_found found;

        got = dir_lookup(f->meta, &txn, OWNER, dir, name, &found);
        ck_assert_int_eq(got, what == CHANGE_REMOVE ? -ENOENT : 0);
        if (got == 0)
            ck_assert_uint_eq(found.ino, ino);
    }
    if (abort || expected != 0) {
        txn_abort(&txn);
        return;
    }
    ck_assert_int_eq(txn_commit(&txn, NULL), 0);
    oracle->count += (what == CHANGE_INSERT) - (what == CHANGE_REMOVE);
    oracle->ino[i] = what == CHANGE_REMOVE ? 0 : ino;
}

static void lookup_check(struct meta_fixture *f, const struct oracle *oracle, uint32_t i)
{
    char buffer[DXF_NAME_MAX];
    struct dir_name name = name_of(i, buffer);
    struct dir_found found;
    int got = dir_lookup(f->meta, NULL, OWNER, root_view(f), name, &found);

    ck_assert_int_eq(got, oracle->ino[i] == 0 ? -ENOENT : 0);
    if (got == 0) {
        ck_assert_uint_eq(found.ino, oracle->ino[i]);
        ck_assert_uint_eq(found.type, DT_REG);
    }
}

struct seen {
    uint32_t count;
    uint32_t stop_at; /* 0: never */
    uint64_t last;
};

static int see(void *arg, struct dir_name name, const struct dir_found *found)
{
    struct seen *seen = arg;

    (void)name;
    ck_assert(seen->count == 0 || found->cookie > seen->last);
    ck_assert_uint_ge(found->cookie, DXF_HASH_FIRST);
    seen->last = found->cookie;
    seen->count++;
    return seen->count == seen->stop_at ? 17 : 0;
}

static int count_entry(void *arg, struct dir_name name, const struct dir_found *found)
{
    struct seen *seen = arg;

    (void)name;
    ck_assert_uint_ge(found->cookie, seen->last);
    seen->last = found->cookie;
    seen->count++;
    return 0;
}

static int count_leaf(void *arg, uint64_t block, bool leaf)
{
    uint64_t *counts = arg;

    ck_assert_uint_ne(block, 0);
    counts[leaf]++;
    return 0;
}

/* What the inode says of the directory, and what the pool has left. */
static void totals_check(struct meta_fixture *f, const struct oracle *oracle)
{
    const struct dxf_inode *root = root_view(f);
    uint64_t counts[2] = { 0, 0 };
    struct seen seen = { 0 };

    ck_assert_uint_eq(le64_get(root->entries), oracle->count);
    ck_assert_int_eq(dir_iterate(f->meta, NULL, OWNER, root, 0, see, &seen), 0);
    ck_assert_uint_eq(seen.count, oracle->count);
    ck_assert_int_eq(dir_walk_blocks(f->meta, OWNER, root, count_leaf, counts), 0);
    ck_assert_uint_eq(le64_get(root->size), counts[1] * DXF_BLOCK_SIZE);
    ck_assert_uint_eq(le64_get(root->blocks), counts[0] + counts[1]);
    ck_assert_uint_eq(free_blocks(f) + le64_get(root->blocks), oracle->fixed);
    if (oracle->count == 0) {
        ck_assert_int_eq(root->layout, DXF_LAYOUT_NONE);
        ck_assert_uint_eq(le64_get(root->blocks), 0);
    }
}

START_TEST(random_operations)
{
    struct meta_fixture f;
    struct oracle oracle;

    meta_fixture_open(&f, 64);
    oracle_open(&oracle, &f, 6000);
    for (unsigned step = 0; step < 60000; step++) {
        /* The directory grows, then shrinks, by turns. */
        bool growing = step / 10000 % 2 == 0;
        uint32_t what = draw(10);
        enum change kind = what < (growing ? 6u : 2u) ? CHANGE_INSERT
                           : what < 8u                ? CHANGE_REMOVE
                                                      : CHANGE_REPLACE;

        change(&f, &oracle, draw(oracle.names), kind, draw(8) == 0);
        lookup_check(&f, &oracle, draw(oracle.names));
        if (step % 5000 == 4999) {
            totals_check(&f, &oracle);
            meta_fixture_remount(&f);
            totals_check(&f, &oracle);
        }
    }
    for (uint32_t i = 0; i < oracle.names; i++) {
        lookup_check(&f, &oracle, i);
        if (oracle.ino[i] != 0)
            change(&f, &oracle, i, CHANGE_REMOVE, false);
    }
    totals_check(&f, &oracle);
    meta_fixture_close(&f);
    free(oracle.ino);
}
END_TEST

START_TEST(many_entries)
{
    uint32_t n =
        getenv("DAXFUSE_TEST_ENTRIES") ? (uint32_t)atoi(getenv("DAXFUSE_TEST_ENTRIES")) : 200000;
    struct meta_fixture f;
    struct oracle oracle;

    meta_fixture_open(&f, 256);
    oracle_open(&oracle, &f, n);
    for (uint32_t i = 0; i < n; i++)
        change(&f, &oracle, i, CHANGE_INSERT, false);
    totals_check(&f, &oracle);
    ck_assert_uint_ge(root_view(&f)->count, 3);
    meta_fixture_remount(&f);
    totals_check(&f, &oracle);
    for (uint32_t i = 0; i < n; i++)
        lookup_check(&f, &oracle, i);
    for (uint32_t i = 0; i < n; i++)
        change(&f, &oracle, (uint32_t)(i * 7919ull % n), CHANGE_REMOVE, false);
    totals_check(&f, &oracle);
    meta_fixture_close(&f);
    free(oracle.ino);
}
END_TEST

/* What is there during the whole pass is seen once, whatever comes and goes meanwhile. */
struct pass {
    uint8_t *seen;
    uint64_t next;
    unsigned left;
};

static int pass_see(void *arg, struct dir_name name, const struct dir_found *found)
{
    struct pass *pass = arg;
    uint32_t i = 0;

    if (pass->left == 0)
        return 1;
    pass->left--;
    ck_assert_uint_ge(found->cookie, pass->next);
    pass->next = found->cookie + 1;
    if (name.length == 1) {
        i = (uint8_t)name.bytes[0];
    } else {
        for (unsigned digit = 0; digit < 8; digit++) {
            char c = name.bytes[digit];

            i |= (uint32_t)(c >= 'a' ? c - 'a' + 10 : c - '0') << 4 * digit;
        }
    }
    pass->seen[i]++;
    return 0;
}

START_TEST(iteration_under_change)
{
    enum { NAMES = 4000 };
    struct meta_fixture f;
    struct oracle oracle;

    meta_fixture_open(&f, 64);
    oracle_open(&oracle, &f, NAMES);
    for (uint32_t i = 0; i < NAMES; i++) {
        if (i % 4 != 3)
            change(&f, &oracle, i, CHANGE_INSERT, false);
    }
    for (unsigned round = 0; round < 20; round++) {
        uint8_t *seen = calloc(NAMES, 1), *touched = calloc(NAMES, 1);
        struct pass pass = { .seen = seen };
        uint64_t before;

        ck_assert(seen != NULL && touched != NULL);
        do {
            before = pass.next;
            pass.left = 1 + draw(200);
            dir_iterate(f.meta, NULL, OWNER, root_view(&f), pass.next, pass_see, &pass);
            for (unsigned k = 0; k < 20; k++) {
                uint32_t i = draw(NAMES);

                touched[i] = 1;
                change(&f, &oracle, i,
                       oracle.ino[i] == 0 ? CHANGE_INSERT
                       : draw(3) == 0     ? CHANGE_REPLACE
                                          : CHANGE_REMOVE,
                       false);
            }
            if (draw(10) == 0)
                meta_fixture_remount(&f);
        } while (pass.next != before);
        for (uint32_t i = 0; i < NAMES; i++) {
            if (touched[i])
                continue;
            ck_assert_uint_eq(seen[i], oracle.ino[i] != 0);
        }
        free(seen);
        free(touched);
    }
    totals_check(&f, &oracle);
    meta_fixture_close(&f);
    free(oracle.ino);
}
END_TEST

START_TEST(iteration_stops_and_goes_on)
{
    struct meta_fixture f;
    struct oracle oracle;
    struct seen seen = { .stop_at = 100 };

    meta_fixture_open(&f, 16);
    oracle_open(&oracle, &f, 500);
    for (uint32_t i = 0; i < 500; i++)
        change(&f, &oracle, i, CHANGE_INSERT, false);
    ck_assert_int_eq(dir_iterate(f.meta, NULL, OWNER, root_view(&f), 0, see, &seen), 17);
    ck_assert_uint_eq(seen.count, 100);
    seen.stop_at = 0;
    ck_assert_int_eq(dir_iterate(f.meta, NULL, OWNER, root_view(&f), seen.last + 1, see, &seen), 0);
    ck_assert_uint_eq(seen.count, 500);
    ck_assert_int_eq(dir_iterate(f.meta, NULL, OWNER, root_view(&f), UINT64_MAX, see, &seen), 0);
    ck_assert_uint_eq(seen.count, 500);
    meta_fixture_close(&f);
    free(oracle.ino);
}
END_TEST

/* ---- collisions ------------------------------------------------------------------------------- */

static int insert_hashed(struct meta_fixture *f, uint64_t hash, struct dir_name name, uint64_t ino)
{
    struct dxf_inode *dir;
    struct txn txn;
    int error;

    txn_begin(&txn, f->space);
    dir = inode_edit(f->meta, &txn, OWNER);
    error = dir_insert_hashed(f->meta, &txn, OWNER, dir, hash, name, ino, DT_REG);
    if (error) {
        txn_abort(&txn);
        return error;
    }
    return txn_commit(&txn, NULL);
}

static int remove_hashed(struct meta_fixture *f, uint64_t hash, struct dir_name name)
{
    struct dxf_inode *dir;
    struct txn txn;
    int error;

    txn_begin(&txn, f->space);
    dir = inode_edit(f->meta, &txn, OWNER);
    error = dir_remove_hashed(f->meta, &txn, OWNER, dir, hash, name);
    if (error) {
        txn_abort(&txn);
        return error;
    }
    return txn_commit(&txn, NULL);
}

static int lookup_hashed(struct meta_fixture *f, uint64_t hash, struct dir_name name,
                         struct dir_found *found)
{
    return dir_lookup_hashed(f->meta, NULL, OWNER, root_view(f), hash, name, found);
}

static struct dir_name number_name(unsigned i, char *buffer)
{
    return (struct dir_name){ buffer, (size_t)sprintf(buffer, "name-%u", i) };
}

START_TEST(sixteen_names_of_one_hash)
{
    struct meta_fixture f;
    struct dir_found found;
    char buffer[32];

    meta_fixture_open(&f, 16);
    for (unsigned i = 0; i < DXF_HASH_PROBES; i++)
        ck_assert_int_eq(insert_hashed(&f, 5000, number_name(i, buffer), INO + i), 0);
    ck_assert_int_eq(insert_hashed(&f, 5000, number_name(16, buffer), INO), -ENOSPC);
    ck_assert_int_eq(insert_hashed(&f, 5000, number_name(15, buffer), INO), -EEXIST);
    for (unsigned i = 0; i < DXF_HASH_PROBES; i++) {
        ck_assert_int_eq(lookup_hashed(&f, 5000, number_name(i, buffer), &found), 0);
        ck_assert_uint_eq(found.cookie, 5000 + i);
        ck_assert_uint_eq(found.ino, INO + i);
    }
    /* A gap hides nothing behind it, lets no name in twice, and is filled. */
    ck_assert_int_eq(remove_hashed(&f, 5000, number_name(3, buffer)), 0);
    ck_assert_int_eq(lookup_hashed(&f, 5000, number_name(3, buffer), &found), -ENOENT);
    ck_assert_int_eq(lookup_hashed(&f, 5000, number_name(15, buffer), &found), 0);
    ck_assert_int_eq(insert_hashed(&f, 5000, number_name(15, buffer), INO), -EEXIST);
    ck_assert_int_eq(insert_hashed(&f, 5000, number_name(16, buffer), INO + 16), 0);
    ck_assert_int_eq(lookup_hashed(&f, 5000, number_name(16, buffer), &found), 0);
    ck_assert_uint_eq(found.cookie, 5003);
    meta_fixture_close(&f);
}
END_TEST

/* So many collisions that the values of one hash lie on both sides of leaf borders. */
START_TEST(collisions_across_leaves)
{
    enum { COUNT = 4000, STEP = 4 };
    struct meta_fixture f;
    bool *there = calloc(COUNT, sizeof(bool));
    struct seen seen = { 0 };
    unsigned count = 0;
    char buffer[32];

    ck_assert_ptr_nonnull(there);
    meta_fixture_open(&f, 16);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = draw(COUNT);
        uint64_t hash = 1000 + i / STEP * STEP;
        struct dir_name name = number_name(i, buffer);
        struct dir_found found;
        int got = lookup_hashed(&f, hash, name, &found);

        ck_assert_int_eq(got, there[i] ? 0 : -ENOENT);
        if (draw(3) > 0) {
            got = insert_hashed(&f, hash, name, INO + i);
            if (there[i])
                ck_assert_int_eq(got, -EEXIST);
            else
                ck_assert_int_eq(got, 0);
            count += !there[i];
            there[i] = true;
        } else {
            got = remove_hashed(&f, hash, name);
            ck_assert_int_eq(got, there[i] ? 0 : -ENOENT);
            count -= there[i];
            there[i] = false;
        }
        if (step % 4000 == 0)
            meta_fixture_remount(&f);
    }
    ck_assert_uint_gt(le64_get(root_view(&f)->size), 10 * DXF_BLOCK_SIZE);
    ck_assert_int_eq(dir_iterate(f.meta, NULL, OWNER, root_view(&f), 0, see, &seen), 0);
    ck_assert_uint_eq(seen.count, count);
    meta_fixture_close(&f);
    free(there);
}
END_TEST

/* ---- damage, space ---------------------------------------------------------------------------- */

START_TEST(damaged_entry)
{
    enum { NAMES = 1000 };
    struct meta_fixture f;
    struct oracle oracle;
    struct dxf_dir_leaf *leaf = NULL;
    uint64_t block = 0;
    unsigned bad = 0;

    meta_fixture_open(&f, 16);
    oracle_open(&oracle, &f, NAMES);
    for (uint32_t i = 0; i < NAMES; i++)
        change(&f, &oracle, i, CHANGE_INSERT, false);
    meta_fixture_remount(&f);
    for (uint32_t i = 0; i < NAMES; i++)
        lookup_check(&f, &oracle, i);
    /* A leaf somewhere in the middle: one bit of a name, behind the server's back. */
    for (block = DXF_FIRST_FREE_BLOCK; block < f.pool->blocks; block++) {
        leaf = pool_block(f.pool, block);
        if (le32_get(leaf->header.magic) == DXF_MAGIC_DIR_LEAF &&
            validate_dir_leaf(leaf, block, OWNER) == NULL && leaf_entry(leaf, 0)->name_length > 0)
            break;
    }
    ck_assert_uint_lt(block, f.pool->blocks);
    leaf->entries[offsetof(struct dxf_dirent, inode)] ^= 1;
    meta_fixture_remount(&f);
    for (uint32_t i = 0; i < NAMES; i++) {
        char buffer[DXF_NAME_MAX];
        struct dir_found found;
        int got = dir_lookup(f.meta, NULL, OWNER, root_view(&f), name_of(i, buffer), &found);

        ck_assert(got == 0 || got == -EUCLEAN);
        if (got == 0)
            ck_assert_uint_eq(found.ino, oracle.ino[i]);
        bad += got != 0;
    }
    ck_assert_uint_gt(bad, 0);
    ck_assert_uint_lt(bad, DIR_LEAF_ENTRIES);
    meta_fixture_close(&f);
    free(oracle.ino);
}
END_TEST

/* Leaves with right checksums and hashes that no server wrote: an error, and no readdir for ever. */
START_TEST(hashes_of_nobody)
{
    static const uint64_t hashes[] = { 5000, DXF_HASH_LAST };
    char buffer[32];

    for (unsigned kind = 0; kind < 2; kind++) {
        struct meta_fixture f;
        struct seen seen = { 0 };
        unsigned refused = 0;

        meta_fixture_open(&f, 16);
        for (unsigned i = 0; i < 150; i++)
            ck_assert_int_eq(insert_hashed(&f, 1000 + i, number_name(i, buffer), INO), 0);
        for (uint64_t block = DXF_FIRST_FREE_BLOCK; block < f.pool->blocks; block++) {
            struct dxf_dir_leaf *leaf = pool_block(f.pool, block);

            if (validate_dir_leaf(leaf, block, OWNER) != NULL)
                continue;
            for (uint32_t at = 0; at < DIR_LEAF_BYTES;) {
                struct dxf_dirent *entry = (struct dxf_dirent *)(void *)(leaf->entries + at);

                if (entry->name_length != 0)
                    entry->hash = le64_make(hashes[kind]);
                seal_dirent(entry, OWNER);
                at += le16_get(entry->length);
            }
        }
        meta_fixture_remount(&f);
        for (unsigned i = 0; i < 300; i++) {
            int got = insert_hashed(&f, 1000 + i, number_name(1000 + i, buffer), INO);

            ck_assert(got == 0 || got == -EUCLEAN);
            refused += got != 0;
        }
        ck_assert_uint_gt(refused, 0);
        /* Some of the leaf's equal hashes may be in range: then they are handed out as they are. */
        seen.last = 0;
        dir_iterate(f.meta, NULL, OWNER, root_view(&f), 0, count_entry, &seen);
        ck_assert_uint_lt(seen.count, 1000);
        meta_fixture_close(&f);
    }
}
END_TEST

START_TEST(removal_from_a_full_pool)
{
    enum { NAMES = 150000 };
    struct meta_fixture f;
    struct oracle oracle;
    uint32_t i;

    meta_fixture_open(&f, 8);
    oracle_open(&oracle, &f, NAMES);
    for (i = 0; i < NAMES; i++) {
        char buffer[DXF_NAME_MAX];
        int got = insert_hashed(&f, dir_hash(f.pool, name_of(i, buffer)), name_of(i, buffer), INO);

        if (got == -ENOSPC)
            break;
        ck_assert_int_eq(got, 0);
        oracle.ino[i] = INO;
        oracle.count++;
    }
    ck_assert_uint_lt(i, NAMES);
    totals_check(&f, &oracle);
    while (i-- > 0)
        change(&f, &oracle, i, CHANGE_REMOVE, false);
    totals_check(&f, &oracle);
    meta_fixture_close(&f);
    free(oracle.ino);
}
END_TEST

/* For the reader; nothing is asserted. */
START_TEST(timing)
{
    static const unsigned sizes[] = { 1000, 100000 };
    struct dir_found found;
    struct meta_fixture f;
    char buffer[32];

    for (unsigned k = 0; k < 2; k++) {
        unsigned n = sizes[k];
        double start, insert, lookup, names;

        meta_fixture_open(&f, 128);
        start = meta_fixture_seconds();
        for (unsigned i = 0; i < n; i++)
            insert_hashed(&f, dir_hash(f.pool, number_name(i, buffer)), number_name(i, buffer),
                          INO);
        insert = meta_fixture_seconds() - start;
        start = meta_fixture_seconds();
        for (unsigned i = 0; i < 100000; i++)
            dir_lookup(f.meta, NULL, OWNER, root_view(&f),
                       number_name((unsigned)(i * 7919ull % n), buffer), &found);
        lookup = meta_fixture_seconds() - start;
        start = meta_fixture_seconds();
        for (unsigned i = 0; i < 100000; i++)
            ck_assert_ptr_nonnull(number_name((unsigned)(i * 7919ull % n), buffer).bytes);
        names = meta_fixture_seconds() - start;
        printf("dir: %u entries: insertion and its commit %.0f ns, lookup %.0f ns\n", n,
               insert * 1e9 / n - 2 * names * 1e4, (lookup - names) * 1e4);
        meta_fixture_close(&f);
    }
}
END_TEST

/* What one insertion costs the medium, on the average (design, costs: 1024 for a whole create). */
START_TEST(bytes_of_an_insertion)
{
    enum { NAMES = 1000 };
    struct meta_fixture f;
    struct persist_counters before, after;
    char buffer[32];

    meta_fixture_open(&f, 64);
    for (unsigned i = 0; i < 2 * NAMES; i++) {
        struct dir_name name = number_name(i, buffer);

        if (i == NAMES) {
            ck_assert_int_eq(journal_retire(f.journal), 0);
            persist_get_counters(f.pool->persist, &before);
        }
        ck_assert_int_eq(insert_hashed(&f, dir_hash(f.pool, name), name, INO), 0);
    }
    ck_assert_int_eq(journal_retire(f.journal), 0);
    persist_get_counters(f.pool->persist, &after);
    printf("dir: insertion: %lu metadata bytes, %.2f fences\n",
           (unsigned long)(after.flushed[PERSIST_METADATA] - before.flushed[PERSIST_METADATA]) /
               NAMES,
           (double)(after.fences - before.fences) / NAMES);
    ck_assert_uint_lt(after.flushed[PERSIST_METADATA] - before.flushed[PERSIST_METADATA],
                      1024 * NAMES);
    meta_fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dir");
    TCase *tc = tcase_create("dir");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, random_operations);
    tcase_add_test(tc, many_entries);
    tcase_add_test(tc, iteration_under_change);
    tcase_add_test(tc, iteration_stops_and_goes_on);
    tcase_add_test(tc, sixteen_names_of_one_hash);
    tcase_add_test(tc, collisions_across_leaves);
    tcase_add_test(tc, damaged_entry);
    tcase_add_test(tc, hashes_of_nobody);
    tcase_add_test(tc, removal_from_a_full_pool);
    tcase_add_test(tc, timing);
    tcase_add_test(tc, bytes_of_an_insertion);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
