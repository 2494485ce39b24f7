#include "simulator/cuda/module/code.h"

#include <stdlib.h>
#include <string.h>

enum { OWN_ROOM = 2 << 20, STEP = 2 << 20, LAZY_KNOWN = 11070, LAZY_BY_DEFAULT = 12020 };

bool code_is_lazy(void) {
    const char *wish = getenv("CUDA_MODULE_LOADING");
    int version = sim_driver.machine->state->cuda_version;
    if (wish && strcmp(wish, "EAGER") == 0) {
        return false;
    }
    return version >= (wish && strcmp(wish, "LAZY") == 0 ? LAZY_KNOWN : LAZY_BY_DEFAULT);
}

/* Takes or gives memory so that the context has room for so much code. Call with the context locked. */
static CUresult resize(CUcontext context, uint64_t bytes) {
    uint64_t needed = bytes > OWN_ROOM ? ROUND_UP(bytes - OWN_ROOM, STEP) : 0, has = context->code_reserved;
    uint32_t gpu = context->device->gpu;
    if (needed > has) {
        NEED(sim_memory_reserve(sim_driver.machine, gpu, needed - has) == SIM_OK, CUDA_ERROR_OUT_OF_MEMORY);
    } else if (needed < has) {
        sim_memory_release(sim_driver.machine, gpu, has - needed);
    }
    context->code_reserved = needed;
    context->code_bytes = bytes;
    return CUDA_SUCCESS;
}

CUresult code_load(CUfunction function) {
    CUcontext context = function->module->context;
    CUresult result = CUDA_SUCCESS;
    if (__atomic_load_n(&function->code_loaded, __ATOMIC_ACQUIRE)) {
        return result;
    }
    pthread_mutex_lock(&context->lock);
    if (!function->code_loaded) {
        result = resize(context, context->code_bytes + function->code_bytes);
        __atomic_store_n(&function->code_loaded, result == CUDA_SUCCESS, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&context->lock);
    return result;
}

CUresult code_load_module(CUmodule module) {
    CUresult result = CUDA_SUCCESS;
    bool now = module->context && !code_is_lazy();
    for (CUfunction each = now ? module->functions : NULL; each && result == CUDA_SUCCESS; each = each->next) {
        result = code_load(each);
    }
    return result;
}

void code_unload_module(CUmodule module) {
    CUcontext context = module->context;
    uint64_t bytes = 0;
    for (CUfunction each = module->functions; each; each = each->next) {
        bytes += each->code_loaded ? each->code_bytes : 0;
        each->code_loaded = false;
    }
    if (bytes) {
        pthread_mutex_lock(&context->lock);
        resize(context, context->code_bytes - bytes);
        pthread_mutex_unlock(&context->lock);
    }
}
