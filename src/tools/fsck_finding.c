/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The findings: one table, how they are shown, and what is decided about each.
 */
#include "tools/fsck_private.h"

#include <stdarg.h>
#include <string.h>

const struct fsck_finding fsck_findings[] = {
    { FSCK_SUPER_PRIMARY, FSCK_SAFE, "superblock is damaged", "written anew from its spare" },
    { FSCK_SUPER_SPARE, FSCK_SAFE, "spare superblock is damaged", "written anew" },
    { FSCK_SUPER_DIFFER, FSCK_NOTE, "the spare superblock is older than the superblock", NULL },
    { FSCK_SUPER_MARKED, FSCK_SAFE, "damage was met while it was served", "the mark is removed" },
    { FSCK_RETIRE_SLOT, FSCK_SAFE, "a retire slot of the journal is damaged; the other one serves",
      "written anew" },
    { FSCK_RETIRE_BOTH, FSCK_UNSAFE, "both retire slots of the journal are damaged",
      "the journal is emptied" },
    { FSCK_JOURNAL_LIVE, FSCK_NOTE, "journal replayed", NULL },
    { FSCK_JOURNAL_BAD, FSCK_UNSAFE, "journal can not be replayed", "it is emptied" },
    { FSCK_JOURNAL_AHEAD, FSCK_SAFE, "journal holds entries that nobody has committed",
      "it is emptied" },
    { FSCK_BADBLOCKS, FSCK_UNSAFE, "list of bad blocks is damaged", "it is emptied" },
    { FSCK_INTENT_LINE, FSCK_UNSAFE, "intent is damaged, or does not fit its file",
      "it is dropped" },
    { FSCK_INTENT_INODE, FSCK_NOTE, "intent names an inode that is not there", NULL },
    { FSCK_INTENT_PENDING, FSCK_NOTE, "operation to be finished at the next mount", NULL },

    { FSCK_ANCHOR, FSCK_UNSAFE, "anchor of the inode table is damaged",
      "its plausible content is kept" },
    { FSCK_TABLE_MAP, FSCK_UNSAFE, "inode table has a hole", "filled with free inodes" },
    { FSCK_TABLE_SIZE, FSCK_SAFE, "inode table has another size than its blocks", "corrected" },
    { FSCK_INODE_LINE, FSCK_SAFE, "line of the inode bitmap is damaged", "made anew" },
    { FSCK_INODE_LEAKED, FSCK_SAFE, "inode number is marked used, but the inode is free",
      "the number becomes free" },
    { FSCK_INODE_UNMARKED, FSCK_SAFE, "inode is in use, but its number is free",
      "the number is marked" },

    { FSCK_INODE_CSUM, FSCK_UNSAFE, "inode is damaged, but plausible", "kept, with what it says" },
    { FSCK_INODE_BAD, FSCK_UNSAFE, "inode is damaged", "cleared" },
    { FSCK_ROOT, FSCK_UNSAFE, "root directory is missing or damaged", "made anew, empty" },
    { FSCK_INODE_BLOCKS, FSCK_SAFE, "count of blocks is wrong", "corrected" },
    { FSCK_INODE_ORPHAN, FSCK_SAFE, "inode is not in the orphan table, where it says it is",
      "corrected" },
    { FSCK_LINKS, FSCK_SAFE, "link count is wrong", "corrected" },
    { FSCK_INODE_RESERVED, FSCK_UNSAFE, "reserved inode is in use", "cleared" },

    { FSCK_EXTENT_NODE, FSCK_UNSAFE, "node of the extent map is damaged",
      "dropped: what it held reads as zeros" },
    { FSCK_EXTENT_KEYS, FSCK_UNSAFE, "extent map is out of order", "what does not fit is dropped" },
    { FSCK_BLOCK_TWICE, FSCK_UNSAFE, "blocks belong to somebody else, too",
      "dropped from this inode" },
    { FSCK_BLOCK_FIXED, FSCK_UNSAFE, "blocks of the journal or the bitmap are in a file",
      "dropped from this inode" },
    { FSCK_XATTR, FSCK_UNSAFE, "extended attributes are damaged", "removed" },
    { FSCK_SYMLINK, FSCK_UNSAFE, "target of the symbolic link is damaged", "the link is cleared" },

    { FSCK_DIR_NODE, FSCK_UNSAFE, "node of the directory is damaged",
      "dropped: what it named goes to lost+found" },
    { FSCK_DIR_LEAF, FSCK_UNSAFE, "leaf of the directory is damaged", "its good entries are kept" },
    { FSCK_DIR_ENTRY, FSCK_UNSAFE, "entries of the directory are damaged", "they are dropped" },
    { FSCK_DIR_HASH, FSCK_UNSAFE, "entry is in the wrong place", "the directory is written anew" },
    { FSCK_DIR_TARGET, FSCK_UNSAFE, "entry names an inode that is not there", "removed" },
    { FSCK_DIR_TYPE, FSCK_SAFE, "entry has another type than its inode", "corrected" },
    { FSCK_DIR_NAME_TWICE, FSCK_UNSAFE, "name is there twice", "the second one is removed" },
    { FSCK_DIR_SECOND_NAME, FSCK_UNSAFE, "directory has a second name", "it is removed" },
    { FSCK_DIR_PARENT, FSCK_SAFE, "\"..\" names another directory", "corrected" },
    { FSCK_DIR_COUNTS, FSCK_SAFE, "size or number of entries of the directory is wrong",
      "corrected" },
    { FSCK_DIR_LOOP, FSCK_UNSAFE, "directory is below itself", "it goes to lost+found" },
    { FSCK_UNREACHED, FSCK_UNSAFE, "inode has no name", "it goes to lost+found" },

    { FSCK_ORPHAN_LINE, FSCK_UNSAFE, "line of the orphan table is damaged", "made empty" },
    { FSCK_ORPHAN_TABLE, FSCK_UNSAFE, "orphan table is damaged", "made anew, empty" },
    { FSCK_ORPHAN_PLACE, FSCK_SAFE, "place in the orphan table names an inode that is no orphan",
      "made empty" },
    { FSCK_ORPHAN_PENDING, FSCK_NOTE, "inodes to be deleted or trimmed at the next mount", NULL },

    { FSCK_BITMAP_LINE, FSCK_SAFE, "line of the allocation bitmap is damaged", "made anew" },
    { FSCK_BITMAP_LEAK, FSCK_SAFE, "blocks are allocated, but nobody's", "they become free" },
    { FSCK_BITMAP_MISSING, FSCK_SAFE, "blocks are in use, but free in the bitmap",
      "they are marked" },
    { 0, FSCK_NOTE, NULL, NULL },
};

