/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/virtiofs/node.h"

#include "base/random.h"
#include "fs/fs.h"
#include "transport/virtiofs/wire.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * lookups > 0: it is in its bucket, and has as many references of fs/.
 * lookups 0 and pins > 0: forgotten, not found any more, one reference is kept.
 * both 0: free.
 */
struct node_slot {
    uint64_t ino;
    uint64_t lookups;
    uint32_t generation;
    uint32_t pins;
    uint32_t next; /* slot + 1: in the bucket, or of the free ones */
    bool large;
};

#define SLOTS_MIN 64u
#define SLOTS_MAX (1u << 31)

static uint32_t bucket_of(const struct nodes *nodes, uint64_t ino)
{
    return (uint32_t)((ino * 0x9e3779b97f4a7c15u) >> 32) & (nodes->size - 1);
}

static uint64_t id_of(const struct nodes *nodes, uint32_t slot)
{
    return (uint64_t)nodes->slots[slot].generation << 32 | slot;
}

void nodes_init(struct nodes *nodes, struct fs *fs, uint64_t root)
{
    *nodes = (struct nodes){
        .fs = fs,
        .root = root,
        .limit = NODES_MAX,
        .generation = random_nonzero_u32(),
    };
    pthread_mutex_init(&nodes->mutex, NULL);
}

void nodes_destroy(struct nodes *nodes)
{
    nodes_clear(nodes, 0);
    pthread_mutex_destroy(&nodes->mutex);
    free(nodes->slots);
    free(nodes->buckets);
}

static void bucket_insert(struct nodes *nodes, uint32_t slot)
{
    uint32_t *bucket = &nodes->buckets[bucket_of(nodes, nodes->slots[slot].ino)];

    nodes->slots[slot].next = *bucket;
    *bucket = slot + 1;
}

static void bucket_remove(struct nodes *nodes, uint32_t slot)
{
    uint32_t *link = &nodes->buckets[bucket_of(nodes, nodes->slots[slot].ino)];

    while (*link != slot + 1)
        link = &nodes->slots[*link - 1].next;
    *link = nodes->slots[slot].next;
}

