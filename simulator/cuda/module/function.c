/* Functions: the kernels of a module, and their attributes. */
#include "simulator/cuda/module/symbols.h"

#define NEED_FUNCTION(function) NEED(object_is(function, KIND_FUNCTION), CUDA_ERROR_INVALID_HANDLE)

CUresult cuFuncGetModule(CUmodule *module, CUfunction function) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    NEED(module, CUDA_ERROR_INVALID_VALUE);
    *module = function->module;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetName(const char **name, CUfunction function) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    NEED(name, CUDA_ERROR_INVALID_VALUE);
    *name = function->name;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetParamInfo(CUfunction function, size_t param_index, size_t *param_offset, size_t *param_size) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    NEED(param_offset && param_index < function->parameter_count, CUDA_ERROR_INVALID_VALUE);
    *param_offset = function->parameters[param_index].offset;
    if (param_size) {
        *param_size = function->parameters[param_index].bytes;
    }
    return CUDA_SUCCESS;
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction function) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    NEED(state, CUDA_ERROR_INVALID_VALUE);
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
    return CUDA_SUCCESS;
}

CUresult cuFuncLoad(CUfunction function) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    return CUDA_SUCCESS;
}

CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache config) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    return (unsigned)config <= CU_FUNC_CACHE_PREFER_EQUAL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncSetSharedMemConfig(CUfunction function, CUsharedconfig config) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    return (unsigned)config <= CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
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
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = function->max_dynamic_shared; break;
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