static const struct fsck_finding *finding_of(enum fsck_id id)
{
    const struct fsck_finding *finding = fsck_findings;

    while (finding->id != id && finding->id != 0)
        finding++;
    return finding;
}

static void __attribute__((format(printf, 2, 3))) say(struct fsck *fsck, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (fsck->options->out != NULL)
        vfprintf(fsck->options->out, format, args);
    va_end(args);
}

/* Counts it, and prints its line but for the end. */
static const struct fsck_finding *begin(struct fsck *fsck, enum fsck_id id, const char *format,
                                        va_list args)
{
    const struct fsck_finding *finding = finding_of(id);

    fsck_progress_end(fsck);
    fsck->result->count[id]++;
    say(fsck, "%03d: ", (int)id);
    if (fsck->options->out != NULL)
        vfprintf(fsck->options->out, format, args);
    say(fsck, ": %s", finding->text);
    return finding;
}

/* y, n or a, on the terminal. No answer is no. */
static bool ask(struct fsck *fsck, const struct fsck_finding *finding)
{
    char line[64];

    if (fsck->yes_to_all)
        return true;
    for (;;) {
        fprintf(stdout, "\n     Repair (%s)? [y]es, [n]o, yes to [a]ll: ", finding->repair);
        fflush(stdout);
        if (fgets(line, sizeof(line), stdin) == NULL)
            return false;
        if (line[0] == 'a' || line[0] == 'A')
            fsck->yes_to_all = true;
        if (line[0] == 'y' || line[0] == 'Y' || fsck->yes_to_all)
            return true;
        if (line[0] == 'n' || line[0] == 'N')
            return false;
    }
}

/* What hangs on something that was left damaged is not touched: it may be right. */
static bool depends_on_all(enum fsck_id id)
{
    return id == FSCK_BITMAP_LEAK || id == FSCK_LINKS || id == FSCK_UNREACHED ||
           id == FSCK_DIR_TARGET || id == FSCK_DIR_LOOP || id == FSCK_BITMAP_LINE;
}

/* What may hide blocks or names from the passes that follow. */
static bool hides_others(enum fsck_id id)
{
    return id >= FSCK_ANCHOR && id < FSCK_BITMAP_LINE && id != FSCK_UNREACHED &&
           finding_of(id)->severity == FSCK_UNSAFE;
}

static bool decide(struct fsck *fsck, const struct fsck_finding *finding)
{
    if (!fsck->write || (fsck->incomplete && depends_on_all(finding->id)))
        return false;
    switch (fsck->options->mode) {
    case FSCK_PREEN:
        return finding->severity == FSCK_SAFE;
    case FSCK_YES:
        return true;
    case FSCK_ASK:
        return ask(fsck, finding);
    default:
        return false;
    }
}

bool fsck_found(struct fsck *fsck, enum fsck_id id, const char *format, ...)
{
    const struct fsck_finding *finding;
    va_list args;

    va_start(args, format);
    finding = begin(fsck, id, format, args);
    va_end(args);
    fsck->result->found++;
    bool repair = decide(fsck, finding);
    if (repair) {
        fsck->result->fixed++;
        say(fsck, "; %s\n", finding->repair);
    } else {
        fsck->result->left++;
        if (hides_others(id))
            fsck->incomplete = true;
        say(fsck, "\n");
    }
    return repair;
}

void fsck_unrepaired(struct fsck *fsck, const char *why)
{
    fsck->result->fixed--;
    fsck->result->left++;
    fsck->incomplete = true;
    say(fsck, "     not repaired: %s\n", why);
}

void fsck_note(struct fsck *fsck, enum fsck_id id, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    begin(fsck, id, format, args);
    va_end(args);
    say(fsck, " (no error)\n");
}

void fsck_progress(struct fsck *fsck, const char *phase, uint64_t done, uint64_t all)
{
    FILE *to = fsck->options->progress;

    if (to == NULL)
        return;
    fprintf(to, "\r\033[K%s %3u %%", phase, (unsigned)(all ? done * 100 / all : 100));
    fflush(to);
    fsck->progress_shown = true;
}

void fsck_progress_end(struct fsck *fsck)
{
    if (fsck->progress_shown) {
        fputs("\r\033[K", fsck->options->progress);
        fflush(fsck->options->progress);
    }
    fsck->progress_shown = false;
}
