/* Memory that the driver holds in reserve: pools, and what graphs allocate from. It grows in the driver's own steps and
 * shrinks when the driver likes, so the driver's own count of it is what is counted, and looked at again when short.
 */
#ifndef UNIGPU_MEMORY_POOLS_H
#define UNIGPU_MEMORY_POOLS_H

#include "libvgpu/memory/reservation.h"

struct pool;

/* The pool's reserve; NULL where the driver doesn't tell its size, or it is nobody's that we know. */
struct pool *pools_find(CUmemoryPool pool);

/* The reserve from which the device's graphs allocate; NULL likewise. */
struct pool *pools_of_graphs(CUdevice device);

/* The pool is on that device, or (CU_DEVICE_INVALID) on none; false where there is no room to note it. */
bool pools_note(CUmemoryPool pool, CUdevice device);

/* Takes what `bytes` more from the reserve can make it grow by; with success the reserves stay locked until the end. */
bool pool_begin_growth(struct pool *reserve, struct reservation *reservation, uint64_t bytes);

/* Counts what the reserve has grown to; false where that is more than is left. */
bool pool_end_growth(struct pool *reserve, struct reservation *reservation);

/* Looks at all reserves of the GPU again: the driver may have given memory back meanwhile. */
void pools_refresh(int gpu);

/* Something from a pool was freed: the pool may give it back to the GPU as soon as the GPU is done with it. */
void pools_mark_freed(void);

/* The GPU was waited for: counts what pools gave back, where something was freed; costs nothing else. */
void pools_settle(void);

/* An allocation of the reserve lives; every one is freed with one of the two below. */
void pool_allocated(struct pool *reserve);

/* It was freed, and the driver is done with it; or it will be when the stream comes to it. */
void pool_freed(struct pool *reserve);
void pool_freed_in_stream(struct pool *reserve, CUstream stream);

/* Destroys the pool; what its living allocations hold is counted until the last of them is freed. */
CUresult pools_destroy(CUmemoryPool pool, CUresult (*destroy)(CUmemoryPool));

#endif
