/* A context's limits. The malloc heap, the printf buffer and the stacks of all threads that a GPU can hold are GPU memory.
 * Memory beyond the defaults is reserved when the limit is set, or for stacks when a kernel that needs more is launched, and
 * released when the context ends. */
#include "simulator/cuda/core/context.h"

enum { STEP = 2 << 20 };

static const size_t defaults[] = {
    [CU_LIMIT_STACK_SIZE] = 1024,
    [CU_LIMIT_PRINTF_FIFO_SIZE] = MIB,
    [CU_LIMIT_MALLOC_HEAP_SIZE] = 8 * MIB,
    [CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64,
    [CU_LIMIT_PERSISTING_L2_CACHE_SIZE] = 0,
};

enum { LIMITS = sizeof defaults / sizeof defaults[0] };

static void begin_in(CUcontext context) {
    for (int limit = 0; limit < LIMITS; limit++) {
        context->limits[limit] = defaults[limit];
    }
}

static void end_in(CUcontext context) {
    for (int limit = 0; limit < LIMITS; limit++) {
        if (context->limit_bytes[limit]) {
            sim_memory_release(sim_driver.machine, context->device->gpu, context->limit_bytes[limit]);
        }
    }
}

/* How many pieces of the limit's size the GPU holds. */
static uint64_t times(const sim_profile *profile, CUlimit limit) {
    switch ((int)limit) {
    case CU_LIMIT_STACK_SIZE: return (uint64_t)profile->multiprocessors * (uint64_t)profile->threads_per_multiprocessor;
    case CU_LIMIT_PRINTF_FIFO_SIZE:
    case CU_LIMIT_MALLOC_HEAP_SIZE: return 1;
    default: return 0;
    }
}

static CUresult take(CUcontext context, CUlimit limit, size_t value) {
    uint64_t bytes, beyond = value > defaults[limit] ? value - defaults[limit] : 0;
    NEED(!__builtin_mul_overflow(beyond, times(context->device->profile, limit), &bytes) && bytes < UINT64_MAX - STEP,
         CUDA_ERROR_OUT_OF_MEMORY);
    bytes = ROUND_UP(bytes, STEP);
    uint64_t has = context->limit_bytes[limit];
    if (bytes > has) {
        NEED(sim_memory_reserve(sim_driver.machine, context->device->gpu, bytes - has) == SIM_OK,
             CUDA_ERROR_OUT_OF_MEMORY);
        context->limit_bytes[limit] = bytes;
    }
    return CUDA_SUCCESS;
}

CUresult context_need_stack(CUcontext context, size_t bytes) {
    if (bytes <= defaults[CU_LIMIT_STACK_SIZE]) {
        return CUDA_SUCCESS;
    }
    pthread_mutex_lock(&context->lock);
    CUresult result = take(context, CU_LIMIT_STACK_SIZE, bytes);
    pthread_mutex_unlock(&context->lock);
    return result;
}

static bool known_limit(CUlimit limit) {
    return (int)limit >= 0 && (int)limit < LIMITS;
}

CUresult cuCtxGetLimit(size_t *value, CUlimit limit) {
    NEED_CONTEXT(current);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    NEED(known_limit(limit), CUDA_ERROR_UNSUPPORTED_LIMIT);
    *value = current->limits[limit];
    return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
    NEED_CONTEXT(current);
    NEED(known_limit(limit), CUDA_ERROR_UNSUPPORTED_LIMIT);
    pthread_mutex_lock(&current->lock);
    CUresult result = take(current, limit, value);
    if (result == CUDA_SUCCESS) {
        current->limits[limit] = value;
    }
    pthread_mutex_unlock(&current->lock);
    return result;
}

__attribute__((constructor)) static void register_part(void) {
    static const context_part_ops ops = {.begin = begin_in, .end = end_in};
    context_part_register(PART_LIMITS, &ops);
}
