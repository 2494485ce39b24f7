/* Memory that the driver keeps in pools: cuMemAllocAsync and the memory nodes of graphs allocate from them.
 *
 * A pool grows in steps that the driver chooses and shrinks when the driver likes. So libvgpu counts the size that the
 * driver reports for the whole pool, not the single allocations. It reads that size after each allocation from the
 * pool, after a synchronization that follows a free, and before it refuses memory.
 */
#ifndef UNIGPU_MEMORY_POOLS_H
#define UNIGPU_MEMORY_POOLS_H

#include "libvgpu/driver/devices.h"

struct pool;

/* One call that may make a pool grow. */
struct pool_growth {
    uint64_t wanted;   /* bytes that the call allocates */
    uint64_t reserved; /* bytes taken of the share for it */
};

enum pool_place {
    POOL_UNKNOWN,   /* the driver doesn't report its size, or its GPU is not one of ours */
    POOL_FOUND,     /* on a GPU of ours */
    POOL_ELSEWHERE, /* in memory of no GPU: nothing is counted */
};

/* Finds the pool of that handle, and its GPU. */
enum pool_place pools_find(CUmemoryPool handle, struct pool **pool, int *gpu);

/* Returns the pool from which the device's graphs allocate; NULL where the driver doesn't report its
 * size, or its GPU is not one of ours. */
struct pool *pools_of_graphs(CUdevice device);

/* Notes that a pool was created; false where there is no room to note it. */
bool pools_note(CUmemoryPool handle, CUmemLocation location);

/* Reserves as much as an allocation of `bytes` can make the pool grow by; false: refused. After success
 * pool_end_growth has to be called. */
bool pool_begin_growth(struct pool *pool, struct pool_growth *growth, uint64_t bytes);

/* Counts the size that the pool has now; false where it grew by more than is left of the share. */
bool pool_end_growth(struct pool *pool, struct pool_growth *growth);

/* Counts the size that the pool has now. */
void pool_follow(struct pool *pool);

/* Reads the sizes of all pools of the GPU again: the driver may have released memory. */
void pools_refresh(int gpu);

/* Counts what pools released, where something was freed since the last call; otherwise costs nothing. Call after a
 * synchronization with the GPU. */
void pools_settle(void);

/* One more allocation of the pool lives; pool_freed or pool_freed_in_stream ends each. */
void pool_allocated(struct pool *pool);

/* The allocation is freed, at once or when the stream reaches the free. */
void pool_freed(struct pool *pool);
void pool_freed_in_stream(struct pool *pool, CUstream stream);

/* Destroys the pool. The memory under its living allocations stays counted until the last of them is freed. */
CUresult pools_destroy(CUmemoryPool handle, CUresult (*destroy)(CUmemoryPool));

#endif
