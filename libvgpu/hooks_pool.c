/* Memory from pools, in the order of streams. */
#include "hooks.h"
#include "linear.h"
#include "reserves.h"

#define ALLOCATE(pool_known, pool_value, call)                                                                       \
    do {                                                                                                             \
        struct claim claim;                                                                                          \
        CUcontext context;                                                                                           \
        int card;                                                                                                    \
        if (pointer == NULL || !cards_of_stream(stream, &context, &card))                                            \
            return call;                                                                                             \
        if (capturing(stream))                                                                                       \
            return call;                                                                                             \
        struct reserve *reserve = (pool_known) ? reserves_of_pool(pool_value) : NULL;                                \
        if (reserve == NULL) {                                                                                       \
            if (!linear_begin_on(&claim, context, card, bytes))                                                      \
                return CUDA_ERROR_OUT_OF_MEMORY;                                                                     \
            CUresult plain = call;                                                                                   \
            return linear_end(&claim, plain, pointer, bytes);                                                        \
        }                                                                                                            \
        if (!reserve_begin(reserve, &claim, bytes))                                                                  \
            return CUDA_ERROR_OUT_OF_MEMORY;                                                                         \
        CUresult result = call;                                                                                      \
        if (!reserve_end(reserve, &claim) && result == CUDA_SUCCESS) {                                               \
            DRIVER(cuMemFree_v2)(*pointer);                                                                          \
            DRIVER(cuMemPoolTrimTo)(pool_value, 0);                                                                  \
            reserves_look(card);                                                                                     \
            result = CUDA_ERROR_OUT_OF_MEMORY;                                                                       \
        }                                                                                                            \
        if (result == CUDA_SUCCESS) {                                                                                \
            reserve_allocated(reserve);                                                                              \
            ledger_add(                                                                                              \
                (struct ledger_entry){.key = *pointer, .context = reserve, .card = NO_CARD, .kind = LEDGER_POOLED}); \
        }                                                                                                            \
        return result;                                                                                               \
    } while (0)

/* What is captured takes no memory before its graph runs. */
static bool capturing(CUstream stream) {
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    return DRIVER(cuStreamIsCapturing) != NULL && DRIVER(cuStreamIsCapturing)(stream, &status) == CUDA_SUCCESS &&
           status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* The pool that the stream's device allocates from. */
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
        reserves_note_pool(*pool, on_device ? pool_props->location.id : CU_DEVICE_INVALID);
    }
    return result;
}

CUresult hook_cuMemPoolDestroy(__typeof__(&cuMemPoolDestroy) driver, CUmemoryPool pool) {
    return reserves_end_pool(pool, driver);
}

CUresult hook_cuMemPoolTrimTo(__typeof__(&cuMemPoolTrimTo) driver, CUmemoryPool pool, size_t min_bytes_to_keep) {
    struct claim nothing;
    CUresult result = driver(pool, min_bytes_to_keep);
    struct reserve *reserve = reserves_of_pool(pool);
    if (reserve != NULL && reserve_begin(reserve, &nothing, 0)) {
        reserve_end(reserve, &nothing);
    }
    return result;
}
