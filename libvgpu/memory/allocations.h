/* What this process has from the driver: by handle or address, so that what is freed is given back exactly. */
#ifndef UNIGPU_MEMORY_ALLOCATIONS_H
#define UNIGPU_MEMORY_ALLOCATIONS_H

#include <stdbool.h>
#include <stdint.h>

/* Handles of different kinds may have one value. */
enum allocation_kind {
    ALLOCATION_LINEAR = 1, /* bytes as asked for: pages.h knows what they take */
    ALLOCATION_POOLED, /* from a pool, which is counted as a whole; its context is the reserve */
    ALLOCATION_CONTEXT,
    ALLOCATION_ARRAY,   /* bytes of its elements, as above */
    ALLOCATION_MODULE,
    ALLOCATION_HANDLE,  /* of physical memory; its context is what vmm.c knows of it */
    ALLOCATION_MAPPING, /* of physical memory, by address; likewise */
    ALLOCATION_EXECUTABLE, /* a graph: bytes that its nodes allocate when it runs */
    ALLOCATION_EXTERNAL,
    ALLOCATION_LIMIT,    /* of a context: what the GPU gives beyond its first size */
    ALLOCATION_FIRST_SIZE, /* that size, by the same key; nothing is counted for it */
};

struct allocation {
    uint64_t key;
    uint64_t bytes;
    void *context; /* the context with whose end the memory goes; NULL: with no context */
    int16_t gpu;
    uint8_t kind; /* 0: an empty place */
};

/* Notes it; false where there is no memory for the note. */
bool allocations_add(struct allocation entry);

/* Takes the note out; false where there was none. */
bool allocations_remove(enum allocation_kind kind, uint64_t key, struct allocation *entry);

/* Looks a note up; false where there is none. */
bool allocations_find(enum allocation_kind kind, uint64_t key, struct allocation *entry);

/* Takes all notes of a context out, and calls `each` for them. */
void allocations_sweep(void *context, void (*each)(const struct allocation *entry));

#endif
