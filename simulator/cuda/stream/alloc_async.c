/* Allocation in the order of a stream; captured, it becomes a node of the graph. */
#include "simulator/cuda/memory/graph_memory.h"
#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/memory/ipc.h"
#include "simulator/cuda/memory/pool.h"
#include "simulator/cuda/stream/queue.h"

static CUresult alloc(CUmemoryPool pool, CUstream stream, size_t bytes, CUdeviceptr *pointer) {
    if (!bytes) {
        *pointer = 0; /* and that may be freed */
        return CUDA_SUCCESS;
    }
    if (!stream->capture) {
        return pool_alloc(pool, bytes, pointer);
    }
    NEED(pool_properties(pool)->location.type == CU_MEM_LOCATION_TYPE_DEVICE, CUDA_ERROR_INVALID_VALUE);
    op work = {.kind = OP_ALLOC};
    work.as.alloc.wanted.pool = *pool_properties(pool);
    work.as.alloc.wanted.bytes = bytes;
    work.as.alloc.pointer = pointer;
    return stream_submit(stream, &work);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool, CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED(pointer, CUDA_ERROR_INVALID_VALUE);
    NEED_POOL(pool);
    return alloc(pool, stream, bytes, pointer);
}

CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t bytes, CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED(pointer, CUDA_ERROR_INVALID_VALUE);
    CUmemoryPool pool = pool_current(stream->context->device);
    NEED(pool, CUDA_ERROR_OUT_OF_MEMORY);
    return alloc(pool, stream, bytes, pointer);
}

CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream handle) {
    NEED_STREAM(stream, handle);
    extent found;
    if (!pointer) {
        return CUDA_SUCCESS;
    }
    if (ipc_is_pooled(pointer)) {
        NEED(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        stream_wait(stream);
        return ipc_free(pointer);
    }
    NEED(heap_find(pointer, &found) && found.base == pointer, CUDA_ERROR_INVALID_VALUE);
    op work = {.kind = OP_FREE, .as.free = pointer};
    if (!stream->capture) {
        pool_freed(&found);
        heap_expect_free(pointer);
    }
    return stream_submit(stream, &work);
}
