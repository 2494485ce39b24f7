/* Modules: kernels and globals by name. */
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/image.h"
#include "simulator/cuda/op.h"

void module_end(CUmodule module) {
    while (module->functions) {
        CUfunction function = module->functions;
        module->functions = function->next;
        free(function->name);
        object_end(function);
    }
    while (module->globals) {
        global *gone = module->globals;
        module->globals = gone->next;
        if (gone->pointer) {
            heap_free(gone->pointer);
        }
        free(gone->name);
        free(gone);
    }
    object_end(module);
}

CUresult module_add_function(CUmodule module, const char *name, size_t length, CUfunction *made) {
    CUfunction added = object_new(KIND_FUNCTION, sizeof *added);
    NEED(added, CUDA_ERROR_OUT_OF_MEMORY);
    added->module = module;
    added->next = module->functions;
    module->functions = added;
    added->name = strndup(name, length);
    *made = added;
    return added->name ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult module_add_global(CUmodule module, const char *name, size_t length, size_t bytes) {
    global *added = calloc(1, sizeof *added);
    NEED(added, CUDA_ERROR_OUT_OF_MEMORY);
    added->name = strndup(name, length);
    added->bytes = bytes;
    added->next = module->globals;
    module->globals = added;
    return added->name ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult module_load(CUcontext current, const void *image, CUmodule *module) {
    CUmodule made = object_new(KIND_MODULE, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->context = current;
    CUresult result = image_read(made, image);
    for (global *each = made->globals; each && result == CUDA_SUCCESS; each = each->next) {
        result = heap_alloc(current->heap, each->bytes ? each->bytes : 1, false, &each->pointer);
    }
    if (result != CUDA_SUCCESS) {
        module_end(made);
        return result;
    }
    pthread_mutex_lock(&current->lock);
    made->next = current->modules;
    current->modules = made;
    pthread_mutex_unlock(&current->lock);
    *module = made;
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int option_count, CUjit_option *options,
                            void **option_values) {
    NEED_CONTEXT(current);
    NEED(module && image, CUDA_ERROR_INVALID_VALUE);
    NEED(option_count == 0 || (options && option_values), CUDA_ERROR_INVALID_VALUE);
    return module_load(current, image, module);
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fat_cubin) {
    return cuModuleLoadDataEx(module, fat_cubin, 0, NULL, NULL);
}

CUresult cuModuleLoad(CUmodule *module, const char *path) {
    NEED_CONTEXT(current);
    NEED(module && path, CUDA_ERROR_INVALID_VALUE);
    char *image = file_read(path);
    NEED(image, CUDA_ERROR_FILE_NOT_FOUND);
    CUresult result = cuModuleLoadDataEx(module, image, 0, NULL, NULL);
    free(image);
    return result;
}

CUresult cuModuleUnload(CUmodule module) {
    NEED_DRIVER();
    NEED(object_is(module, KIND_MODULE), CUDA_ERROR_INVALID_HANDLE);
    CUcontext context = module->context;
    context_wait(context);
    pthread_mutex_lock(&context->lock);
    for (CUmodule *link = &context->modules; *link; link = &(*link)->next) {
        if (*link == module) {
            *link = module->next;
            break;
        }
    }
    pthread_mutex_unlock(&context->lock);
    module_end(module);
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    NEED_DRIVER();
    NEED(function && name, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(module, KIND_MODULE), CUDA_ERROR_INVALID_HANDLE);
    for (CUfunction each = module->functions; each; each = each->next) {
        if (strcmp(each->name, name) == 0) {
            *function = each;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *pointer, size_t *bytes, CUmodule module, const char *name) {
    NEED_DRIVER();
    NEED(name && (pointer || bytes), CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(module, KIND_MODULE), CUDA_ERROR_INVALID_HANDLE);
    for (global *each = module->globals; each; each = each->next) {
        if (strcmp(each->name, name) == 0) {
            if (pointer) {
                *pointer = each->pointer;
            }
            if (bytes) {
                *bytes = each->bytes;
            }
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode) {
    NEED_DRIVER();
    NEED(mode, CUDA_ERROR_INVALID_VALUE);
    *mode = CU_MODULE_EAGER_LOADING;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule module) {
    NEED_DRIVER();
    NEED(object_is(module, KIND_MODULE), CUDA_ERROR_INVALID_HANDLE);
    NEED(count, CUDA_ERROR_INVALID_VALUE);
    *count = 0;
    for (CUfunction each = module->functions; each; each = each->next) {
        ++*count;
    }
    return CUDA_SUCCESS;
}

CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int function_count, CUmodule module) {
    NEED_DRIVER();
    NEED(object_is(module, KIND_MODULE), CUDA_ERROR_INVALID_HANDLE);
    NEED(functions && function_count, CUDA_ERROR_INVALID_VALUE);
    CUfunction each = module->functions;
    for (unsigned i = 0; i < function_count && each; i++, each = each->next) {
        functions[i] = each;
    }
    return CUDA_SUCCESS;
}

/* ---- Functions. */

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
