/* Inside the heaps: blocks of device memory, and the addresses that they have. */
#ifndef UNIGPU_SIM_BLOCKS_H
#define UNIGPU_SIM_BLOCKS_H

#include "simulator/cuda/core/context.h"

typedef struct block block;

enum {
    PIECE_BITS = 21,
    ADDRESS_BITS = 47,
    GRAIN = 512, /* alignment of every pointer */
    CLASSES = 48,
};

#define PIECE ((size_t)1 << PIECE_BITS)
#define LARGEST_SMALL (PIECE / 2)

/* A block that may have ended since. */
typedef struct block_name {
    uintptr_t base;
    uint64_t id;
} block_name;

struct block {
    uint64_t id;
    uintptr_t base;
    size_t bytes; /* whole pieces */
    struct heap *heap;
    uint64_t charged; /* bytes on the GPU */
    bool managed;
    bool written;
    int file; /* of shared memory, or -1 */
    bool graph;       /* its addresses were made for graphs */
    unsigned refs; /* graphs' nodes that own the addresses; the memory comes and goes */
    unsigned frees;   /* submitted for such memory, but not run yet */
    /* Such memory may stand on that of earlier blocks of the heap, which are freed before it is used: */
    block_name *lenders;
    size_t lender_count;
    block_name borrower; /* the last that stands on this one */
    uint64_t owed;   /* of `charged`, what the lenders still hold */
    /* A piece shared by small allocations: */
    unsigned class; /* 0: not shared */
    unsigned slots, used;
    uint32_t first_free; /* index + 1 of the first free slot, 0: none; chained through sizes */
    uint32_t *sizes;     /* of a taken slot its bytes; of a free one FREE | next */
    block *next, *previous;
    size_t asked; /* bytes of a large allocation */
};

#define FREE_SLOT 0x80000000U

struct heap {
    device *device; /* NULL: in host memory */
    CUcontext context;
    CUmemoryPool pool;
    pthread_mutex_t lock;
    uint64_t charged, charged_high; /* on the GPU, kept memory included */
    uint64_t kept;                  /* of it, bytes that no block has */
    uint64_t threshold;             /* freed memory is kept up to this */
    bool left;                      /* nobody allocates from it any more */
    block *large;
    block *open[CLASSES]; /* shared pieces with room, by class */
    block *full[CLASSES];
};

/* Blocks come and go with their addresses, under their heap's lock. */
/* The block that holds the address, or NULL. */
block *block_at(CUdeviceptr address);
/* A block with addresses of its own, for which `charged` bytes were taken on the GPU. */
CUresult block_map(struct heap *heap, size_t bytes, uint64_t charged, block **made);
void block_unmap(block *ended);
void block_link(block **list, block *added);
void block_unlink(block **list, block *removed);

/* Takes the memory behind a graph's block, kept memory of the device first; false: the GPU has too little. Call with the heap
 * locked, as the next. */
bool block_charge(block *target);
/* Leaves that memory to the next graphs; the addresses stay. */
void block_uncharge(block *target);
/* Lets a new block of a graph stand on the memory of others of its heap. Call with the heap locked. */
CUresult block_borrow(block *borrower, const CUdeviceptr *lenders, size_t count);
/* Gives memory that the device keeps for graphs back to the GPU. */
void graph_memory_trim(device *owner);

#endif
