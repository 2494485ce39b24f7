/* Occupancy: how many blocks fit, by the GPU's limits of threads, blocks and shared memory. Registers are unknown here. */
#include "simulator/cuda/module/launch.h"
#include "simulator/cuda/module/library.h"

static CUresult find(CUfunction handle, CUfunction *function) {
    NEED_CONTEXT(current);
    *function = object_is(handle, KIND_KERNEL) ? kernel_in((CUkernel)handle, current) : handle;
    return object_is(*function, KIND_FUNCTION) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *block_count, CUfunction handle, int block_size,
                                                     size_t dynamic_bytes) {
    CUfunction function;
    NEED_OK(find(handle, &function));
    NEED(block_count && block_size > 0, CUDA_ERROR_INVALID_VALUE);
    *block_count = kernel_blocks_per_multiprocessor(function, block_size, dynamic_bytes);
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *block_count, CUfunction handle, int block_size,
                                                              size_t dynamic_bytes, unsigned int flags) {
    NEED(flags <= CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE, CUDA_ERROR_INVALID_VALUE);
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(block_count, handle, block_size, dynamic_bytes);
}

CUresult cuOccupancyMaxPotentialBlockSize(int *min_grid_size, int *block_size, CUfunction handle,
                                          CUoccupancyB2DSize dynamic_of, size_t dynamic_bytes, int limit) {
    CUfunction function;
    NEED_OK(find(handle, &function));
    NEED(min_grid_size && block_size, CUDA_ERROR_INVALID_VALUE);
    int best = 0, most = limit > 0 && limit < 1024 ? limit : 1024;
    for (int size = 32; size <= most; size += 32) {
        int blocks = kernel_blocks_per_multiprocessor(function, size, dynamic_of ? dynamic_of(size) : dynamic_bytes);
        if (blocks * size >= best) {
            best = blocks * size;
            *block_size = size;
            *min_grid_size = blocks * function->module->context->device->profile->multiprocessors;
        }
    }
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *min_grid_size, int *block_size, CUfunction handle,
                                                   CUoccupancyB2DSize dynamic_of, size_t dynamic_bytes, int limit,
                                                   unsigned int flags) {
    NEED(flags <= CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE, CUDA_ERROR_INVALID_VALUE);
    return cuOccupancyMaxPotentialBlockSize(min_grid_size, block_size, handle, dynamic_of, dynamic_bytes, limit);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *dynamic_bytes, CUfunction handle, int block_count,
                                                 int block_size) {
    CUfunction function;
    NEED_OK(find(handle, &function));
    NEED(dynamic_bytes && block_count > 0 && block_size > 0, CUDA_ERROR_INVALID_VALUE);
    const sim_profile *profile = function->module->context->device->profile;
    size_t each = ((size_t)profile->shared_kib_per_multiprocessor << 10) / (size_t)block_count;
    size_t most = (size_t)profile->shared_kib_optin << 10;
    each = each > 1024 ? each - 1024 : 0;
    each = each < most ? each : most;
    size_t fixed = (size_t)function->static_shared, asked = (size_t)function->max_dynamic_shared;
    each = each > fixed ? each - fixed : 0;
    *dynamic_bytes = each < asked ? each : asked;
    return CUDA_SUCCESS;
}
