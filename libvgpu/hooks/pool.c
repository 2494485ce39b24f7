/* Stream-ordered allocation, which takes memory from pools. */
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/linear.h"
#include "libvgpu/memory/pools.h"

/* One allocation. */
struct pooled {
    CUcontext context; /* of the stream */
    struct pool *from;
    CUmemoryPool handle;
    int gpu;
    bool untouched; /* nothing is counted */
    struct pool_growth growth;
    struct reservation reservation; /* where there is no pool to count */
};

/* A captured allocation takes no memory before its graph runs. */
static bool capturing(CUstream stream) {
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    return DRIVER(cuStreamIsCapturing) != NULL && DRIVER(cuStreamIsCapturing)(stream, &status) == CUDA_SUCCESS &&
           status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* Finds the pool from which the context's device allocates. */
static bool current_pool(CUcontext context, CUmemoryPool *pool) {
    CUdevice device;
    bool entered = devices_enter(context);
    bool found = DRIVER(cuDeviceGetMemPool) != NULL && DRIVER(cuCtxGetDevice)(&device) == CUDA_SUCCESS &&
                 DRIVER(cuDeviceGetMemPool)(pool, device) == CUDA_SUCCESS;
    if (entered) {
        devices_leave();
    }
    return found;
}

/* Reserves for an allocation from `pool`, or with NULL from the pool of the stream's device, whatever context is current.
 * False: refused. */
static bool begin(struct pooled *pooled, CUstream stream, CUmemoryPool pool, size_t bytes) {
    *pooled = (struct pooled){.handle = pool, .gpu = NO_GPU};
    enum pool_place place = POOL_UNKNOWN;
    if (!devices_of_stream(stream, &pooled->context, &pooled->gpu) || capturing(stream)) {
        pooled->untouched = true;
        return true;
    }
    if (pool != NULL || current_pool(pooled->context, &pooled->handle)) {
        place = pools_find(pooled->handle, &pooled->from, &pooled->gpu);
    }
    if (place == POOL_FOUND) {
        return pool_begin_growth(pooled->from, &pooled->growth, bytes);
    }
    pooled->untouched = place == POOL_ELSEWHERE;
    return pooled->untouched || linear_begin_on(&pooled->reservation, pooled->context, pooled->gpu, bytes);
}

/* Takes the memory back that turned out to be more than is left. */
static void undo(struct pooled *pooled, CUdeviceptr pointer) {
    bool entered = devices_enter(pooled->context);
    DRIVER(cuMemFree_v2)(pointer);
    DRIVER(cuMemPoolTrimTo)(pooled->handle, 0);
    if (entered) {
        devices_leave();
    }
    pools_refresh(pooled->gpu);
}

static CUresult end(struct pooled *pooled, CUresult result, CUdeviceptr *pointer, size_t bytes) {
    if (pooled->untouched) {
        return result;
    }
    if (pooled->from == NULL) {
        return linear_end(&pooled->reservation, result, pointer, bytes);
    }
    if (!pool_end_growth(pooled->from, &pooled->growth) && result == CUDA_SUCCESS) {
        undo(pooled, *pointer);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result == CUDA_SUCCESS) {
        pool_allocated(pooled->from);
        allocations_add(
            (struct allocation){.handle = *pointer, .pool = pooled->from, .gpu = NO_GPU, .kind = ALLOCATION_POOLED});
    }
    return result;
}

CUresult hook_cuMemAllocAsync(__typeof__(&cuMemAllocAsync) driver, CUdeviceptr *pointer, size_t bytes,
                              CUstream stream) {
    struct pooled pooled;
    if (pointer == NULL) {
        return driver(pointer, bytes, stream);
    }
    if (!begin(&pooled, stream, NULL, bytes)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return end(&pooled, driver(pointer, bytes, stream), pointer, bytes);
}

CUresult hook_cuMemAllocFromPoolAsync(__typeof__(&cuMemAllocFromPoolAsync) driver, CUdeviceptr *pointer, size_t bytes,
                                      CUmemoryPool pool, CUstream stream) {
    struct pooled pooled;
    if (pointer == NULL || pool == NULL) {
        return driver(pointer, bytes, pool, stream);
    }
    if (!begin(&pooled, stream, pool, bytes)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return end(&pooled, driver(pointer, bytes, pool, stream), pointer, bytes);
}

CUresult hook_cuMemPoolCreate(__typeof__(&cuMemPoolCreate) driver, CUmemoryPool *pool,
                              const CUmemPoolProps *pool_props) {
    CUresult result = driver(pool, pool_props);
    if (result == CUDA_SUCCESS && pool != NULL && pool_props != NULL) {
        pools_note(*pool, pool_props->location);
    }
    return result;
}

CUresult hook_cuMemPoolDestroy(__typeof__(&cuMemPoolDestroy) driver, CUmemoryPool pool) {
    return pools_destroy(pool, driver);
}

CUresult hook_cuMemPoolTrimTo(__typeof__(&cuMemPoolTrimTo) driver, CUmemoryPool pool, size_t min_bytes_to_keep) {
    struct pool *known;
    int gpu;
    CUresult result = driver(pool, min_bytes_to_keep);
    if (pools_find(pool, &known, &gpu) == POOL_FOUND) {
        pool_follow(known);
    }
    return result;
}
