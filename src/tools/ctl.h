/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of daxfuse-ctl share. Each command makes one JSON object: the answer of the server
 * where the pool is served, else one made here from the pool itself; then it is printed, as it is or
 * as text. Keys are those of daxfuse-ctl(8).
 */
#ifndef DAXFUSE_TOOLS_CTL_H
#define DAXFUSE_TOOLS_CTL_H

#include "fs/fs.h"
#include "transport/control_client.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

enum ctl_exit { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2 };

struct ctl {
    const char *command;
    bool json;
    const char *svg;   /* layout: file to draw to */
    const char *path;  /* POOL or PATH */
    const char *inner; /* extents: path in the pool, or NULL */
    const char *size;  /* grow */
    struct {
        int mode;   /* of fallocate(2) */
        bool given; /* one of those that exclude each other */
        const char *offset, *length;
    } fallocate;
    unsigned cells; /* layout */

    int server;   /* connection, or -1 */
    uint64_t pid; /* the server's process; 0: in a namespace that cannot be seen from here */
    struct control_pool found;
    struct pool *pool; /* opened here, when no server has it */
    struct fs *fs;
};

/* ---- ctl_pool.c */

/* Prints "daxfuse-ctl: PATH: ..." to stderr. Returns CTL_FAILED. */
int ctl_fail(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Connects to the server of ctl->path; ctl->server is -1 where there is none. An exit code; what was
 * wrong has been printed. */
int ctl_connect(struct ctl *ctl);
/* The same, but without a server it opens the pool itself, read-only in a view of its own or, with
 * `writable`, for changes. */
int ctl_open(struct ctl *ctl, bool writable);
void ctl_close(struct ctl *ctl);

/* Opens ctl->path, with these flags beside the usual ones. A descriptor, or -errno: -EMEDIUMTYPE it is no
 * regular file, -ENOTTY it is in no mount of daxfuse. */
int ctl_open_file(const struct ctl *ctl, int flags);

/* The server's answer to a request (which is put), or an exit code after printing its error. It comes
 * from outside: what is taken from it may be missing, of another type and any number; the ctl_get_*
 * functions know that. */
int ctl_ask(const struct ctl *ctl, struct json_object *request, struct json_object **ret_answer);
int ctl_no_answer(const struct ctl *ctl); /* says that it cannot be understood; CTL_FAILED */
struct json_object *ctl_request(const char *command);
/* An object with version and command. */
struct json_object *ctl_answer(const struct ctl *ctl);

uint64_t ctl_get_u64(struct json_object *object, const char *key); /* 0 when not there */
struct json_object *ctl_get(struct json_object *object, const char *key,
                            enum json_type type); /* NULL: not there, or another type */
const char *ctl_get_string(struct json_object *object, const char *key); /* "" when not there */
bool ctl_get_bool(struct json_object *object, const char *key);          /* false when not there */
void ctl_put_u64(struct json_object *object, const char *key, uint64_t value);
void ctl_put_bool(struct json_object *object, const char *key, bool value);
void ctl_put_string(struct json_object *object, const char *key, const char *value);
/* Prints the object with --json. False: print text. */
bool ctl_print_json(const struct ctl *ctl, struct json_object *object);

/* ---- the commands: exit codes */
int ctl_info(struct ctl *ctl);      /* ctl_info.c */
int ctl_stat(struct ctl *ctl);      /* ctl_info.c */
int ctl_extents(struct ctl *ctl);   /* ctl_extents.c */
int ctl_mappings(struct ctl *ctl);  /* ctl_mappings.c */
int ctl_fallocate(struct ctl *ctl); /* ctl_fallocate.c */
int ctl_layout(struct ctl *ctl);    /* ctl_layout.c */
int ctl_grow(struct ctl *ctl);      /* ctl_order.c */
int ctl_stop(struct ctl *ctl);      /* ctl_order.c */

/* ---- the picture of a pool: ctl_layout.c fills it, ctl_draw.c draws it */

enum ctl_class {
    CTL_FREE,
    CTL_SUPER, /* superblocks, journal header, anchor, intents, bad blocks */
    CTL_LOG,
    CTL_BITMAP,
    CTL_TABLE,
    CTL_DIRECTORY,
    CTL_NODE, /* extent nodes, attributes, long symlinks */
    CTL_DATA,
    CTL_UNWRITTEN,
    CTL_OTHER, /* in use, nothing more is known (a served pool) */
    CTL_CLASSES
};

struct ctl_class_style {
    const char *name; /* as in JSON */
    const char *text; /* for people */
    char glyph;
    const char *color; /* of a terminal: what follows ESC [ */
    const char *fill;  /* of SVG */
};
extern const struct ctl_class_style ctl_styles[CTL_CLASSES];

struct ctl_picture {
    char title[256];
    uint64_t size, cell_size; /* bytes */
    uint64_t count;
    uint64_t (*cell)[CTL_CLASSES]; /* bytes of each class */
    uint64_t total[CTL_CLASSES];
    bool detailed; /* classes are known, not only what is in use */
};

void ctl_draw_terminal(const struct ctl_picture *picture, unsigned columns, bool color);
int ctl_draw_svg(const struct ctl_picture *picture, const char *file); /* 0 or -errno */

#endif
