/* Modules: kernels and globals by name. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/driver.h"

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

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int option_count, CUjit_option *options,
                            void **option_values) {
    NEED_CONTEXT(current);
    NEED(module && image, CUDA_ERROR_INVALID_VALUE);
    NEED(option_count == 0 || (options && option_values), CUDA_ERROR_INVALID_VALUE);
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

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *fat_cubin) {
    return cuModuleLoadDataEx(module, fat_cubin, 0, NULL, NULL);
}

/* The whole file, with a zero after it. */
static char *read_file(const char *path) {
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return NULL;
    }
    char *text = NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        text = size >= 0 ? malloc((size_t)size + 1) : NULL;
        rewind(file);
        if (text) {
            text[fread(text, 1, (size_t)size, file)] = 0;
        }
    }
    fclose(file);
    return text;
}

CUresult cuModuleLoad(CUmodule *module, const char *path) {
    NEED_CONTEXT(current);
    NEED(module && path, CUDA_ERROR_INVALID_VALUE);
    char *image = read_file(path);
    NEED(image, CUDA_ERROR_FILE_NOT_FOUND);
    CUresult result = cuModuleLoadDataEx(module, image, 0, NULL, NULL);
    free(image);
    return result;
}

CUresult cuModuleUnload(CUmodule module) {
    NEED_DRIVER();
    NEED(object_is(module, KIND_MODULE), CUDA_ERROR_INVALID_HANDLE);
    CUcontext context = module->context;
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
