/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daxfuse-ctl layout: what lies where. A pool that nobody serves is walked inode by inode, and every
 * cell of the picture knows what kinds of blocks it has. Of a served one its server tells what is in
 * use and where the fixed areas are.
 */
#include "media/pool.h"
#include "meta/dir.h"
#include "meta/extent.h"
#include "meta/inode.h"
#include "space/space.h"
#include "tools/ctl.h"
#include "tools/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

const struct ctl_class_style ctl_styles[CTL_CLASSES] = {
    [CTL_FREE] = { "free", "free", '.', "90", "#eceff1" },
    [CTL_SUPER] = { "fixed", "superblocks, journal header, anchor", 'S', "1;31", "#c62828" },
    [CTL_LOG] = { "logs", "journal logs", 'L', "31", "#ef6c00" },
    [CTL_BITMAP] = { "bitmap", "allocation bitmap", 'B', "33", "#f9a825" },
    [CTL_TABLE] = { "inode_table", "inode table", 'I', "35", "#6a1b9a" },
    [CTL_DIRECTORY] = { "directories", "directories", 'd', "36", "#00838f" },
    [CTL_NODE] = { "nodes", "extent nodes, attributes, symlinks", 'n', "34", "#283593" },
    [CTL_DATA] = { "data", "file data", '#', "32", "#2e7d32" },
    [CTL_UNWRITTEN] = { "unwritten", "preallocated, unwritten", 'u', "92", "#a5d6a7" },
    [CTL_OTHER] = { "used", "in use", '#', "32", "#2e7d32" },
};

static void add_blocks(struct ctl_picture *picture, enum ctl_class class, uint64_t start,
                       uint64_t count)
{
    uint64_t at = start * DXF_BLOCK_SIZE, end = at + count * DXF_BLOCK_SIZE;

    if (end > picture->size)
        end = picture->size;
    while (at < end) {
        uint64_t cell = at / picture->cell_size;
        uint64_t stop = (cell + 1) * picture->cell_size;
        if (stop > end)
            stop = end;
        picture->cell[cell][class] += stop - at;
        picture->total[class] += stop - at;
        at = stop;
    }
}

static int picture_open(struct ctl_picture *picture, uint64_t size, unsigned cells)
{
    uint64_t blocks = size / DXF_BLOCK_SIZE;

    if (blocks == 0 || size > DXF_POOL_SIZE_MAX)
        return -EPROTO;
    picture->size = size;
    picture->cell_size = (blocks + cells - 1) / cells * DXF_BLOCK_SIZE;
    picture->count = (size + picture->cell_size - 1) / picture->cell_size;
    picture->cell = calloc(picture->count, sizeof(*picture->cell));
    return picture->cell != NULL ? 0 : -ENOMEM;
}

/* ---- a pool that is opened here -------------------------------------------------------------------- */

struct gather {
    struct ctl_picture *picture;
    struct meta *meta;
    enum ctl_class data; /* of the inode at hand */
};

static int on_extent(void *arg, const struct extent *extent)
{
    struct gather *gather = arg;

    add_blocks(gather->picture, extent->unwritten ? CTL_UNWRITTEN : gather->data, extent->physical,
               extent->length);
    return 0;
}

static int on_node(void *arg, uint64_t block)
{
    struct gather *gather = arg;

    add_blocks(gather->picture, gather->data == CTL_TABLE ? CTL_TABLE : CTL_NODE, block, 1);
    return 0;
}

static int on_dir_block(void *arg, uint64_t block, bool leaf)
{
    struct gather *gather = arg;

    (void)leaf;
    add_blocks(gather->picture, CTL_DIRECTORY, block, 1);
    return 0;
}

static int on_file(struct gather *gather, uint64_t ino, const struct dxf_inode *inode)
{
    int error =
        extent_walk(gather->meta, NULL, ino, inode, 0, EXTENT_LOGICAL_END, on_extent, gather);

    return error == 0 ? extent_walk_nodes(gather->meta, ino, inode, on_node, gather) : error;
}

