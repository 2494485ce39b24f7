/* Stream-ordered allocation, which takes memory from pools. */
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/linear.h"
#include "libvgpu/memory/pools.h"

#define ALLOCATE(pool_known, pool_value, call)                                                                    \
    do {                                                                                                          \
        struct reservation reservation;                                                                           \
        struct pool_growth growth;                                                                                \
        CUcontext context;                                                                                        \
        int gpu;                                                                                                  \
        if (pointer == NULL || !devices_of_stream(stream, &context, &gpu))                                        \
            return call;                                                                                          \
        if (capturing(stream))                                                                                    \
            return call;                                                                                          \
        struct pool *from = (pool_known) ? pools_find(pool_value) : NULL;                                         \
        if (from == NULL) {                                                                                       \
            if (!linear_begin_on(&reservation, context, gpu, bytes))                                              \
                return CUDA_ERROR_OUT_OF_MEMORY;                                                                  \
            CUresult plain = call;                                                                                \
            return linear_end(&reservation, plain, pointer, bytes);                                               \
        }                                                                                                         \
        if (!pool_begin_growth(from, &growth, bytes))                                                             \
            return CUDA_ERROR_OUT_OF_MEMORY;                                                                      \
        CUresult result = call;                                                                                   \
        if (!pool_end_growth(from, &growth) && result == CUDA_SUCCESS) {                                          \
            DRIVER(cuMemFree_v2)(*pointer);                                                                       \
            DRIVER(cuMemPoolTrimTo)(pool_value, 0);                                                               \
            pools_refresh(gpu);                                                                                   \
            result = CUDA_ERROR_OUT_OF_MEMORY;                                                                    \
        }                                                                                                         \
        if (result == CUDA_SUCCESS) {                                                                             \
            pool_allocated(from);                                                                                 \
            allocations_add(                                                                                      \
                (struct allocation){.handle = *pointer, .pool = from, .gpu = NO_GPU, .kind = ALLOCATION_POOLED}); \
        }                                                                                                         \
        return result;                                                                                            \
    } while (0)

/* A captured allocation takes no memory before its graph runs. */
static bool capturing(CUstream stream) {
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    return DRIVER(cuStreamIsCapturing) != NULL && DRIVER(cuStreamIsCapturing)(stream, &status) == CUDA_SUCCESS &&
           status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* Finds the pool that the device allocates from. */
static bool current_pool(CUmemoryPool *pool) {
    CUdevice device;
    return DRIVER(cuDeviceGetMemPool) != NULL && DRIVER(cuCtxGetDevice)(&device) == CUDA_SUCCESS &&
           DRIVER(cuDeviceGetMemPool)(pool, device) == CUDA_SUCCESS;
}

CUresult hook_cuMemAllocAsync(__typeof__(&cuMemAllocAsync) driver, CUdeviceptr *pointer, size_t bytes,
                              CUstream stream) {
    CUmemoryPool pool = NULL;
    bool known = current_pool(&pool);
    ALLOCATE(known, pool, driver(pointer, bytes, stream));
}

CUresult hook_cuMemAllocFromPoolAsync(__typeof__(&cuMemAllocFromPoolAsync) driver, CUdeviceptr *pointer, size_t bytes,
                                      CUmemoryPool pool, CUstream stream) {
    ALLOCATE(true, pool, driver(pointer, bytes, pool, stream));
}

CUresult hook_cuMemPoolCreate(__typeof__(&cuMemPoolCreate) driver, CUmemoryPool *pool,
                              const CUmemPoolProps *pool_props) {
    CUresult result = driver(pool, pool_props);
    if (result == CUDA_SUCCESS && pool != NULL && pool_props != NULL) {
        bool on_device = pool_props->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
        pools_note(*pool, on_device ? pool_props->location.id : CU_DEVICE_INVALID);
    }
    return result;
}

CUresult hook_cuMemPoolDestroy(__typeof__(&cuMemPoolDestroy) driver, CUmemoryPool pool) {
    return pools_destroy(pool, driver);
}

CUresult hook_cuMemPoolTrimTo(__typeof__(&cuMemPoolTrimTo) driver, CUmemoryPool pool, size_t min_bytes_to_keep) {
    struct pool_growth growth;
    CUresult result = driver(pool, min_bytes_to_keep);
    struct pool *known = pools_find(pool);
    if (known != NULL && pool_begin_growth(known, &growth, 0)) {
        pool_end_growth(known, &growth);
    }
    return result;
}
