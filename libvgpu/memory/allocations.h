/* What this process holds of the driver's memory, by handle or address, so that each free gives back exactly what was
 * counted. */
#ifndef UNIGPU_MEMORY_ALLOCATIONS_H
#define UNIGPU_MEMORY_ALLOCATIONS_H

#include <stdbool.h>
#include <stdint.h>

/* Handles of different kinds may have the same value. */
enum allocation_kind {
    ALLOCATION_LINEAR = 1, /* bytes as asked for; pages.h knows what they take */
    ALLOCATION_POOLED,     /* belongs to a pool, which is counted as a whole */
    ALLOCATION_CONTEXT,
    ALLOCATION_ARRAY, /* bytes of its elements; pages.h likewise */
    ALLOCATION_MODULE,
    ALLOCATION_HANDLE,     /* of physical memory */
    ALLOCATION_EXECUTABLE, /* a graph: bytes that its nodes allocate when it runs */
    ALLOCATION_EXTERNAL,
    ALLOCATION_LIMIT,      /* of a context: what the GPU gives beyond the limit's first size */
    ALLOCATION_FIRST_SIZE, /* that first size; nothing is counted for it */
};

struct allocation_key {
    uint64_t handle;
    uint32_t limit; /* CUlimit, of the last two kinds; number of the GPU, of ALLOCATION_EXECUTABLE; else 0 */
    uint8_t kind;
};

#define ALLOCATION_KEY(kind_, handle_) \
    ((struct allocation_key){.kind = ALLOCATION_##kind_, .handle = (uint64_t)(uintptr_t)(handle_)})

struct pool;
struct physical;

struct allocation {
    uint64_t handle;
    uint64_t bytes;
    union {
        void *context;             /* the memory ends with it; NULL: it belongs to no context */
        struct pool *pool;         /* of ALLOCATION_POOLED */
        struct physical *physical; /* of ALLOCATION_HANDLE */
    };
    uint32_t limit;
    union {
        int16_t gpu;
        int16_t device; /* CUdevice, of ALLOCATION_EXECUTABLE */
    };
    uint8_t kind; /* 0: an empty place */
};

/* Notes the allocation; false where there is no memory for the note. */
bool allocations_add_note(const struct allocation *entry);

static inline bool allocations_add(struct allocation entry) {
    return allocations_add_note(&entry);
}

/* Takes the note out; false where there was none. */
bool allocations_remove(struct allocation_key key, struct allocation *entry);

/* The same for an address of ALLOCATION_LINEAR or ALLOCATION_POOLED. */
bool allocations_remove_memory(uint64_t address, struct allocation *entry);

/* Copies the note; false where there is none. */
bool allocations_find(struct allocation_key key, struct allocation *entry);

/* Takes out all notes of a context, and calls `each` for them. */
void allocations_sweep(void *context, void (*each)(const struct allocation *entry));

/* In the child of a fork. */
void allocations_after_fork(void);

#endif
