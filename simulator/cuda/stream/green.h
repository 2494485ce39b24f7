/* Green contexts: a part of a GPU's multiprocessors under a device's primary context. */
#ifndef UNIGPU_SIM_GREEN_H
#define UNIGPU_SIM_GREEN_H

#include "simulator/cuda/core/resource.h"
#include "simulator/cuda/stream/stream.h"

struct CUgreenCtx_st {
    object object;
    uint64_t id;
    CUcontext primary; /* held */
    CUcontext name;    /* as a context; its `base` is the primary one */
    CUdevResourceDesc has;
    CUstream marks; /* as of a context */
};

/* The part of the GPU that work of the stream may use when the calling thread submits it. */
gpu_part stream_part(const struct CUstream_st *stream);
/* The same for work that a graph gets. */
gpu_part current_part(void);

#endif
