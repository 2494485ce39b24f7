/* Memory of graphs: addresses last as long as a graph knows them; the memory behind them comes with a launch and goes with a
 * free. */
#ifndef UNIGPU_SIM_GRAPH_MEMORY_H
#define UNIGPU_SIM_GRAPH_MEMORY_H

#include "simulator/cuda/memory/heap.h"

/* The heap for memory of graphs on a device: the context's own, or one that the device has for contexts of others. */
struct heap *graph_heap(CUcontext context, device *chosen);
/* The size of reserved addresses, which may be more than was asked for; 0: not the start of such. */
size_t heap_reserved_bytes(CUdeviceptr pointer);
/* Reserves addresses without memory, with one reference. Their memory may be that of earlier ones, `lenders`, which are freed
 * before it is used. */
CUresult heap_reserve(struct heap *heap, size_t bytes, const CUdeviceptr *lenders, size_t lender_count,
                      CUdeviceptr *pointer);
/* The reserved addresses on whose memory these may stand, for `index` from 0 on; 0: no more. */
CUdeviceptr heap_lender(CUdeviceptr pointer, size_t index);
/* Puts memory behind reserved addresses; heap_free takes it away again and leaves the addresses. */
CUresult heap_charge(CUdeviceptr pointer);
void heap_uncharge(CUdeviceptr pointer);
/* Notes that a free was submitted but has yet to run: the memory may be charged again, for when it is free. */
void heap_expect_free(CUdeviceptr pointer);
void heap_ref(CUdeviceptr pointer);
/* Drops a reference; the last one gives up the addresses. */
void heap_unref(CUdeviceptr pointer);

#endif
