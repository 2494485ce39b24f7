#ifndef UNIGPU_SIM_POOL_H
#define UNIGPU_SIM_POOL_H

#include "simulator/cuda/memory/extent.h"

/* Whether the handle is a pool that was not destroyed. */
bool pool_is_open(CUmemoryPool pool);
/* The device's current pool, or NULL: out of memory. */
CUmemoryPool pool_current(device *chosen);
const CUmemPoolProps *pool_properties(CUmemoryPool pool);
CUresult pool_alloc(CUmemoryPool pool, size_t bytes, CUdeviceptr *pointer);
/* Counts a free, by whichever call, of memory that may belong to a pool. */
void pool_freed(const extent *freed);

#define NEED_POOL(pool) NEED(pool_is_open(pool), CUDA_ERROR_INVALID_VALUE)

#endif
