/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill-sqlite: commits to a database until the server of its filesystem is killed, and checks it.
 *
 * usage: kill-sqlite write DATABASE MODE WRITER SEED LOG    MODE: delete or wal
 *        kill-sqlite check DATABASE WRITERS SEED LOG...     one LOG for each writer, in order
 * A writer numbers its transactions, one row each (and its counter changed in the same transaction),
 * and appends the number to LOG, outside the pool, after COMMIT has returned. It goes on where
 * the database stands. check: integrity_check is ok; each writer's rows run from 1 without a gap,
 * with the bytes that were written; its counter agrees; the last one logged is there, and at most
 * one more, whose COMMIT was in flight.
 * Exit of write: 0 always when an error ended it (printed), 1 set-up failed. Of check: 0 kept, 1 not.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY_LIMIT 9000U

static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31);
}

/* The body of a row: mostly short, one in sixteen over two pages. Returns its length. */
static size_t body_make(uint8_t *buf, uint64_t seed, unsigned writer, uint64_t sequence)
{
    uint64_t state = mix(seed * 1000003U + writer) ^ mix(sequence);
    size_t length = 1 + mix(state) % (sequence % 16 == 0 ? BODY_LIMIT : 400U);

    for (size_t i = 0; i < length; i++)
        buf[i] = (uint8_t)mix(state + i);
    return length;
}

static int execute(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static int database_open(const char *path, const char *mode, sqlite3 **ret_db)
{
    char sql[64];
    int r = sqlite3_open(path, ret_db);

    if (r != SQLITE_OK)
        return r;
    sqlite3_busy_timeout(*ret_db, 20000);
    snprintf(sql, sizeof(sql), "PRAGMA journal_mode=%s", mode);
    /* The change to WAL does not ask the busy handler. */
    for (unsigned tries = 0; tries < 1000; tries++) {
        r = execute(*ret_db, sql);
        if (r != SQLITE_BUSY)
            break;
        usleep(10000);
    }
    if (r == SQLITE_OK)
        r = execute(*ret_db, "PRAGMA synchronous=FULL");
    if (r == SQLITE_OK)
        r = execute(*ret_db,
                    "BEGIN IMMEDIATE;"
                    "CREATE TABLE IF NOT EXISTS entry(writer INTEGER, sequence INTEGER, body BLOB,"
                    " PRIMARY KEY(writer, sequence));"
                    "CREATE TABLE IF NOT EXISTS counter(writer INTEGER PRIMARY KEY, last INTEGER);"
                    "COMMIT");
    return r;
}

/* The single integer that a query gives. */
static int query_number(sqlite3 *db, const char *sql, unsigned writer, int64_t *ret_number)
{
    sqlite3_stmt *stmt;
    int r = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

    if (r != SQLITE_OK)
        return r;
    sqlite3_bind_int(stmt, 1, (int)writer);
    r = sqlite3_step(stmt);
    if (r == SQLITE_ROW) {
        *ret_number = sqlite3_column_int64(stmt, 0);
        r = SQLITE_OK;
    }
    sqlite3_finalize(stmt);
    return r;
}

static int commit_one(sqlite3 *db, sqlite3_stmt *insert, sqlite3_stmt *count, unsigned writer,
                      int64_t sequence, const uint8_t *body, size_t length)
{
    int r = execute(db, "BEGIN IMMEDIATE");

    if (r != SQLITE_OK)
        return r;
    sqlite3_bind_int(insert, 1, (int)writer);
    sqlite3_bind_int64(insert, 2, sequence);
    sqlite3_bind_blob(insert, 3, body, (int)length, SQLITE_STATIC);
    r = sqlite3_step(insert);
    sqlite3_reset(insert);
    if (r != SQLITE_DONE)
        return r;
    sqlite3_bind_int(count, 1, (int)writer);
    sqlite3_bind_int64(count, 2, sequence);
    r = sqlite3_step(count);
    sqlite3_reset(count);
    if (r != SQLITE_DONE)
        return r;
    return execute(db, "COMMIT");
}

static int run_writer(const char *path, const char *mode, unsigned writer, uint64_t seed,
                      const char *log_path)
{
    static uint8_t body[BODY_LIMIT];
    sqlite3_stmt *insert, *count;
    int64_t sequence = 0;
    char line[32];
    sqlite3 *db;
    int log, r;

    log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0)
        return 1;
    r = database_open(path, mode, &db);
    if (r == SQLITE_OK)
        r = query_number(db, "SELECT coalesce(max(sequence), 0) FROM entry WHERE writer = ?",
                         writer, &sequence);
    if (r == SQLITE_OK)
        r = sqlite3_prepare_v2(db, "INSERT INTO entry VALUES(?, ?, ?)", -1, &insert, NULL);
    if (r == SQLITE_OK)
        r = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO counter VALUES(?, ?)", -1, &count, NULL);
    if (r != SQLITE_OK) {
        fprintf(stderr, "kill-sqlite: %s: set-up: %s\n", path, sqlite3_errmsg(db));
        return 1;
    }
    for (;;) {
        size_t length = body_make(body, seed, writer, (uint64_t)++sequence);
        int n;

        r = commit_one(db, insert, count, writer, sequence, body, length);
        if (r != SQLITE_OK) {
            fprintf(stderr, "kill-sqlite: writer %u ended at %" PRId64 ": %s\n", writer, sequence,
                    sqlite3_errmsg(db));
            return 0;
        }
        n = snprintf(line, sizeof(line), "%" PRId64 "\n", sequence);
        if (write(log, line, (size_t)n) != n)
            return 1;
        usleep(300); /* or the other writer never finds the database unlocked */
    }
}