/* Twice as many slots and buckets. */
static int grow(struct nodes *nodes)
{
    uint32_t size = nodes->size ? nodes->size * 2 : SLOTS_MIN;
    struct node_slot *slots;
    uint32_t *buckets;

    if (size > SLOTS_MAX)
        return -ENOMEM;
    slots = realloc(nodes->slots, size * sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    nodes->slots = slots;
    buckets = calloc(size, sizeof(*buckets));
    if (!buckets)
        return -ENOMEM;
    free(nodes->buckets);
    nodes->buckets = buckets;
    nodes->size = size;
    for (uint32_t i = 0; i < nodes->used; i++)
        if (slots[i].lookups > 0)
            bucket_insert(nodes, i);
    return 0;
}

static int slot_take(struct nodes *nodes, uint32_t *ret_slot)
{
    if (nodes->free != 0) {
        *ret_slot = nodes->free - 1;
        nodes->free = nodes->slots[*ret_slot].next;
        return 0;
    }
    if (nodes->used == nodes->size) {
        int r = grow(nodes);
        if (r < 0)
            return r;
    }
    *ret_slot = nodes->used++;
    return 0;
}

static void slot_free(struct nodes *nodes, uint32_t slot)
{
    nodes->slots[slot] = (struct node_slot){ .next = nodes->free };
    nodes->free = slot + 1;
}

/* Ids are never as small as FUSE_ROOT_ID: no generation is 0. */
static uint32_t generation_next(struct nodes *nodes)
{
    if (++nodes->generation == 0)
        nodes->generation = 1;
    return nodes->generation;
}

static int find(const struct nodes *nodes, uint64_t id, uint32_t *ret_slot)
{
    uint32_t slot = (uint32_t)id;

    if (slot >= nodes->used || nodes->slots[slot].generation != id >> 32 ||
        nodes->slots[slot].lookups == 0)
        return -ESTALE;
    *ret_slot = slot;
    return 0;
}

static int add_locked(struct nodes *nodes, uint64_t ino, bool *large, uint64_t *ret_id)
{
    uint32_t slot = 0;
    int r;

    if (nodes->size > 0)
        for (uint32_t at = nodes->buckets[bucket_of(nodes, ino)]; at;
             at = nodes->slots[slot].next) {
            slot = at - 1;
            if (nodes->slots[slot].ino == ino) {
                nodes->slots[slot].lookups++;
                *large = nodes->slots[slot].large;
                *ret_id = id_of(nodes, slot);
                return 0;
            }
        }
    r = nodes->count < nodes->limit ? slot_take(nodes, &slot) : -ENFILE;
    if (r < 0)
        return r;
    nodes->slots[slot] = (struct node_slot){
        .ino = ino,
        .lookups = 1,
        .generation = generation_next(nodes),
        .large = *large,
    };
    bucket_insert(nodes, slot);
    nodes->count++;
    *ret_id = id_of(nodes, slot);
    return 0;
}

int nodes_add(struct nodes *nodes, uint32_t epoch, uint64_t ino, bool *large, uint64_t *ret_id)
{
    int r = -ENOTCONN;

    pthread_mutex_lock(&nodes->mutex);
    if (epoch == nodes->epoch)
        r = add_locked(nodes, ino, large, ret_id);
    pthread_mutex_unlock(&nodes->mutex);
    return r;
}

int nodes_check_room(struct nodes *nodes)
{
    return nodes_count(nodes) < nodes->limit ? 0 : -ENFILE;
}

int nodes_pin(struct nodes *nodes, uint64_t id, uint64_t *ret_ino, bool *ret_large)
{
    uint32_t slot;
    int r;

    if (id == FUSE_ROOT_ID) {
        *ret_ino = nodes->root;
        if (ret_large)
            *ret_large = false;
        return 0;
    }
    pthread_mutex_lock(&nodes->mutex);
    r = find(nodes, id, &slot);
    if (r == 0) {
        nodes->slots[slot].pins++;
        *ret_ino = nodes->slots[slot].ino;
        if (ret_large)
            *ret_large = nodes->slots[slot].large;
    }
    pthread_mutex_unlock(&nodes->mutex);
    return r;
}

void nodes_unpin(struct nodes *nodes, uint64_t id)
{
    uint32_t slot = (uint32_t)id;
    uint64_t ino = 0;

    if (id == FUSE_ROOT_ID)
        return;
    pthread_mutex_lock(&nodes->mutex);
    if (--nodes->slots[slot].pins == 0 && nodes->slots[slot].lookups == 0) {
        ino = nodes->slots[slot].ino;
        slot_free(nodes, slot);
    }
    pthread_mutex_unlock(&nodes->mutex);
    if (ino != 0)
        fs_forget(nodes->fs, ino, 1);
}

/* Returns how many references the caller gives back. */
static uint64_t drop(struct nodes *nodes, uint32_t slot, uint64_t count)
{
    struct node_slot *node = &nodes->slots[slot];

    if (count > node->lookups)
        count = node->lookups;
    node->lookups -= count;
    if (node->lookups > 0)
        return count;
    bucket_remove(nodes, slot);
    nodes->count--;
    if (node->pins > 0)
        return count - 1;
    slot_free(nodes, slot);
    return count;
}

void nodes_forget(struct nodes *nodes, uint64_t id, uint64_t count)
{
    uint64_t ino = 0;
    uint32_t slot;

    pthread_mutex_lock(&nodes->mutex);
    if (count > 0 && find(nodes, id, &slot) == 0) {
        ino = nodes->slots[slot].ino;
        count = drop(nodes, slot, count);
    }
    pthread_mutex_unlock(&nodes->mutex);
    if (ino != 0 && count > 0)
        fs_forget(nodes->fs, ino, count);
}

void nodes_clear(struct nodes *nodes, uint32_t epoch)
{
    pthread_mutex_lock(&nodes->mutex);
    nodes->epoch = epoch;
    for (uint32_t slot = 0; slot < nodes->used; slot++) {
        uint64_t ino = nodes->slots[slot].ino, count;

        if (nodes->slots[slot].lookups == 0)
            continue;
        count = drop(nodes, slot, UINT64_MAX);
        if (count == 0)
            continue;
        pthread_mutex_unlock(&nodes->mutex);
        fs_forget(nodes->fs, ino, count);
        pthread_mutex_lock(&nodes->mutex);
    }
    pthread_mutex_unlock(&nodes->mutex);
}

uint32_t nodes_count(struct nodes *nodes)
{
    uint32_t count;

    pthread_mutex_lock(&nodes->mutex);
    count = nodes->count;
    pthread_mutex_unlock(&nodes->mutex);
    return count;
}
