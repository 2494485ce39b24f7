/* Heaps: device memory of a context or a pool. */
#ifndef UNIGPU_SIM_HEAP_H
#define UNIGPU_SIM_HEAP_H

#include "simulator/cuda/memory/blocks.h"
#include "simulator/cuda/memory/extent.h"

/* Makes a heap of the device's memory; owner NULL: of host memory, which no GPU counts. */
struct heap *heap_new(device *owner, CUcontext context, CUmemoryPool pool);
void heap_end(struct heap *heap);
/* Ends a pool's heap, and the pool's object, as soon as the last allocation is freed: until then the memory stays taken. */
void heap_leave(struct heap *heap);
CUresult heap_alloc(struct heap *heap, size_t bytes, bool managed, CUdeviceptr *pointer);
CUresult heap_free(CUdeviceptr pointer);
/* Finds the allocation that holds the address; false: none does. Mapped physical memory counts. */
bool heap_find(CUdeviceptr address, extent *found);
/* Whether the address lies in device memory at all, allocated or not. */
bool heap_owns(CUdeviceptr address);
/* Whether [address, address + bytes) lies inside one allocation; `write` marks it as written. */
bool heap_holds(CUdeviceptr address, size_t bytes, bool write);
/* Bytes that a heap takes on the GPU, now or at most so far. */
uint64_t heap_charged_bytes(struct heap *heap, bool highest);
void heap_forget_high(struct heap *heap);
/* From now on keeps freed memory, as long as the heap has no more than `threshold` bytes. */
void heap_hold(struct heap *heap, uint64_t threshold);
/* Gives kept memory beyond `most` bytes back to the GPU. */
void heap_trim(struct heap *heap, uint64_t most);
/* Ends a block and gives its memory back. Call with its heap locked. */
void block_end(block *ended);

#endif
