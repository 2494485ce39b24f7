/* Modules and libraries: code and variables. Only the driver knows the size of their memory. */
#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/nvml_delta.h"
#include "libvgpu/memory/reservation.h"

static CUresult unload_module(void *module) {
    return DRIVER(cuModuleUnload)(module);
}

static CUresult unload_library(void *library) {
    return DRIVER(cuLibraryUnload)(library);
}

/* Counts the loaded code, or unloads it where it is more than is left. `context` is NULL where no context owns it. */
static CUresult loaded(CUresult result, struct nvml_delta *delta, int gpu, CUcontext context, void *handle,
                       CUresult (*unload)(void *)) {
    struct reservation reservation;
    uint64_t bytes = nvml_delta_end(delta, 0);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (reservation_count(&reservation, context, gpu, bytes)) {
        return reservation_finish(&reservation, result, ALLOCATION_KEY(MODULE, handle));
    }
    unload(handle);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

#define LOAD(handle, owner, unload, call)                                          \
    do {                                                                           \
        struct nvml_delta delta;                                                   \
        CUcontext context;                                                         \
        int gpu;                                                                   \
        if ((handle) == NULL || !devices_current(&context, &gpu) || gpu == NO_GPU) \
            return call;                                                           \
        nvml_delta_begin(&delta, gpu);                                             \
        CUresult result = call;                                                    \
        result = loaded(result, &delta, gpu, owner, *(handle), unload);            \
        return result;                                                             \
    } while (0)

CUresult hook_cuModuleLoad(__typeof__(&cuModuleLoad) driver, CUmodule *module, const char *path) {
    LOAD(module, context, unload_module, driver(module, path));
}

CUresult hook_cuModuleLoadData(__typeof__(&cuModuleLoadData) driver, CUmodule *module, const void *image) {
    LOAD(module, context, unload_module, driver(module, image));
}

CUresult hook_cuModuleLoadDataEx(__typeof__(&cuModuleLoadDataEx) driver, CUmodule *module, const void *image,
                                 unsigned int option_count, CUjit_option *options, void **option_values) {
    LOAD(module, context, unload_module, driver(module, image, option_count, options, option_values));
}

CUresult hook_cuModuleLoadFatBinary(__typeof__(&cuModuleLoadFatBinary) driver, CUmodule *module,
                                    const void *fat_cubin) {
    LOAD(module, context, unload_module, driver(module, fat_cubin));
}

CUresult hook_cuLibraryLoadData(__typeof__(&cuLibraryLoadData) driver, CUlibrary *library, const void *code,
                                CUjit_option *jit_options, void **jit_options_values, unsigned int jit_option_count,
                                CUlibraryOption *library_options, void **library_option_values,
                                unsigned int library_option_count) {
    LOAD(library, NULL, unload_library,
         driver(library, code, jit_options, jit_options_values, jit_option_count, library_options,
                library_option_values, library_option_count));
}

CUresult hook_cuLibraryLoadFromFile(__typeof__(&cuLibraryLoadFromFile) driver, CUlibrary *library,
                                    const char *file_name, CUjit_option *jit_options, void **jit_options_values,
                                    unsigned int jit_option_count, CUlibraryOption *library_options,
                                    void **library_option_values, unsigned int library_option_count) {
    LOAD(library, NULL, unload_library,
         driver(library, file_name, jit_options, jit_options_values, jit_option_count, library_options,
                library_option_values, library_option_count));
}

static CUresult unloaded(bool noted, CUresult result, const struct allocation *entry) {
    /* The driver may reuse the handles of its functions. */
    if (result == CUDA_SUCCESS) {
        cost_cache_doubt();
    }
    if (noted && result == CUDA_SUCCESS) {
        reservation_release(entry);
    } else if (noted) {
        allocations_add(*entry);
    }
    return result;
}

CUresult hook_cuModuleUnload(__typeof__(&cuModuleUnload) driver, CUmodule module) {
    struct allocation entry;
    bool noted = allocations_remove(ALLOCATION_KEY(MODULE, module), &entry);
    return unloaded(noted, driver(module), &entry);
}

CUresult hook_cuLibraryUnload(__typeof__(&cuLibraryUnload) driver, CUlibrary library) {
    struct allocation entry;
    bool noted = allocations_remove(ALLOCATION_KEY(MODULE, library), &entry);
    return unloaded(noted, driver(library), &entry);
}
