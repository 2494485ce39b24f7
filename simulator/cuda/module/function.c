/* Functions: the kernels of a module, and their attributes. */
#include "simulator/cuda/core/later.h"
#include "simulator/cuda/module/code.h"

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
    NEED(name && function, CUDA_ERROR_INVALID_VALUE);
    NEED_FUNCTION(function);
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

CUresult cuFuncGetParamCount(CUfunction function, size_t *count) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    NEED(count, CUDA_ERROR_INVALID_VALUE);
    *count = function->parameter_count;
    return CUDA_SUCCESS;
}

CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction function) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    NEED(state, CUDA_ERROR_INVALID_VALUE);
    bool loaded = __atomic_load_n(&function->code_loaded, __ATOMIC_ACQUIRE);
    *state = loaded ? CU_FUNCTION_LOADING_STATE_LOADED : CU_FUNCTION_LOADING_STATE_UNLOADED;
    return CUDA_SUCCESS;
}

CUresult cuFuncLoad(CUfunction function) {
    NEED_DRIVER();
    NEED_FUNCTION(function);
    return code_load(function);
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
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = function_most_threads(function); break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = function->static_shared; break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *value = function->constant_bytes; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = (int)function->local_bytes; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = function->registers; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = profile->major * 10 + profile->minor; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = function->max_dynamic_shared; break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *value = -1; break;
    /* No cluster is declared; the cache mode and the policy have their defaults. */
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE: *value = 0; break;
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
        NEED(value >= 0 && value <= most - function->static_shared, CUDA_ERROR_INVALID_VALUE);
        function->max_dynamic_shared = value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        return value >= -1 && value <= 100 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}
