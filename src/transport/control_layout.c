/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The picture of a pool for `daxfuse-ctl layout`: its fixed areas, and the pool cut into cells of the
 * same size, each with the bytes that are allocated in it. From the medium's bitmap, in one walk.
 */
#include "transport/control.h"

#include "base/endian.h"
#include "space/space.h"
#include "transport/server.h"
#include <errno.h>
#include <stdlib.h>

#define CELLS_DEFAULT 1024
#define CELLS_MAX 65536

struct picture {
    uint64_t cell_blocks;
    uint64_t count;
    uint64_t *used; /* blocks, a number for each cell */
    uint64_t runs_used, runs_free, largest_free;
};

static int picture_run(void *arg, uint64_t start, uint64_t count, bool allocated)
{
    struct picture *picture = arg;

    if (!allocated) {
        picture->runs_free++;
        if (count > picture->largest_free)
            picture->largest_free = count;
        return 0;
    }
    picture->runs_used++;
    while (count > 0) {
        uint64_t cell = start / picture->cell_blocks;
        uint64_t part = (cell + 1) * picture->cell_blocks - start;
        if (part > count)
            part = count;
        if (cell >= picture->count)
            return 0; /* grown meanwhile */
        picture->used[cell] += part;
        start += part;
        count -= part;
    }
    return 0;
}

static void add_area(struct json_object *areas, const char *name, uint64_t start, uint64_t count)
{
    struct json_object *area = json_object_new_object();

    json_object_object_add(area, "name", json_object_new_string(name));
    json_object_object_add(area, "offset", json_object_new_uint64(start * DXF_BLOCK_SIZE));
    json_object_object_add(area, "length", json_object_new_uint64(count * DXF_BLOCK_SIZE));
    json_object_array_add(areas, area);
}

static void add_areas(const struct dxf_super *super, const struct space_extent *bitmap,
                      struct json_object *answer)
{
    struct json_object *areas = json_object_new_array();

    add_area(areas, "superblock", DXF_SUPER_BLOCK, 1);
    add_area(areas, "journal header", DXF_JOURNAL_BLOCK, 1);
    add_area(areas, "anchor", DXF_ANCHOR_BLOCK, 1);
    add_area(areas, "intents", DXF_INTENT_BLOCK, 1);
    add_area(areas, "bad blocks", DXF_BADBLOCK_BLOCK, 1);
    add_area(areas, "spare superblock", DXF_SPARE_BLOCK, 1);
    add_area(areas, "logs", le64_get(super->log_start),
             (uint64_t)le32_get(super->log_count) * le32_get(super->log_blocks));
    add_area(areas, "bitmap", bitmap->start, bitmap->count);
    json_object_object_add(answer, "areas", areas);
}

int control_answer_layout(struct server *server, struct json_object *request,
                          struct json_object *answer)
{
    struct fs *fs = server_fs(server);
    struct pool *pool = fs_pool(fs);
    struct json_object *wanted;
    struct space_info info;
    uint64_t cells = CELLS_DEFAULT;

    if (json_object_object_get_ex(request, "cells", &wanted)) {
        int64_t number = json_object_get_int64(wanted);
        if (!json_object_is_type(wanted, json_type_int) || number < 1 || number > CELLS_MAX)
            return -ERANGE;
        cells = (uint64_t)number;
    }
    uint64_t blocks = pool->blocks;
    struct picture picture = { .cell_blocks = (blocks + cells - 1) / cells };
    picture.count = (blocks + picture.cell_blocks - 1) / picture.cell_blocks;
    picture.used = calloc(picture.count, sizeof(*picture.used));
    if (!picture.used)
        return -ENOMEM;
    int error = space_walk(fs_space(fs), picture_run, &picture);
    if (!error) {
        space_get_info(fs_space(fs), &info);
        struct json_object *used = json_object_new_array();
        for (uint64_t i = 0; i < picture.count; i++)
            json_object_array_add(used, json_object_new_uint64(picture.used[i] * DXF_BLOCK_SIZE));
        json_object_object_add(answer, "size", json_object_new_uint64(blocks * DXF_BLOCK_SIZE));
        json_object_object_add(answer, "free", json_object_new_uint64(info.free * DXF_BLOCK_SIZE));
        json_object_object_add(answer, "pieces_free", json_object_new_uint64(info.pieces_free));
        json_object_object_add(answer, "runs_used", json_object_new_uint64(picture.runs_used));
        json_object_object_add(answer, "runs_free", json_object_new_uint64(picture.runs_free));
        json_object_object_add(answer, "largest_free",
                               json_object_new_uint64(picture.largest_free * DXF_BLOCK_SIZE));
        json_object_object_add(answer, "cell_size",
                               json_object_new_uint64(picture.cell_blocks * DXF_BLOCK_SIZE));
        json_object_object_add(answer, "cells", used);
        add_areas(&pool->super, &info.bitmap, answer);
    }
    free(picture.used);
    return error;
}
