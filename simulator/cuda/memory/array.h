#ifndef UNIGPU_SIM_ARRAY_H
#define UNIGPU_SIM_ARRAY_H

#include "simulator/cuda/core/context.h"

struct CUarray_st {
    object object;
    CUcontext context;
    CUDA_ARRAY3D_DESCRIPTOR description;
    CUdeviceptr base;
    size_t row_bytes, pitch; /* bytes of a row, and from one to the next */
    size_t rows, slices;     /* 1 where the dimension is absent */
    CUmipmappedArray mipmap; /* of which it is a level, or NULL */
};

struct CUmipmappedArray_st {
    object object;
    CUcontext context;
    CUdeviceptr base;
    size_t bytes;
    unsigned level_count;
    CUarray levels[32];
};

#endif
