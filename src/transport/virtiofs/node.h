/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The nodes of a guest: what it has looked up and not forgotten.
 *
 * Owns the references of fs/ that lookups gave: as many as the guest's count says. A node id is a
 * slot and a generation, never an inode number or a pointer, so a guest can name what was looked up
 * through this door and nothing else; the export's root is FUSE_ROOT_ID, always there, and its
 * reference is the caller's.
 *
 * Invariants
 * N1 There is one node for an inode while the guest has it.
 * N2 A pinned node keeps its inode: a forget that comes meanwhile makes the id stale at once, and
 *    gives the last reference back when the last pin goes. So no request acts on an inode number
 *    that has become somebody else's.
 * N3 No more is given back than there is.
 * N4 What a request of an earlier epoch brings is refused: nodes_clear leaves nothing behind.
 * N5 Whether a node is of a large file is decided once, when it is made: the guest drops an inode that
 *    it is told to map from now on, or not any more, and a file that grows would be dropped all the time.
 * N6 There are at most NODES_MAX, besides those that are forgotten and pinned.
 *
 * Any thread. One mutex inside, a leaf: fs/ is called without it.
 */
#ifndef DAXFUSE_TRANSPORT_VIRTIOFS_NODE_H
#define DAXFUSE_TRANSPORT_VIRTIOFS_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Each takes some 300 bytes here, with its inode. */
#define NODES_MAX 1000000u

struct fs;
struct node_slot;

struct nodes {
    struct fs *fs;
    uint64_t root; /* inode number of the export's root */
    pthread_mutex_t mutex;
    struct node_slot *slots;
    uint32_t *buckets;   /* by inode number: the first slot + 1 */
    uint32_t size, used; /* slots there are, and that ever were used; as many buckets as slots */
    uint32_t free;       /* the first free slot + 1 */
    uint32_t count;      /* of nodes */
    uint32_t limit;
    uint32_t generation; /* of the last one */
    uint32_t epoch;
};

void nodes_init(struct nodes *nodes, struct fs *fs, uint64_t root);
/* Nothing is pinned. */
void nodes_destroy(struct nodes *nodes);

/* The inode was looked up: takes over one reference of it. *large: whether it is a large file; on return,
 * whether it was when the node was made. -ENFILE, -ENOMEM, -ENOTCONN another epoch: the reference is still
 * the caller's. */
int nodes_add(struct nodes *nodes, uint32_t epoch, uint64_t ino, bool *large, uint64_t *ret_id);
/* Before a file is made: whether there is room for another node, as long as others bring none. -ENFILE. */
int nodes_check_room(struct nodes *nodes);
/* The inode stays what it is until nodes_unpin of the same id. ret_large may be NULL. -ESTALE. */
int nodes_pin(struct nodes *nodes, uint64_t id, uint64_t *ret_ino, bool *ret_large);
void nodes_unpin(struct nodes *nodes, uint64_t id);
/* The guest forgets so many lookups. Ids that are not there, counts too large: no harm. */
void nodes_forget(struct nodes *nodes, uint64_t id, uint64_t count);
/* All is forgotten; a new epoch begins. */
void nodes_clear(struct nodes *nodes, uint32_t epoch);
uint32_t nodes_count(struct nodes *nodes);

#endif
