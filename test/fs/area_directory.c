/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories: listing while entries come and go, cookies of telldir(3), many entries, link counts.
 * What an entry made or removed during a listing gives is open (POSIX); what was there all the time
 * is listed exactly once.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void entries_make(int from, int to)
{
    char name[64];

    for (int i = from; i < to; i++) {
        snprintf(name, sizeof(name), "d/entry-%05d-%0*d", i, i % 20 + 1, 7);
        int descriptor = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
        CHECK(descriptor >= 0, "making %s: expected ok, got %s", name, error_name(errno));
        close(descriptor);
    }
}

static void entries_remove(int from, int to, int step)
{
    char name[64];

    for (int i = from; i < to; i += step) {
        snprintf(name, sizeof(name), "d/entry-%05d-%0*d", i, i % 20 + 1, 7);
        CHECK(unlink(name) == 0, "removing %s: expected ok, got %s", name, error_name(errno));
    }
}

/* Counts each entry by its number in seen[]; returns false at the end. */
static bool entry_next(DIR *stream, unsigned char *seen, int limit, int *ret_number)
{
    errno = 0;
    struct dirent *entry = readdir(stream);
    if (!entry) {
        CHECK(errno == 0, "readdir: expected ok, got %s", error_name(errno));
        return false;
    }
    *ret_number = -1;
    if (strncmp(entry->d_name, "entry-", 6) == 0) {
        int number = atoi(entry->d_name + 6);
        CHECK(number >= 0 && number < limit, "readdir: unknown entry %s", entry->d_name);
        if (seen[number] < 255)
            seen[number]++;
        CHECK(entry->d_type == DT_REG, "d_type of %s: expected reg, got %d", entry->d_name,
              entry->d_type);
        *ret_number = number;
    }
    return true;
}

static DIR *directory_open(void)
{
    DIR *stream = opendir("d");

    CHECK(stream, "opendir: expected ok, got %s", error_name(errno));
    return stream;
}

static void all_once(const unsigned char *seen, int from, int to, int step)
{
    for (int i = from; i < to; i += step)
        CHECK(seen[i] == 1, "entry %d: expected listed once, got %d times", i, seen[i]);
}

static void listing_check(int from, int to, int step, int limit)
{
    unsigned char *seen = calloc(1, (size_t)limit);
    DIR *stream = directory_open();
    int number, count = 0;

    while (entry_next(stream, seen, limit, &number))
        count += number >= 0;
    all_once(seen, from, to, step);
    int expected = (to - from + step - 1) / step;
    CHECK(count == expected, "listing: expected %d entries, got %d", expected, count);
    closedir(stream);
    free(seen);
}

/* `argument`: how many entries */
static void many(const void *argument)
{
    int count = *(const int *)argument;

    case_script("mkdir d 755");
    entries_make(0, count);
    listing_check(0, count, 1, count);
    entries_remove(0, count, 2);
    listing_check(1, count, 2, count);
    entries_remove(1, count, 2);
    case_script("ls d = -; rmdir d");
}

static void create_while_listing(const void *unused)
{
    unsigned char seen[2000] = { 0 };
    int number, made = 500;

    (void)unused;
    case_script("mkdir d 755");
    entries_make(0, 500);
    DIR *stream = directory_open();
    while (entry_next(stream, seen, 2000, &number)) {
        if (made < 1500) {
            entries_make(made, made + 3);
            made += 3;
        }
    }
    closedir(stream);
    all_once(seen, 0, 500, 1);
    for (int i = 500; i < made; i++)
        CHECK(seen[i] <= 1, "new entry %d: expected at most once, got %d times", i, seen[i]);
    listing_check(0, made, 1, 2000);
}

/* Removing what readdir gives, as rm -r does: everything goes, in one pass. */
static void remove_while_listing(const void *unused)
{
    unsigned char seen[2000] = { 0 };
    int number;

    (void)unused;
    case_script("mkdir d 755");
    entries_make(0, 2000);
    DIR *stream = directory_open();
    while (entry_next(stream, seen, 2000, &number)) {
        if (number >= 0)
            entries_remove(number, number + 1, 1);
    }
    closedir(stream);
    all_once(seen, 0, 2000, 1);
    case_script("rmdir d");
}

