/* Contexts, the calling thread's current one, and the parts that other rooms keep in each context. */
#ifndef UNIGPU_SIM_CONTEXT_H
#define UNIGPU_SIM_CONTEXT_H

#include "simulator/cuda/core/driver.h"

struct CUctx_st {
    object object;
    int ordinal;
    device *device;
    uint64_t id;
    uint64_t cost;
    uint32_t card_state; /* the GPU's `lost` count when the context was made */
    unsigned flags;
    bool primary;
    pthread_mutex_t lock; /* guards the lists below */
    struct heap *heap;
    struct CUstream_st *streams; /* every stream, the default ones included */
    pthread_cond_t empty;        /* of streams */
    CUstream legacy;
    uint64_t blocking_ns; /* when the streams that the legacy one waits for are done */
    uint64_t latest_ns;   /* when everything submitted is done */
    struct CUmod_st *modules;
    uint64_t code_bytes,
        code_reserved; /* of the kernels that are loaded; GPU memory for them beyond the context's cost */
    size_t limits[16];
    uint64_t limit_bytes[16]; /* GPU memory reserved for each limit */
    CUfunc_cache cache_config;
    CUsharedconfig shared_config;
    uint32_t peers; /* bit n: memory of GPU n is reachable */
    CUstream marks; /* collects what all of its work waits for; NULL: nothing ever did */
    /* Of the name that a green context has as a context, and nothing else in it counts: */
    CUcontext base; /* the primary context that it uses */
    CUgreenCtx green;
};

/* The calling thread's context, or NULL with the error that the entry point returns. */
CUcontext context_current(CUresult *error);
/* The same, for calls that don't touch the GPU: a lost one is no error. */
CUcontext context_named(CUresult *error);
/* The context that a handle means, a green context's being its primary one; NULL: none. */
CUcontext context_of(CUcontext handle);
/* The calling thread's green context, or NULL. */
CUgreenCtx context_green(void);
/* Whether the GPU fell off the bus since the context was made: every call then returns CUDA_ERROR_UNKNOWN. */
static inline bool context_lost(CUcontext context) {
    return __atomic_load_n(&context->device->card->lost, __ATOMIC_RELAXED) != context->card_state;
}
CUresult context_new(int ordinal, unsigned flags, bool primary, CUcontext *context);
void context_end(CUcontext context);
/* Makes the stacks of all threads that the GPU can hold at least this large, as a kernel's launch does. */
CUresult context_need_stack(CUcontext context, size_t bytes);
/* Waits until all work submitted to the context is complete. */
void context_wait(CUcontext context);

/* ---- Parts: what lies above contexts, such as memory, modules and streams, registers here what it keeps in each one. */

typedef enum context_part {
    /* Parts begin in this order and end in the opposite one. */
    PART_LIMITS,
    PART_MEMORY,
    PART_MODULES,
    PART_STREAMS,
    CONTEXT_PARTS,
} context_part;

/* Each may be NULL. */
typedef struct context_part_ops {
    void (*begin)(CUcontext context);
    void (*wait)(CUcontext context);
    void (*end)(CUcontext context);
} context_part_ops;

/* Call from a constructor: before any context can exist. */
void context_part_register(context_part part, const context_part_ops *ops);

#define NEED_CONTEXT(name)                  \
    __attribute__((unused)) CUcontext name; \
    do {                                    \
        NEED_DRIVER();                      \
        CUresult error_ = CUDA_SUCCESS;     \
        name = context_current(&error_);    \
        if (!name) {                        \
            return error_;                  \
        }                                   \
    } while (0)

/* The same for a call that doesn't touch the GPU. */
#define NEED_CONTEXT_NAMED(name)        \
    CUcontext name;                     \
    do {                                \
        NEED_DRIVER();                  \
        CUresult error_ = CUDA_SUCCESS; \
        name = context_named(&error_);  \
        if (!name) {                    \
            return error_;              \
        }                               \
    } while (0)

#endif
