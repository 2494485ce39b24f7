/* Modules: kernels and globals by name. */
#include "simulator/cuda/module/module.h"

#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/module/code.h"
#include "simulator/cuda/module/image.h"

static void end(CUmodule module) {
    code_unload_module(module);
    module_end(module);
}

CUresult module_load(CUcontext current, const void *image, CUmodule *module) {
    CUmodule made = object_new(KIND_MODULE, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->context = current;
    CUresult result = image_read(made, image);
    /* Without a context nothing but the names and figures is wanted. */
    for (global *each = current ? made->globals : NULL; each && result == CUDA_SUCCESS; each = each->next) {
        result = heap_alloc(current->heap, each->bytes ? each->bytes : 1, false, &each->pointer);
    }
    if (result == CUDA_SUCCESS) {
        result = code_load_module(made);
    }
    if (result != CUDA_SUCCESS) {
        end(made);
        return result;
    }
    if (current) {
        pthread_mutex_lock(&current->lock);
        made->next = current->modules;
        current->modules = made;
        pthread_mutex_unlock(&current->lock);
    }
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
    end(module);
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
    *mode = code_is_lazy() ? CU_MODULE_LAZY_LOADING : CU_MODULE_EAGER_LOADING;
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

/* ---- The modules of each context. */

static void end_in(CUcontext context) {
    while (context->modules) {
        CUmodule module = context->modules;
        context->modules = module->next;
        end(module);
    }
}

__attribute__((constructor)) static void register_part(void) {
    static const context_part_ops ops = {.end = end_in};
    context_part_register(PART_MODULES, &ops);
}
