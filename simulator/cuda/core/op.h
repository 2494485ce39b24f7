/* One piece of work: a stream runs it, a capture records it, a graph keeps it. Plain data; the rooms above act on it. */
#ifndef UNIGPU_SIM_OP_H
#define UNIGPU_SIM_OP_H

#include "simulator/cuda/core/driver.h"

typedef enum op_kind {
    OP_EMPTY,
    OP_COPY, /* linear, unified addresses */
    OP_COPY_BOX, /* up to three dimensions, arrays included */
    OP_FILL,
    OP_KERNEL,
    OP_HOST,
    OP_CALLBACK,
    OP_RECORD,
    OP_WAIT,
    OP_ALLOC, /* of a graph */
    OP_FREE,
    OP_WRITE_VALUE,
    OP_WAIT_VALUE,
    OP_SIGNAL, /* a semaphore of another API */
    OP_AWAIT,
    OP_GRAPH,
} op_kind;

typedef struct op {
    op_kind kind;
    union {
        struct {
            CUdeviceptr destination, source;
            size_t bytes;
        } copy;
        CUDA_MEMCPY3D_PEER box;
        struct {
            CUdeviceptr pointer;
            size_t pitch;
            unsigned value, unit;
            size_t width, height;
        } fill;
        struct {
            CUfunction function;
            unsigned grid[3], block[3];
            unsigned shared;
            bool cooperative;
            unsigned lanes, part; /* as in a sim_job */
            uint64_t duration_ns;
            struct waiter *place; /* in the device queue, of the rest of a kernel */
            void *parameters; /* values one after another at their offsets; a graph's node owns them */
        } kernel;
        struct {
            CUhostFn callback;
            void *data;
        } host;
        struct {
            CUstreamCallback callback;
            void *data;
            CUstream stream;
        } callback;
        struct {
            CUevent event;
            struct fence *fence;
        } event;
        struct {
            CUDA_MEM_ALLOC_NODE_PARAMS wanted;
            CUdeviceptr *pointer; /* where a capture stores the addresses that it chose */
        } alloc;
        CUdeviceptr free;
        struct {
            CUexternalSemaphore semaphore;
            uint64_t value;
            struct semaphore_list *all; /* of a graph's node, which owns it, instead of the one */
        } semaphore;
        struct {
            CUdeviceptr address;
            uint64_t value;
            unsigned flags;
            bool wide;
        } value;
        struct {
            const struct launch_ops *ops;
            CUgraphExec exec;
            CUgraph graph; /* as it was when it was launched */
        } launch;
        CUgraph child;
    } as;
} op;

/* How streams run a graph's launch: graphs lie above streams, so the launch brings its own functions. */
typedef struct launch_ops {
    /* Whether it can't run at once: it calls the host, is running elsewhere, or needs more time than may be booked now. */
    bool (*must_wait)(const op *launch, const device *card);
    /* Runs it at the stream's time and lets go of the graph; returns when it ends. */
    uint64_t (*run)(const op *launch, CUstream stream, uint64_t ready_ns);
} launch_ops;

#endif
