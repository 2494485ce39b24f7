/* Allocations that have an address. They are counted by the pages that they take. */
#ifndef UNIGPU_MEMORY_LINEAR_H
#define UNIGPU_MEMORY_LINEAR_H

#include "libvgpu/memory/reservation.h"

/* Reserves the most that the allocation can need, in the calling thread's context; false: refused. */
bool linear_begin(struct reservation *reservation, uint64_t bytes);

/* The same in a given context. */
bool linear_begin_on(struct reservation *reservation, CUcontext context, int gpu, uint64_t bytes);

/* Counts the pages that the allocation took, or frees it where they are more than is left. Returns the result for the
 * program. */
CUresult linear_end(struct reservation *reservation, CUresult result, CUdeviceptr *pointer, uint64_t bytes);

/* Takes the note out. Call before the driver frees: after that the address may be another thread's new memory. */
bool linear_take_out(CUdeviceptr pointer, struct allocation *entry);

/* Releases the freed memory, or restores the note where the driver failed to free it. */
void linear_freed(bool noted, CUresult result, CUdeviceptr pointer, const struct allocation *entry);

#endif