/* What is damaged is left out: the picture shows the rest. */
static int on_inode(void *arg, uint64_t ino)
{
    struct gather *gather = arg;
    const struct dxf_inode *inode;

    if (inode_view(gather->meta, NULL, ino, &inode) < 0)
        return 0;
    gather->data = ino < DXF_INO_FIRST ? CTL_TABLE : CTL_DATA;
    if ((le16_get(inode->mode) & S_IFMT) == S_IFDIR)
        dir_walk_blocks(gather->meta, ino, inode, on_dir_block, gather);
    else if ((le16_get(inode->mode) & S_IFMT) == S_IFREG)
        on_file(gather, ino, inode);
    return 0;
}

static int on_run(void *arg, uint64_t start, uint64_t count, bool allocated)
{
    /* All that is in use; what is known to be something else is taken from it below. */
    add_blocks(arg, allocated ? CTL_OTHER : CTL_FREE, start, count);
    return 0;
}

/* Blocks in use that no walk has met are chains. */
static void settle(struct ctl_picture *picture, enum ctl_class rest)
{
    for (uint64_t i = 0; i < picture->count; i++) {
        uint64_t known = 0, other = picture->cell[i][CTL_OTHER];
        for (unsigned class = CTL_SUPER; class < CTL_OTHER; class ++)
            known += picture->cell[i][class];
        uint64_t left = other > known ? other - known : 0;
        picture->total[CTL_OTHER] -= other;
        picture->cell[i][CTL_OTHER] = 0;
        picture->cell[i][rest] += left;
        picture->total[rest] += left;
    }
}

static int layout_here(struct ctl *ctl, struct ctl_picture *picture)
{
    const struct dxf_super *super = &ctl->pool->super;
    struct gather gather = { .picture = picture, .meta = fs_meta(ctl->fs) };
    const struct dxf_anchor *anchor = pool_block(ctl->pool, DXF_ANCHOR_BLOCK);
    char size[SIZE_TEXT];

    int error = picture_open(picture, ctl->pool->size, ctl->cells);
    if (error < 0)
        return error;
    snprintf(picture->title, sizeof(picture->title), "%s%s%.63s%s, %s", ctl->pool->path,
             super->label[0] ? " \"" : "", super->label, super->label[0] ? "\"" : "",
             size_format(ctl->pool->size, size));
    picture->detailed = true;
    error = space_walk(fs_space(ctl->fs), on_run, picture);
    if (error < 0)
        return error;
    add_blocks(picture, CTL_SUPER, 0, DXF_FIRST_FREE_BLOCK);
    add_blocks(picture, CTL_SUPER, DXF_SPARE_BLOCK, 1);
    add_blocks(picture, CTL_LOG, le64_get(super->log_start),
               (uint64_t)le32_get(super->log_count) * le32_get(super->log_blocks));
    add_blocks(picture, CTL_BITMAP, le64_get(super->bitmap_start), le64_get(super->bitmap_blocks));
    gather.data = CTL_TABLE;
    error = on_file(&gather, DXF_INO_TABLE, &anchor->table);
    if (error == 0)
        error = inode_walk(fs_meta(ctl->fs), DXF_INO_ROOT, on_inode, &gather);
    settle(picture, CTL_NODE);
    return error == -EUCLEAN ? 0 : error;
}

/* ---- a served one ------------------------------------------------------------------------------------ */

static void add_area(struct ctl_picture *picture, struct json_object *area)
{
    const char *name = ctl_get_string(area, "name");
    enum ctl_class class = CTL_SUPER;

    if (strcmp(name, "logs") == 0)
        class = CTL_LOG;
    else if (strcmp(name, "bitmap") == 0)
        class = CTL_BITMAP;
    add_blocks(picture, class, ctl_get_u64(area, "offset") / DXF_BLOCK_SIZE,
               ctl_get_u64(area, "length") / DXF_BLOCK_SIZE);
}