static int64_t log_last(const char *path)
{
    char line[64];
    int64_t last = 0;
    FILE *file = fopen(path, "re");

    if (!file)
        return -1;
    while (fgets(line, sizeof(line), file))
        last = strtoll(line, NULL, 10);
    fclose(file);
    return last;
}

static bool integrity_is_ok(sqlite3 *db)
{
    sqlite3_stmt *stmt;
    bool ok = false;
    int r = sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL);

    if (r == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
        ok = strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0;
    if (!ok)
        printf("finding: integrity_check: %s\n", r == SQLITE_OK && sqlite3_column_text(stmt, 0)
                                                     ? (const char *)sqlite3_column_text(stmt, 0)
                                                     : sqlite3_errmsg(db));
    sqlite3_finalize(stmt);
    return ok;
}

/* Rows 1 ... last without a gap, each with its bytes; counts them into *ret_last. */
static bool rows_are_ok(sqlite3 *db, unsigned writer, uint64_t seed, int64_t *ret_last)
{
    static uint8_t body[BODY_LIMIT];
    sqlite3_stmt *stmt;
    int64_t last = 0;
    bool ok = true;
    int r = sqlite3_prepare_v2(
        db, "SELECT sequence, body FROM entry WHERE writer = ? ORDER BY sequence", -1, &stmt, NULL);

    if (r != SQLITE_OK) {
        printf("finding: %s\n", sqlite3_errmsg(db));
        return false;
    }
    sqlite3_bind_int(stmt, 1, (int)writer);
    while (ok && (r = sqlite3_step(stmt)) == SQLITE_ROW) {
        int64_t sequence = sqlite3_column_int64(stmt, 0);
        size_t length = body_make(body, seed, writer, (uint64_t)sequence);

        if (sequence != last + 1) {
            printf("finding: writer %u: row %" PRId64 " follows %" PRId64 "\n", writer, sequence,
                   last);
            ok = false;
        } else if ((size_t)sqlite3_column_bytes(stmt, 1) != length ||
                   memcmp(sqlite3_column_blob(stmt, 1), body, length) != 0) {
            printf("finding: writer %u: row %" PRId64 " has other bytes\n", writer, sequence);
            ok = false;
        }
        last = sequence;
    }
    if (ok && r != SQLITE_DONE) {
        printf("finding: writer %u: %s\n", writer, sqlite3_errmsg(db));
        ok = false;
    }
    sqlite3_finalize(stmt);
    *ret_last = last;
    return ok;
}

static int run_check(const char *path, unsigned writers, uint64_t seed, char **logs)
{
    sqlite3 *db;
    bool ok;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        printf("finding: %s cannot be opened: %s\n", path, sqlite3_errmsg(db));
        return 1;
    }
    sqlite3_busy_timeout(db, 20000);
    ok = integrity_is_ok(db);
    for (unsigned writer = 0; ok && writer < writers; writer++) {
        int64_t logged = log_last(logs[writer]), last = 0, counter = 0;

        ok = rows_are_ok(db, writer, seed, &last);
        if (query_number(db, "SELECT last FROM counter WHERE writer = ?", writer, &counter) !=
                SQLITE_OK &&
            last > 0)
            ok = false;
        if (logged < 0 || last < logged || last > logged + 1 || counter != last) {
            printf("finding: writer %u: logged up to %" PRId64 ", rows up to %" PRId64
                   ", counter %" PRId64 "\n",
                   writer, logged, last, counter);
            ok = false;
        }
    }
    sqlite3_close(db);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "write") == 0)
        return run_writer(argv[2], argv[3], (unsigned)strtoul(argv[4], NULL, 10),
                          strtoull(argv[5], NULL, 10), argv[6]);
    if (argc > 5 && strcmp(argv[1], "check") == 0 &&
        (unsigned)argc == 5 + (unsigned)strtoul(argv[3], NULL, 10))
        return run_check(argv[2], (unsigned)strtoul(argv[3], NULL, 10), strtoull(argv[4], NULL, 10),
                         argv + 5);
    fprintf(stderr, "usage: kill-sqlite write DATABASE delete|wal WRITER SEED LOG\n"
                    "       kill-sqlite check DATABASE WRITERS SEED LOG...\n");
    return 2;
}