/* Entries before and behind the place of the listing go; the others are still listed once. */
static void remove_others_while_listing(const void *unused)
{
    unsigned char seen[1500] = { 0 };
    int number, steps = 0;

    (void)unused;
    case_script("mkdir d 755");
    entries_make(0, 1500);
    DIR *stream = directory_open();
    while (entry_next(stream, seen, 1500, &number)) {
        if (steps++ == 300)
            entries_remove(0, 1500, 3);
    }
    closedir(stream);
    all_once(seen, 1, 1500, 3);
    all_once(seen, 2, 1500, 3);
}

static void rename_while_listing(const void *unused)
{
    unsigned char seen[700] = { 0 };
    int number, steps = 0;

    (void)unused;
    case_script("mkdir d 755; mkdir e 755; file d/other 644");
    entries_make(0, 700);
    DIR *stream = directory_open();
    while (entry_next(stream, seen, 700, &number)) {
        if (steps++ % 10 == 0)
            case_script("rename d/other e/other; rename e/other d/other");
    }
    closedir(stream);
    all_once(seen, 0, 700, 1);
}

/* Every cookie leads back to the entry that came after it, in any order, also after changes. */
static void cookies(const void *argument)
{
    bool change = *(const int *)argument != 0;
    static long places[1000];
    static char names[1000][256];
    int count = 0;

    case_script("mkdir d 755");
    entries_make(0, 600);
    DIR *stream = directory_open();
    for (;;) {
        places[count] = telldir(stream);
        struct dirent *entry = readdir(stream);
        if (!entry)
            break;
        strcpy(names[count++], entry->d_name);
        CHECK(count < 1000, "listing: more entries than were made");
    }
    CHECK(count == 602, "listing: expected 602 entries, got %d", count);
    if (change) {
        entries_make(600, 900);
        entries_remove(600, 900, 1);
    }
    for (int i = count - 1, turns = 0; turns < count; i = (i + 367) % count, turns++) {
        seekdir(stream, places[i]);
        struct dirent *entry = readdir(stream);
        CHECK(entry && strcmp(entry->d_name, names[i]) == 0,
              "seekdir to entry %d: expected %s, got %s", i, names[i],
              entry ? entry->d_name : "the end");
    }
    closedir(stream);
}

/* A cookie whose entry has been removed leads to what came after it. */
static void cookie_removed(const void *unused)
{
    unsigned char seen[400] = { 0 }, rest[400] = { 0 };
    int number;

    (void)unused;
    case_script("mkdir d 755");
    entries_make(0, 400);
    DIR *stream = directory_open();
    for (int i = 0; i < 200; i++)
        CHECK(entry_next(stream, seen, 400, &number), "listing: ended after %d", i);
    long place = telldir(stream);
    for (int i = 0; i < 400; i++) {
        if (seen[i])
            entries_remove(i, i + 1, 1);
    }
    seekdir(stream, place);
    while (entry_next(stream, rest, 400, &number))
        ;
    closedir(stream);
    for (int i = 0; i < 400; i++)
        CHECK(seen[i] + rest[i] == 1, "entry %d: expected once, got %d and %d times", i, seen[i],
              rest[i]);
}

static void rewind_sees_new(const void *unused)
{
    unsigned char seen[100] = { 0 };
    int number;

    (void)unused;
    case_script("mkdir d 755");
    entries_make(0, 50);
    DIR *stream = directory_open();
    while (entry_next(stream, seen, 100, &number))
        ;
    entries_make(50, 100);
    memset(seen, 0, sizeof(seen));
    rewinddir(stream);
    while (entry_next(stream, seen, 100, &number))
        ;
    closedir(stream);
    all_once(seen, 0, 100, 1);
}

/* "." and "..", with the right inode numbers, and every d_ino that of stat. */
static void inode_numbers(const void *unused)
{
    struct stat status;
    int dots = 0;

    (void)unused;
    case_script("mkdir d 755; mkdir d/s 755; file d/f 644; symlink x d/l; mknod d/p fifo 644");
    CHECK(chdir("d/s") == 0, "chdir: %s", error_name(errno));
    for (int round = 0; round < 2; round++) {
        DIR *stream = opendir(round ? ".." : ".");
        CHECK(stream, "opendir: %s", error_name(errno));
        int directory = dirfd(stream);
        for (struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
            CHECK(fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0,
                  "stat of %s: %s", entry->d_name, error_name(errno));
            dots += entry->d_name[0] == '.';
            CHECK(entry->d_ino == status.st_ino, "d_ino of %s: expected %ju, got %ju",
                  entry->d_name, (uintmax_t)status.st_ino, (uintmax_t)entry->d_ino);
        }
        closedir(stream);
    }
    CHECK(dots == 4, "dots: expected . and .. in both, got %d", dots);
}