static int layout_served(struct ctl *ctl, struct ctl_picture *picture, int *ret_status)
{
    struct json_object *request = ctl_request("layout"), *answer;
    char size[SIZE_TEXT];

    ctl_put_u64(request, "cells", ctl->cells);
    *ret_status = ctl_ask(ctl, request, &answer);
    if (*ret_status != CTL_OK)
        return 0;
    struct json_object *cells = ctl_get(answer, "cells", json_type_array);
    struct json_object *areas = ctl_get(answer, "areas", json_type_array);
    int error = picture_open(picture, ctl_get_u64(answer, "size"), ctl->cells);
    if (error == 0 &&
        (cells == NULL || areas == NULL || json_object_array_length(cells) != picture->count))
        error = -EPROTO;
    if (error == 0) {
        snprintf(picture->title, sizeof(picture->title), "%s, %s", ctl->path,
                 size_format(picture->size, size));
        for (uint64_t i = 0; i < picture->count; i++) {
            uint64_t used = json_object_get_uint64(json_object_array_get_idx(cells, i));
            uint64_t here = i + 1 < picture->count ? picture->cell_size
                                                   : picture->size - i * picture->cell_size;
            used = used < here ? used : here;
            picture->cell[i][CTL_OTHER] = used;
            picture->cell[i][CTL_FREE] = here - used;
            picture->total[CTL_OTHER] += used;
            picture->total[CTL_FREE] += here - used;
        }
        for (size_t i = 0; i < json_object_array_length(areas); i++)
            add_area(picture, json_object_array_get_idx(areas, i));
        settle(picture, CTL_OTHER);
    }
    json_object_put(answer);
    return error;
}

/* ---- the answer ---------------------------------------------------------------------------------------- */

static struct json_object *picture_json(const struct ctl *ctl, const struct ctl_picture *picture)
{
    struct json_object *answer = ctl_answer(ctl);
    struct json_object *totals = json_object_new_object(), *cells = json_object_new_array();

    ctl_put_u64(answer, "size", picture->size);
    ctl_put_u64(answer, "cell_size", picture->cell_size);
    ctl_put_bool(answer, "detailed", picture->detailed);
    for (unsigned class = 0; class < CTL_CLASSES; class ++)
        if (picture->total[class] > 0)
            ctl_put_u64(totals, ctl_styles[class].name, picture->total[class]);
    json_object_object_add(answer, "totals", totals);
    for (uint64_t i = 0; i < picture->count; i++) {
        struct json_object *cell = json_object_new_object();
        for (unsigned class = 0; class < CTL_CLASSES; class ++)
            if (picture->cell[i][class] > 0)
                ctl_put_u64(cell, ctl_styles[class].name, picture->cell[i][class]);
        json_object_array_add(cells, cell);
    }
    json_object_object_add(answer, "cells", cells);
    return answer;
}

static unsigned terminal_columns(void)
{
    struct winsize window;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col >= 40)
        return window.ws_col < 200 ? window.ws_col : 200;
    return 80;
}

#define PICTURE_ROWS 16
#define PICTURE_CELLS 2048

int ctl_layout(struct ctl *ctl)
{
    struct ctl_picture picture = { 0 };
    unsigned columns = terminal_columns() - 16;

    int status = ctl_open(ctl, false);
    if (status != CTL_OK)
        return status;
    ctl->cells = ctl->svg != NULL || ctl->json ? PICTURE_CELLS : columns * PICTURE_ROWS;
    int error =
        ctl->server >= 0 ? layout_served(ctl, &picture, &status) : layout_here(ctl, &picture);
    if (error < 0)
        status = error == -EPROTO ? ctl_no_answer(ctl) : ctl_fail(ctl, "%s", strerror(-error));
    if (status == CTL_OK && ctl->svg != NULL) {
        error = ctl_draw_svg(&picture, ctl->svg);
        if (error < 0) {
            fprintf(stderr, "daxfuse-ctl: %s: %s\n", ctl->svg, strerror(-error));
            status = CTL_FAILED;
        }
    }
    if (status == CTL_OK && (ctl->json || ctl->svg == NULL)) {
        struct json_object *answer = picture_json(ctl, &picture);
        if (!ctl_print_json(ctl, answer))
            ctl_draw_terminal(&picture, columns, isatty(STDOUT_FILENO));
        json_object_put(answer);
    }
    free(picture.cell);
    return status;
}
