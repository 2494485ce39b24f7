/* The course of an allocation that has an address: counted in the pages that it takes. */
#ifndef UNIGPU_MEMORY_LINEAR_H
#define UNIGPU_MEMORY_LINEAR_H

#include "libvgpu/memory/reservation.h"

/* Takes what the allocation can need at most, in the calling thread's context; false: refused. */
bool linear_begin(struct reservation *reservation, uint64_t bytes);

/* The same in a given context. */
bool linear_begin_on(struct reservation *reservation, CUcontext context, int gpu, uint64_t bytes);

/* Counts the pages that it took, or frees it where they are more than is left; answers what the program is told. */
CUresult linear_end(struct reservation *reservation, CUresult result, CUdeviceptr *pointer, uint64_t bytes);

/* Takes the note out before the driver frees: from then on the address may be another thread's new memory. */
bool linear_take_out(CUdeviceptr pointer, struct allocation *entry);

/* Gives back what was freed, or puts the note back where the driver refused to free. */
void linear_freed(bool noted, CUresult result, CUdeviceptr pointer, const struct allocation *entry);

#endif
