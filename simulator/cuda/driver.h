/* Inside the simulated libcuda: objects behind the handles, and what every entry point checks first. */
#ifndef UNIGPU_SIM_DRIVER_H
#define UNIGPU_SIM_DRIVER_H

#include <pthread.h>
#include <stdbool.h>

#include "abi/cuda.h"
#include "simulator/state/state.h"

#define MIB ((size_t)1 << 20)
#define ROUND_UP(value, step) (((value) + (step) - 1) / (step) * (step))

/* ---- Handles. Objects are never returned to malloc, so that a stale handle is told apart instead of crashing. */

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
} object_kind;

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

/* ---- Devices, as this process numbers them. */

typedef struct waiter waiter;

typedef struct device {
    uint32_t gpu; /* the machine's number */
    sim_gpu *card;
    const sim_profile *profile;
    pthread_mutex_t lock;
    CUcontext primary;
    unsigned primary_holders;
    unsigned primary_flags;
    uint64_t graph_bytes, graph_bytes_high;
    CUmemoryPool default_pool, pool; /* pool: the one that allocations without a name use */
    /* turns.c: */
    pthread_mutex_t turns; /* guards the kernels that wait to be booked */
    waiter *waiters;
    unsigned waiting;
    bool watched; /* one of their threads watches the clock */
    bool asking;  /* the card knows that some wait */
} device;

typedef struct driver {
    sim_machine *machine;
    int device_count;
    device devices[SIM_MAX_GPUS];
} driver;

extern driver sim_driver;

/* CUDA_SUCCESS once cuInit has succeeded in this process image; a forked child never recovers, as on real cards. */
CUresult driver_ready(void);
device *device_at(CUdevice ordinal);

/* ---- Contexts. */

struct CUctx_st {
    object object;
    int ordinal;
    device *device;
    uint64_t id;
    uint64_t cost;
    uint32_t card_state; /* of `lost`, when it was made */
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
    size_t limits[16];
    uint64_t limit_bytes[16]; /* that the card gave for them */
    CUfunc_cache cache_config;
    CUsharedconfig shared_config;
    uint32_t peers; /* cards whose memory it may reach, by number */
};

/* The calling thread's context, or NULL with the error that the entry point answers. */
CUcontext context_current(CUresult *error);
/* The same, for what asks nothing of the card. */
CUcontext context_named(CUresult *error);
/* Whether the context's card fell off the bus at any time since: every call then answers CUDA_ERROR_UNKNOWN. */
static inline bool context_lost(CUcontext context) {
    return __atomic_load_n(&context->device->card->lost, __ATOMIC_RELAXED) != context->card_state;
}
CUresult context_new(int ordinal, unsigned flags, bool primary, CUcontext *context);
void context_end(CUcontext context);
/* limits.c: */
void limits_begin(CUcontext context);
void limits_end(CUcontext context);

/* ---- Device memory. */

typedef struct block block;
typedef struct heap heap;

/* One allocation as a pointer into it finds it. */
typedef struct extent {
    CUdeviceptr base;
    size_t bytes; /* as asked for */
    device *device;
    CUcontext context; /* NULL in a pool */
    CUmemoryPool pool;
    bool managed;
} extent;

heap *heap_new(device *device, CUcontext context, CUmemoryPool pool);
void heap_end(heap *heap);
/* A pool's heap, and the pool's object, end with the last allocation: until then the card's memory stays taken. */
void heap_leave(heap *heap);
CUresult heap_alloc(heap *heap, size_t bytes, bool managed, CUdeviceptr *pointer);
CUresult heap_free(CUdeviceptr pointer);
/* Addresses without memory: `heap_charge` gives it, `heap_free` takes it back and leaves the addresses, until the
 * last keeper goes. Reserving makes the first keeper. */
