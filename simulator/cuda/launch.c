/* Launches: checked as a real card checks them. Of a kernel's instructions none is run. */
#include "simulator/cuda/driver.h"

typedef struct launch {
    CUfunction function;
    unsigned grid[3], block[3];
    unsigned shared;
    CUstream stream;
    void **parameters, **extra;
} launch;

static CUresult check(const launch *wanted, CUcontext current) {
    CUfunction function = wanted->function;
    NEED(object_is(function, KIND_FUNCTION), CUDA_ERROR_INVALID_HANDLE);
    NEED(function->module->context == current, CUDA_ERROR_INVALID_HANDLE);
    NEED_OK(stream_check(wanted->stream));
    for (int axis = 0; axis < 3; axis++) {
        NEED(wanted->grid[axis] && wanted->block[axis], CUDA_ERROR_INVALID_VALUE);
    }
    NEED(wanted->grid[0] <= 2147483647U && wanted->grid[1] <= 65535 && wanted->grid[2] <= 65535,
         CUDA_ERROR_INVALID_VALUE);
    NEED(wanted->block[0] <= 1024 && wanted->block[1] <= 1024 && wanted->block[2] <= 64, CUDA_ERROR_INVALID_VALUE);
    NEED(wanted->block[0] * wanted->block[1] * wanted->block[2] <= 1024, CUDA_ERROR_INVALID_VALUE);
    unsigned most = (unsigned)(function->max_dynamic_shared ? function->max_dynamic_shared : 49152);
    NEED(wanted->shared <= most, CUDA_ERROR_INVALID_VALUE);
    NEED(!(wanted->parameters && wanted->extra), CUDA_ERROR_INVALID_VALUE);
    NEED(function->parameter_count == 0 || wanted->parameters || wanted->extra, CUDA_ERROR_INVALID_VALUE);
    return CUDA_SUCCESS;
}

static CUresult submit(const launch *wanted) {
    NEED_CONTEXT(current);
    return check(wanted, current);
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_dim_x, unsigned int grid_dim_y, unsigned int grid_dim_z,
                        unsigned int block_dim_x, unsigned int block_dim_y, unsigned int block_dim_z,
                        unsigned int shared_mem_bytes, CUstream stream, void **kernel_params, void **extra) {
    launch wanted = {function,
                     {grid_dim_x, grid_dim_y, grid_dim_z},
                     {block_dim_x, block_dim_y, block_dim_z},
                     shared_mem_bytes,
                     stream,
                     kernel_params,
                     extra};
    return submit(&wanted);
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int grid_dim_x, unsigned int grid_dim_y,
                                   unsigned int grid_dim_z, unsigned int block_dim_x, unsigned int block_dim_y,
                                   unsigned int block_dim_z, unsigned int shared_mem_bytes, CUstream stream,
                                   void **kernel_params) {
    return cuLaunchKernel(function, grid_dim_x, grid_dim_y, grid_dim_z, block_dim_x, block_dim_y, block_dim_z,
                          shared_mem_bytes, stream, kernel_params, NULL);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **kernel_params, void **extra) {
    NEED(config, CUDA_ERROR_INVALID_VALUE);
    NEED(config->attribute_count == 0 || config->attributes, CUDA_ERROR_INVALID_VALUE);
    return cuLaunchKernel(function, config->grid_x, config->grid_y, config->grid_z, config->block_x, config->block_y,
                          config->block_z, config->shared_bytes, config->stream, kernel_params, extra);
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
    NEED_DRIVER();
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(function, KIND_FUNCTION), CUDA_ERROR_INVALID_HANDLE);
    const sim_profile *profile = function->module->context->device->profile;
    switch ((int)attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = function->static_shared; break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA: *value = 0; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = profile->major * 10 + profile->minor; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = function->max_dynamic_shared ? function->max_dynamic_shared : 49152;
        break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *value = -1; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    NEED_DRIVER();
    NEED(object_is(function, KIND_FUNCTION), CUDA_ERROR_INVALID_HANDLE);
    int most = function->module->context->device->profile->shared_kib_optin << 10;
    switch ((int)attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        NEED(value >= 0 && value <= most, CUDA_ERROR_INVALID_VALUE);
        function->max_dynamic_shared = value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        return value >= -1 && value <= 100 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}