/* A listing of a removed directory is empty, without "." and "..", as in ext4; no error. */
static void removed(const void *unused)
{
    (void)unused;
    case_script("mkdir d 755");
    DIR *stream = directory_open();
    case_script("rmdir d");
    errno = 0;
    struct dirent *entry = readdir(stream);
    CHECK(!entry || entry->d_name[0] == '.', "removed directory lists %s",
          entry ? entry->d_name : "");
    CHECK(entry || errno == 0 || errno == ENOENT, "removed directory: got %s", error_name(errno));
}

static void subdirectories(const void *unused)
{
    (void)unused;
    case_script("mkdir d 755");
    for (int i = 0; i < 500; i++)
        case_script("mkdir d/%d 755", i);
    case_script("nlink d = 502");
    for (int i = 0; i < 500; i += 2)
        case_script("rmdir d/%d", i);
    case_script("nlink d = 252; rmdir d = ENOTEMPTY");
    for (int i = 1; i < 500; i += 2)
        case_script("rename d/%d s%d", i, i);
    case_script("nlink d = 2; rmdir d; nlink . = 252");
}

static void deep(const void *unused)
{
    (void)unused;
    for (int i = 0; i < 300; i++)
        case_script("mkdir d 755; cd d");
    case_script("file f 644 abc");
    for (int i = 0; i < 300; i++)
        case_script("cd ..");
    case_script("types . = d:dir; nlink d = 3");
}

/* The same names again and again: no entry may be left or doubled. */
static void churn(const void *unused)
{
    (void)unused;
    case_script("mkdir d 755");
    for (int round = 0; round < 20; round++) {
        entries_make(0, 100);
        entries_remove(0, 100, 1);
    }
    entries_make(0, 100);
    listing_check(0, 100, 1, 100);
}

static const struct fs_case cases[] = {
    { "list-empty", "mkdir d 755; ls d = -" },
    { "list-no-permission", "mkdir d 311; u> ls d = EACCES" },
    { "list-read-only", "mkdir d 744; file d/f 644; u> ls d = f; u> stat d/f = EACCES" },
    { "list-file", "file f 644; ls f = ENOTDIR" },
    { "list-missing", "ls d = ENOENT" },
    { "names-with-special-bytes",
      "file \x01\xff\x80 644; file -rf 644; file a\\b 644; file ... 644;"
      "ls . = \x01\xff\x80,-rf,...,a\\b" },
    { "names-long", "file a@254 644; file b@254 644; ls . = a+x*254+,b+x*254" },
    { "nlink-files-do-not-count", "mkdir d 755; file d/f 644; symlink x d/l; nlink d = 2" },
};

void area_directory(void)
{
    static const int counts[] = { 1, 10, 63, 64, 65, 128, 256, 500, 1000, 3000 };
    static const int no = 0, yes = 1;

    SUITE_TABLE("directory", cases);
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++)
        suite_function(text("directory/entries-%d", counts[i]), many, &counts[i]);
    suite_function("directory/create-while-listing", create_while_listing, NULL);
    suite_function("directory/remove-while-listing", remove_while_listing, NULL);
    suite_function("directory/remove-others-while-listing", remove_others_while_listing, NULL);
    suite_function("directory/rename-while-listing", rename_while_listing, NULL);
    suite_function("directory/cookies", cookies, &no);
    suite_function("directory/cookies-after-change", cookies, &yes);
    suite_function("directory/cookie-of-removed", cookie_removed, NULL);
    suite_function("directory/rewind", rewind_sees_new, NULL);
    suite_function("directory/inode-numbers", inode_numbers, NULL);
    suite_function("directory/removed", removed, NULL);
    suite_function("directory/subdirectories", subdirectories, NULL);
    suite_function("directory/deep", deep, NULL);
    suite_function("directory/churn", churn, NULL);
}
