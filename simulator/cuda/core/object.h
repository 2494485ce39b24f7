/* The objects behind handles. They are never returned to malloc, so a stale handle is recognised instead of crashing. */
#ifndef UNIGPU_SIM_OBJECT_H
#define UNIGPU_SIM_OBJECT_H

#include "simulator/cuda/core/check.h"

typedef enum object_kind {
    KIND_CONTEXT = 0x43545831,
    KIND_STREAM,
    KIND_EVENT,
    KIND_MODULE,
    KIND_FUNCTION,
    KIND_GRAPH,
    KIND_NODE,
    KIND_EXEC,
    KIND_ARRAY,
    KIND_MIPMAP,
    KIND_POOL,
    KIND_LIBRARY,
    KIND_KERNEL,
    KIND_LINK,
    KIND_USER,
    KIND_PHYSICAL,
    KIND_TEXTURE,
    KIND_GREEN,
    KIND_RESOURCES,
    KIND_EXTERNAL_MEMORY,
    KIND_SEMAPHORE,
} object_kind;

/* The first member of everything that a handle points to. */
typedef struct object {
    uint32_t kind; /* 0 once destroyed */
    struct object *next_free;
} object;

void *object_new(object_kind kind, size_t size);
void object_end(void *handle);
static inline bool object_is(const void *handle, object_kind kind) {
    return handle && ((uintptr_t)handle & 15) == 0 && (uintptr_t)handle > 4096 &&
           ((const object *)handle)->kind == (uint32_t)kind;
}

#endif
