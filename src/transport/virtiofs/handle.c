/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/virtiofs/handle.h"

#include "base/random.h"
#include "fs/fs.h"
#include <errno.h>
#include <stdlib.h>

enum state {
    STATE_FREE,
    STATE_RESERVED,
    STATE_OPEN,
    STATE_CLOSED, /* and still in use */
};

struct handle_slot {
    struct fs_handle *handle;
    uint64_t node;
    uint32_t generation;
    uint32_t users;
    uint32_t next; /* of the free ones: slot + 1 */
    uint8_t state;
    uint8_t kind;
};

#define SLOTS_MIN 32u

void handles_init(struct handles *handles, struct fs *fs)
{
    *handles = (struct handles){
        .fs = fs,
        .limit = HANDLES_MAX,
        .generation = random_nonzero_u32(),
    };
    pthread_mutex_init(&handles->mutex, NULL);
}

void handles_destroy(struct handles *handles)
{
    handles_clear(handles, 0);
    pthread_mutex_destroy(&handles->mutex);
    free(handles->slots);
}

static void slot_free(struct handles *handles, uint32_t place)
{
    handles->slots[place] = (struct handle_slot){ .next = handles->free };
    handles->free = place + 1;
    handles->count--;
}

static int slot_take(struct handles *handles, uint32_t *ret_place)
{
    if (handles->count >= handles->limit)
        return -ENFILE;
    if (handles->free != 0) {
        *ret_place = handles->free - 1;
        handles->free = handles->slots[*ret_place].next;
    } else {
        if (handles->used == handles->size) {
            uint32_t size = handles->size ? handles->size * 2 : SLOTS_MIN;
            struct handle_slot *slots = realloc(handles->slots, size * sizeof(*slots));

            if (!slots)
                return -ENOMEM;
            handles->slots = slots;
            handles->size = size;
        }
        *ret_place = handles->used++;
    }
    handles->slots[*ret_place] = (struct handle_slot){ .state = STATE_RESERVED };
    handles->count++;
    return 0;
}

int handles_reserve(struct handles *handles, uint32_t epoch, uint32_t *ret_place)
{
    int r = -ENOTCONN;

    pthread_mutex_lock(&handles->mutex);
    if (epoch == handles->epoch)
        r = slot_take(handles, ret_place);
    pthread_mutex_unlock(&handles->mutex);
    return r;
}

void handles_cancel(struct handles *handles, uint32_t place)
{
    pthread_mutex_lock(&handles->mutex);
    slot_free(handles, place);
    pthread_mutex_unlock(&handles->mutex);
}

int handles_fill(struct handles *handles, uint32_t epoch, uint32_t place, struct fs_handle *handle,
                 uint64_t node, enum handle_kind kind, uint64_t *ret_id)
{
    struct handle_slot *slot;
    int r = 0;

    pthread_mutex_lock(&handles->mutex);
    if (epoch != handles->epoch) {
        slot_free(handles, place);
        r = -ENOTCONN;
    } else {
        if (++handles->generation == 0)
            handles->generation = 1;
        slot = &handles->slots[place];
        slot->handle = handle;
        slot->node = node;
        slot->generation = handles->generation;
        slot->kind = (uint8_t)kind;
        slot->state = STATE_OPEN;
        *ret_id = (uint64_t)slot->generation << 32 | place;
    }
    pthread_mutex_unlock(&handles->mutex);
    return r;
}

static struct handle_slot *find(struct handles *handles, uint64_t id, uint64_t node,
                                enum handle_kind kind)
{
    uint32_t place = (uint32_t)id;
    struct handle_slot *slot;

    if (place >= handles->used)
        return NULL;
    slot = &handles->slots[place];
    return slot->state == STATE_OPEN && slot->generation == id >> 32 && slot->node == node &&
                   (slot->kind & kind)
               ? slot
               : NULL;
}

int handles_use(struct handles *handles, uint64_t id, uint64_t node, enum handle_kind kind,
                struct fs_handle **ret_handle)
{
    struct handle_slot *slot;
    int r = -EBADF;

    pthread_mutex_lock(&handles->mutex);
    slot = find(handles, id, node, kind);
    if (slot) {
        slot->users++;
        *ret_handle = slot->handle;
        r = 0;
    }
    pthread_mutex_unlock(&handles->mutex);
    return r;
}

void handles_unuse(struct handles *handles, uint64_t id)
{
    struct fs_handle *handle = NULL;
    struct handle_slot *slot;

    pthread_mutex_lock(&handles->mutex);
    slot = &handles->slots[(uint32_t)id];
    if (--slot->users == 0 && slot->state == STATE_CLOSED) {
        handle = slot->handle;
        slot_free(handles, (uint32_t)id);
    }
    pthread_mutex_unlock(&handles->mutex);
    if (handle)
        fs_release(handles->fs, handle);
}

/* Returns what the caller releases; NULL: whoever uses it does. */
static struct fs_handle *close_slot(struct handles *handles, uint32_t place)
{
    struct handle_slot *slot = &handles->slots[place];
    struct fs_handle *handle = slot->handle;

    if (slot->users > 0) {
        slot->state = STATE_CLOSED;
        return NULL;
    }
    slot_free(handles, place);
    return handle;
}

int handles_close(struct handles *handles, uint64_t id, uint64_t node, enum handle_kind kind)
{
    struct fs_handle *handle = NULL;
    int r = -EBADF;

    pthread_mutex_lock(&handles->mutex);
    if (find(handles, id, node, kind)) {
        handle = close_slot(handles, (uint32_t)id);
        r = 0;
    }
    pthread_mutex_unlock(&handles->mutex);
    if (handle)
        fs_release(handles->fs, handle);
    return r;
}

void handles_clear(struct handles *handles, uint32_t epoch)
{
    pthread_mutex_lock(&handles->mutex);
    handles->epoch = epoch;
    for (uint32_t place = 0; place < handles->used; place++) {
        struct fs_handle *handle = NULL;

        if (handles->slots[place].state == STATE_OPEN)
            handle = close_slot(handles, place);
        if (!handle)
            continue;
        pthread_mutex_unlock(&handles->mutex);
        fs_release(handles->fs, handle);
        pthread_mutex_lock(&handles->mutex);
    }
    pthread_mutex_unlock(&handles->mutex);
}

uint32_t handles_count(struct handles *handles)
{
    uint32_t count;

    pthread_mutex_lock(&handles->mutex);
    count = handles->count;
    pthread_mutex_unlock(&handles->mutex);
    return count;
}
