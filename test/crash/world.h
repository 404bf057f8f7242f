/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One program, crashed everywhere: it runs on a pool in memory whose stores are traced; after each of
 * its operations the trace is played to a device, and before each fence, and when the operation has
 * returned, the images that a crash could leave are built, mounted, compared and checked.
 *
 * What is allowed, with S the state before the interrupted operation and T the one after:
 *   - when it has returned: T and nothing else
 *   - before: S or T, of names, attributes, sizes and all bytes, but
 *   - of bytes that lie in blocks which were written before: while S is seen, any aligned 8 bytes
 *     that the operation overwrites or zeroes may be T's. If it changes neither size nor extents
 *     (an overwrite), the same holds the other way round, and mtime and ctime are each of S or T
 *   - a write or copy that needs several transactions may be cut: a prefix of it is there
 * Of a file that is cut, punched, collapsed or inserted into, recovery leaves as many blocks as the
 * operation would have.
 * After recovery and a clean close fsck must find nothing, not even a note.
 */
#ifndef DAXFUSE_TEST_CRASH_WORLD_H
#define DAXFUSE_TEST_CRASH_WORLD_H

#include "device.h"
#include "engine.h"

#define LEVELS 3 /* the program; a crash in recovery; one in the recovery from that */
#define STEPS_MAX 6000u
#define ROWS_MAX 200u

/* Operations that the model does not know; each works outside of the model's root. */
enum extra {
    EXTRA_NONE,
    EXTRA_UNMOUNT, /* ends the program */
    EXTRA_ROOT,    /* the model's root becomes a folder of its own, beside that of the extras */
    EXTRA_ACL,     /* length: 0 takes it away, else the permissions of a named user */
    EXTRA_DEFAULT_ACL,
    EXTRA_LINKS, /* names up to number `length`, in one directory */
    EXTRA_UNLINKS,
    EXTRA_GROW,    /* to length bytes */
    EXTRA_FILL,    /* leaves length blocks free */
    EXTRA_LITTER,  /* garbage in all that is free, and behind the pool */
    EXTRA_UNNAMED, /* files without a name, up to number `length` */
    EXTRA_KEEP,    /* the file keeps `length` blocks past EOF, none next to another */
    EXTRA_TRIM,    /* it gives them back, as the end of a truncate does */
    EXTRA_LOOK,    /* reads the file */
    /* The last ones are of maps.c: the mapped file, and the other one; doors and slots in slot2 and slot. */
    EXTRA_MAP_FILES,   /* makes them; length bytes in the first; flags: which has no name */
    EXTRA_MAP_SCATTER, /* blocks for both in turn, until the first has length bytes */
    EXTRA_MAP_WRITE,   /* through the file, as the next two */
    EXTRA_MAP_TRUNCATE,
    EXTRA_MAP_FALLOCATE, /* all its modes: flags */
    EXTRA_MAP_BUSY,      /* the same, and it is EBUSY */
    EXTRA_MAP_FAULT,     /* flags: write; offset: chunk */
    EXTRA_MAP_POPULATE,  /* length: chunks */
    EXTRA_MAP_UNMAP,
    EXTRA_MAP_STORE, /* through a door, and no flush; flags: zeros; offset: within the chunk */
    EXTRA_MAP_FSYNC,
    EXTRA_MAP_OVER,
    EXTRA_MAP_LINK, /* names the one without a name */
    EXTRA_MAP_UNLINK,
    EXTRA_KINDS,
};

struct step {
    struct op op;
    uint8_t extra;
    bool checked; /* crash it */
    bool lenient; /* of maps.c: if it fails it is none */
    uint8_t row;
};