CUresult heap_reserve(heap *heap, size_t bytes, CUdeviceptr *pointer);
CUresult heap_charge(CUdeviceptr pointer);
void heap_uncharge(CUdeviceptr pointer);
/* A free was submitted that has yet to run: such memory may be charged again, for when it is free. */
void heap_expect_free(CUdeviceptr pointer);
void heap_keep(CUdeviceptr pointer);
void heap_unkeep(CUdeviceptr pointer);
/* Which allocation holds the address; false: none does. */
bool heap_find(CUdeviceptr address, extent *found);
/* Whether the address lies in memory of a card at all, allocated or not. */
bool heap_owns(CUdeviceptr address);
/* Whether [address, address + bytes) lies inside one allocation; marks it written when asked. */
bool heap_holds(CUdeviceptr address, size_t bytes, bool write);

/* vmm.c: the same for mapped physical memory. */
bool mapped_find(CUdeviceptr address, extent *found);
/* Whether the address lies in a reserved range, accessible or not. */
bool reserved_owns(CUdeviceptr address);
/* A file in memory that stands for memory of the device; -1: none could be had. */
int memory_file(const device *device, size_t bytes);
/* Memory by such a file, of which it takes possession. */
CUresult memory_import(int file, CUmemGenericAllocationHandle *handle);
/* Moves the block around the pointer into such a file, which it answers with the pointer's place in it. */
CUresult heap_share(CUdeviceptr pointer, int *file, size_t *offset);
/* Bytes that a heap's blocks take on the card, now or at most so far. */
uint64_t heap_charged_bytes(heap *heap, bool highest);
void heap_forget_high(heap *heap);
/* From now on what is freed is kept, as long as the heap has no more than so many bytes. */
void heap_hold(heap *heap, uint64_t threshold);
/* Gives back what is kept beyond so many bytes. */
void heap_trim(heap *heap, uint64_t most);
/* Bytes on the card of graphs' allocations. */
uint64_t graph_memory(const device *device, bool highest);
void graph_memory_forget_high(device *device);
/* A pool counts what is freed, by whichever call. */
void pool_freed(const extent *freed);

/* ---- Host memory that the driver knows. */

bool host_find(CUdeviceptr pointer, extent *found);

/* Whether [pointer, pointer + bytes) was allocated or registered here. */
bool host_holds(CUdeviceptr pointer, size_t bytes);

/* ---- Modules. */

struct CUfunc_st {
    object object;
    CUmodule module;
    char *name;
    size_t parameter_count;
    size_t parameter_bytes;
    struct {
        size_t offset, bytes;
    } parameters[64];
    int max_dynamic_shared;
    int static_shared;
    struct CUfunc_st *next;
};

typedef struct global {
    char *name;
    size_t bytes;
    CUdeviceptr pointer;
    struct global *next;
} global;

struct CUmod_st {
    object object;
    CUcontext context;
    CUfunction functions;
    global *globals;
    struct CUmod_st *next;
};

/* Reads kernels and globals out of an image into the module; INVALID_IMAGE or INVALID_PTX when it has no form known. */
CUresult image_read(CUmodule module, const void *image);
void module_end(CUmodule module);

/* ---- What every entry point begins with. */

#define NEED_DRIVER()                     \
    do {                                  \
        CUresult ready_ = driver_ready(); \
        if (ready_ != CUDA_SUCCESS) {     \
            return ready_;                \
        }                                 \
    } while (0)

#define NEED(condition, error) \
    do {                       \
        if (!(condition)) {    \
            return (error);    \
        }                      \
    } while (0)

#define NEED_OK(call)                  \
    do {                               \
        CUresult status_ = (call);     \
        if (status_ != CUDA_SUCCESS) { \
            return status_;            \
        }                              \
    } while (0)

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

/* The same without a look at the card. */
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

#define NEED_DEVICE(name, ordinal)             \
    __attribute__((unused)) device *name;      \
    do {                                       \
        NEED_DRIVER();                         \
        name = device_at(ordinal);             \
        NEED(name, CUDA_ERROR_INVALID_DEVICE); \
    } while (0)

#endif
