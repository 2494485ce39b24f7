/* Libraries: code for every context, loaded as a module into each one at first use. Loading a library needs no context. */
#include "simulator/cuda/core/later.h"
#include "simulator/cuda/module/library.h"

#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/module/image.h"
#include "simulator/cuda/module/module.h"

struct CUkern_st {
    object object;
    CUlibrary library;
    CUfunction code; /* of no context */
    CUkernel next;
};

typedef struct loaded {
    uint64_t context;
    CUmodule module;
    struct loaded *next;
} loaded;

struct CUlib_st {
    object object;
    void *image;
    pthread_mutex_t lock;
    CUmodule code; /* what the image says, in no context */
    loaded *modules;
    CUkernel kernels;
    unsigned kernel_count;
};

#define NEED_LIBRARY(library) NEED(object_is(library, KIND_LIBRARY), CUDA_ERROR_INVALID_HANDLE)

static CUresult module_in(CUlibrary library, CUcontext context, CUmodule *found) {
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&library->lock);
    loaded *each = library->modules;
    while (each && !(each->context == context->id && object_is(each->module, KIND_MODULE))) {
        each = each->next;
    }
    if (!each) {
        each = calloc(1, sizeof *each);
        result = each ? module_load(context, library->image, &each->module) : CUDA_ERROR_OUT_OF_MEMORY;
        if (result == CUDA_SUCCESS) {
            each->context = context->id;
            each->next = library->modules;
            library->modules = each;
        } else {
            free(each);
        }
    }
    if (result == CUDA_SUCCESS) {
        *found = each->module;
    }
    pthread_mutex_unlock(&library->lock);
    return result;
}

CUfunction kernel_in(CUkernel kernel, CUcontext context) {
    CUmodule module;
    CUfunction function;
    if (module_in(kernel->library, context, &module) != CUDA_SUCCESS ||
        cuModuleGetFunction(&function, module, kernel->code->name) != CUDA_SUCCESS) {
        return NULL;
    }
    return function;
}

static void library_end(CUlibrary library) {
    while (library->modules) {
        loaded *each = library->modules;
        library->modules = each->next;
        if (object_is(each->module, KIND_MODULE)) {
            cuModuleUnload(each->module);
        }
        free(each);
    }
    while (library->kernels) {
        CUkernel kernel = library->kernels;
        library->kernels = kernel->next;
        object_end(kernel);
    }
    if (library->code) {
        module_end(library->code);
    }
    pthread_mutex_destroy(&library->lock);
    free(library->image);
    object_end(library);
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jit_options, void **jit_options_values,
                           unsigned int jit_options_count, CUlibraryOption *library_options,
                           void **library_option_values, unsigned int library_options_count) {
    (void)jit_options, (void)jit_options_values, (void)jit_options_count;
    (void)library_options, (void)library_option_values, (void)library_options_count;
    NEED_DRIVER();
    NEED(library && code, CUDA_ERROR_INVALID_VALUE);
    CUlibrary made = object_new(KIND_LIBRARY, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    pthread_mutex_init(&made->lock, NULL);
    made->image = image_copy(code);
    CUresult result = made->image ? module_load(NULL, made->image, &made->code) : CUDA_ERROR_INVALID_IMAGE;
    for (CUfunction each = result == CUDA_SUCCESS ? made->code->functions : NULL; each; each = each->next) {
        CUkernel kernel = object_new(KIND_KERNEL, sizeof *kernel);
        if (!kernel) {
            result = CUDA_ERROR_OUT_OF_MEMORY;
            break;
        }
        kernel->library = made;
        kernel->code = each;
        kernel->next = made->kernels;
        made->kernels = kernel;
        made->kernel_count++;
    }
    if (result != CUDA_SUCCESS) {
        library_end(made);
        return result;
    }
    *library = made;
    return CUDA_SUCCESS;
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *path, CUjit_option *jit_options,
                               void **jit_options_values, unsigned int jit_options_count,
                               CUlibraryOption *library_options, void **library_option_values,
                               unsigned int library_options_count) {
    NEED(path, CUDA_ERROR_INVALID_VALUE);
    char *image = file_read(path);
    NEED(image, CUDA_ERROR_FILE_NOT_FOUND);
    CUresult result = cuLibraryLoadData(library, image, jit_options, jit_options_values, jit_options_count,
                                        library_options, library_option_values, library_options_count);
    free(image);
    return result;
}

CUresult cuLibraryUnload(CUlibrary library) {
    NEED_DRIVER();
    NEED_LIBRARY(library);
    library_end(library);
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
    NEED_DRIVER();
    NEED_LIBRARY(library);
    NEED(kernel && name, CUDA_ERROR_INVALID_VALUE);
    for (CUkernel each = library->kernels; each; each = each->next) {
        if (strcmp(each->code->name, name) == 0) {
            *kernel = each;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary library) {
    NEED_DRIVER();
    NEED_LIBRARY(library);
    NEED(count, CUDA_ERROR_INVALID_VALUE);
    *count = library->kernel_count;
    return CUDA_SUCCESS;
}

CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int kernel_count, CUlibrary library) {
    NEED_DRIVER();
    NEED_LIBRARY(library);
    NEED(kernels && kernel_count, CUDA_ERROR_INVALID_VALUE);
    CUkernel each = library->kernels;
    for (unsigned i = 0; i < kernel_count && each; i++, each = each->next) {
        kernels[i] = each;
    }
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library) {
    NEED_CONTEXT(current);
    NEED_LIBRARY(library);
    NEED(module, CUDA_ERROR_INVALID_VALUE);
    return module_in(library, current, module);
}

CUresult cuLibraryGetGlobal(CUdeviceptr *pointer, size_t *bytes, CUlibrary library, const char *name) {
    CUmodule module;
    NEED_OK(cuLibraryGetModule(&module, library));
    return cuModuleGetGlobal_v2(pointer, bytes, module, name);
}

#define NEED_KERNEL(kernel) NEED(object_is(kernel, KIND_KERNEL), CUDA_ERROR_INVALID_HANDLE)

CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel) {
    NEED_CONTEXT(current);
    NEED_KERNEL(kernel);
    NEED(function, CUDA_ERROR_INVALID_VALUE);
    *function = kernel_in(kernel, current);
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel kernel) {
    NEED_DRIVER();
    NEED_KERNEL(kernel);
    NEED(library, CUDA_ERROR_INVALID_VALUE);
    *library = kernel->library;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetName(const char **name, CUkernel kernel) {
    NEED_DRIVER();
    NEED(name && kernel, CUDA_ERROR_INVALID_VALUE);
    NEED_KERNEL(kernel);
    *name = kernel->code->name;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetParamCount(CUkernel kernel, size_t *count) {
    NEED_CONTEXT(current);
    NEED_KERNEL(kernel);
    return cuFuncGetParamCount(kernel->code, count);
}

CUresult cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *bytes) {
    NEED_CONTEXT(current);
    NEED_KERNEL(kernel);
    return cuFuncGetParamInfo(kernel->code, index, offset, bytes);
}

CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel kernel, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    CUfunction function;
    NEED_OK(cuKernelGetFunction(&function, kernel));
    return cuFuncGetAttribute(value, attribute, function);
}

CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    CUfunction function;
    NEED_OK(cuKernelGetFunction(&function, kernel));
    return cuFuncSetAttribute(function, attribute, value);
}

CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED_KERNEL(kernel);
    return (unsigned)config <= CU_FUNC_CACHE_PREFER_EQUAL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
