#ifndef UNIGPU_SIM_EXTENT_H
#define UNIGPU_SIM_EXTENT_H

#include "simulator/cuda/core/context.h"

/* One allocation, as found by a pointer into it. */
typedef struct extent {
    CUdeviceptr base;
    size_t bytes; /* as requested */
    device *device;
    CUcontext context; /* NULL in a pool */
    CUmemoryPool pool;
    bool managed;
} extent;

#endif