struct program {
    const char *name;
    bool pmem;
    bool synced;     /* the journal is retired before the first checked step */
    bool full;       /* a random one: little space is left, so that blocks are used again soon */
    bool random;     /* steps are generated as it runs, up to `wanted` checked ones */
    unsigned wanted; /* of a random one */
    unsigned budget; /* images at a point */
    unsigned nest;   /* one image in so many is crashed in its recovery; 0: none */
    uint64_t seed;
    uint64_t pool_size; /* when made */
    uint64_t file_size; /* room: at least that */
    unsigned count;
    struct step step[STEPS_MAX];
};

struct row_count {
    uint64_t images, distinct, violations;
};

struct extra_state {
    bool root, made;
    uint32_t acl, default_acl, names, unnamed;
    int64_t atime; /* 0: nobody has looked */
    uint32_t maps; /* steps of maps.c */
    uint64_t kept, pool_size;
};

enum { ALLOW_BEFORE = 1, ALLOW_AFTER = 2 };

/* Where the interrupted operation may leave bytes of either state. */
struct tolerance {
    struct node *node[2]; /* the file, in before and after; NULL: no tolerance */
    struct {
        uint64_t from, to;
    } range[64];
    unsigned ranges;
    bool with_after;                /* an overwrite: also while T is seen */
    bool cut;                       /* a prefix may be there */
    bool cut_anywhere;              /* not only whole blocks of it */
    uint64_t blocks_ino, blocks[2]; /* a file that was made shorter: no block may stay; 0: none */
    uint64_t split; /* where the two parts of a write's bytes meet: two stores in one word */
};

struct hash_set {
    uint64_t *slot;
    size_t room, count;
};

struct world {
    struct program *program;
    struct view template, live;
    uint64_t template_size;
    struct device device[LEVELS];
    struct trace trace[LEVELS];
    unsigned cpu;
    int recording; /* level whose trace gets the events of an image; 0: none */

    struct image image; /* the live one */
    struct engine engine;
    struct oracle oracle[2]; /* before and after */
    struct extra_state extra[2];
    struct tolerance tolerance;
    uint64_t extra_folder, extra_file;

    unsigned allowed;
    struct rng rng;
    unsigned step, point;
    struct hash_set seen, checked; /* images; and with what was asked of them */
    struct row_count *row;         /* of ROWS_MAX */
    unsigned nested_row;
    bool quiet, failed;
    bool shortened; /* a program that lacks steps: an extra one may find nothing to work on */
    char why[2000];
};

void world_create(struct world *world);
/* Runs the program; false: a violation, world->why says where. */
bool world_run(struct world *world, struct program *program);
/* Generates the steps of a random program, by running it. */
void world_generate(struct world *world, struct program *program);

/* ---- check.c ---- */

/* Mounts, compares, closes and checks the image of a level. */
bool check_image(struct world *world, unsigned level);
/* All images of the point that a level's device stands at. */
bool check_point(struct world *world, unsigned level, unsigned budget, struct row_count *row);
void check_event(void *arg, const struct persist_event *event);
/* Opens what lies in a view; 0 or an errno. */
int check_mount(struct world *world, struct view *view, persist_event_fn on_event, void *arg,
                struct image *ret_image);
bool hash_set_add(struct hash_set *set, uint64_t value);
void hash_set_clear(struct hash_set *set);

/* ---- extra.c ---- */

/* 0 or an errno. */
int extra_apply(struct world *world, const struct step *step);
bool extra_compare(struct world *world, struct image *image, const struct extra_state *state,
                   char *why, size_t why_size);
uint64_t world_root(const struct world *world);

/* ---- programs.c ---- */

extern const char *row_names[ROWS_MAX];
unsigned rows_count(void);
void step_print(FILE *file, const struct step *step);
unsigned programs_singles(void);
const char *program_single_name(unsigned number); /* of its row */
unsigned programs_pairs(void);
void program_single(struct program *program, unsigned number);
void program_pair(struct program *program, unsigned number);
void program_random(struct program *program, uint64_t seed);
uint8_t row_of_kind(unsigned kind);
uint8_t row_of_name(const char *name);

#endif
