/* Streams: how they begin and end, and which one a handle means. */
#ifndef UNIGPU_SIM_STREAM_H
#define UNIGPU_SIM_STREAM_H

#include "simulator/cuda/core/context.h"
#include "simulator/cuda/stream/recorder.h"

typedef struct pending {
    op op;
    uint64_t submitted_ns;
    struct pending *next;
} pending;

enum { LAUNCH_DEPTH = 1024 };

struct CUstream_st {
    object object;
    CUcontext context;
    uint64_t id;
    unsigned flags;
    int priority;
    int sync_policy;
    bool usual; /* the legacy default stream, or a thread's own */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t ready_ns; /* when everything that has begun here is complete */
    /* Work that can't be settled yet: kernels far ahead, host functions, and everything after them. A thread runs it. */
    pending *first, *last;
    unsigned pending_count;
    pthread_cond_t arrived; /* for the thread */
    bool has_thread, closing;
    uint64_t *launch_ends; /* of the last LAUNCH_DEPTH kernels and graphs */
    uint64_t launches; /* kernels and graphs whose end is settled */
    uint64_t submitted; /* kernels and graphs given to the stream */
    uint64_t seen_ns; /* a time that has passed */
    recorder *capture; /* NULL: work runs */
    CUgreenCtx green; /* it was made in, or NULL */
    bool detached; /* that is gone: the stream can only be destroyed */
    CUstream next;
};

CUstream stream_new(CUcontext context, unsigned flags, int priority, bool usual);
/* Ends the stream as soon as its work is done. */
void stream_end(CUstream stream);
/* Ends all streams of a context, and waits until they are gone. */
void streams_end(CUcontext context);
/* The stream that a handle means in this context, or NULL. */
CUstream stream_find(CUcontext context, CUstream handle);
/* Whether the stream and the legacy default stream wait for each other. */
static inline bool stream_is_blocking(const struct CUstream_st *stream) {
    return !(stream->flags & CU_STREAM_NON_BLOCKING);
}

/* The first line of entry points with a stream: resolves the handle. */
#define NEED_STREAM(name, handle)          \
    CUstream name;                         \
    NEED_CONTEXT(current);                 \
    name = stream_find(current, handle);   \
    NEED(name, CUDA_ERROR_INVALID_HANDLE); \
    NEED(!name->detached, CUDA_ERROR_STREAM_DETACHED)

#endif
