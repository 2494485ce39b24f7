#ifndef UNIGPU_SIM_POOL_H
#define UNIGPU_SIM_POOL_H

#include "simulator/cuda/memory/extent.h"

/* Whether the handle is a pool that was not destroyed. */
bool pool_is_open(CUmemoryPool pool);
/* The device's current pool, or NULL: out of memory. */
CUmemoryPool pool_current(device *chosen);
const CUmemPoolProps *pool_properties(CUmemoryPool pool);
/* The pid of the process that an imported pool comes from; 0: it is a pool of this process. */
int pool_source(CUmemoryPool pool);
CUresult pool_alloc(CUmemoryPool pool, size_t bytes, CUdeviceptr *pointer);
/* Whether a GPU reaches the memory: that of another GPU's pool only when the pool gives it access. */
bool pool_reached(CUdeviceptr address, const device *from);
/* Counts a free, by whichever call, of memory that may belong to a pool. */
void pool_freed(const extent *freed);

#define NEED_POOL(pool) NEED(pool_is_open(pool), CUDA_ERROR_INVALID_VALUE)

#endif
