/* Contexts: the thread's stack of them, how they begin and end with their parts, and what each costs on the GPU. */
#include "simulator/cuda/core/context.h"

#include "simulator/cuda/core/capture_guard.h"

enum { STACK_DEPTH = 64, API_VERSION = 3020 };

static __thread CUcontext stack[STACK_DEPTH];
static __thread int depth;
static uint64_t next_id;
static const context_part_ops *parts[CONTEXT_PARTS];

void context_part_register(context_part part, const context_part_ops *ops) {
    parts[part] = ops;
}

CUcontext context_named(CUresult *error) {
    CUcontext top = depth ? stack[depth - 1] : NULL;
    if (!top) {
        *error = CUDA_ERROR_INVALID_CONTEXT;
        return NULL;
    }
    CUcontext meant = context_of(top);
    if (!meant) {
        *error = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    return meant;
}

CUcontext context_of(CUcontext handle) {
    if (!object_is(handle, KIND_CONTEXT)) {
        return NULL;
    }
    return !handle->base ? handle : object_is(handle->base, KIND_CONTEXT) ? handle->base : NULL;
}

CUgreenCtx context_green(void) {
    CUcontext top = depth ? stack[depth - 1] : NULL;
    return object_is(top, KIND_CONTEXT) ? top->green : NULL;
}

CUcontext context_current(CUresult *error) {
    CUcontext named = context_named(error);
    if (named && context_lost(named)) {
        *error = CUDA_ERROR_UNKNOWN;
        return NULL;
    }
    return named;
}

CUresult context_new(int ordinal, unsigned flags, bool primary, CUcontext *context) {
    device *chosen = device_at(ordinal);
    uint64_t cost = chosen->profile->context_mib * (uint64_t)MIB;
    uint32_t card_state = __atomic_load_n(&chosen->card->lost, __ATOMIC_ACQUIRE);
    NEED(sim_gpu_usable(chosen->card), CUDA_ERROR_UNKNOWN);
    NEED(chosen->card->settings.compute_mode != CU_COMPUTEMODE_PROHIBITED, CUDA_ERROR_UNKNOWN);
    sim_status taken = sim_context_reserve(sim_driver.machine, chosen->gpu, cost);
    NEED(taken != SIM_TAKEN, CUDA_ERROR_DEVICE_UNAVAILABLE);
    NEED(taken == SIM_OK, CUDA_ERROR_OUT_OF_MEMORY);
    CUcontext made = object_new(KIND_CONTEXT, sizeof *made);
    if (!made) {
        sim_context_release(sim_driver.machine, chosen->gpu, cost);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    made->ordinal = ordinal;
    made->device = chosen;
    made->cost = cost;
    made->card_state = card_state;
    made->flags = flags;
    made->primary = primary;
    made->id = __atomic_add_fetch(&next_id, 1, __ATOMIC_RELAXED);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->empty, NULL);
    for (int part = 0; part < CONTEXT_PARTS; part++) {
        if (parts[part] && parts[part]->begin) {
            parts[part]->begin(made);
        }
    }
    *context = made;
    return CUDA_SUCCESS;
}

void context_wait(CUcontext context) {
    for (int part = 0; part < CONTEXT_PARTS; part++) {
        if (parts[part] && parts[part]->wait) {
            parts[part]->wait(context);
        }
    }
}

void context_end(CUcontext context) {
    context_wait(context);
    for (int part = CONTEXT_PARTS - 1; part >= 0; part--) {
        if (parts[part] && parts[part]->end) {
            parts[part]->end(context);
        }
    }
    sim_context_release(sim_driver.machine, context->device->gpu, context->cost);
    pthread_cond_destroy(&context->empty);
    pthread_mutex_destroy(&context->lock);
    object_end(context);
}

static CUresult push(CUcontext context) {
    NEED(depth < STACK_DEPTH, CUDA_ERROR_OUT_OF_MEMORY);
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(context && !(flags & ~(unsigned)CU_CTX_FLAGS_MASK), CUDA_ERROR_INVALID_VALUE);
    CUcontext made;
    NEED_OK(context_new((int)(chosen - sim_driver.devices), flags, false, &made));
    CUresult pushed = push(made);
    if (pushed != CUDA_SUCCESS) {
        context_end(made);
        return pushed;
    }
    *context = made;
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *params_array, int param_count, unsigned int flags,
                        CUdevice ordinal) {
    NEED(!params_array && param_count == 0, CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY);
    return cuCtxCreate_v2(context, flags, ordinal);
}

CUresult cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *ctx_create_params, unsigned int flags,
                        CUdevice ordinal) {
    NEED(!ctx_create_params || (!ctx_create_params->exec_affinity && !ctx_create_params->graphics_share),
         CUDA_ERROR_NOT_SUPPORTED);
    return cuCtxCreate_v2(context, flags, ordinal);
}

CUresult cuCtxDestroy_v2(CUcontext context) {
    NEED_DRIVER();
    NEED(object_is(context, KIND_CONTEXT) && !context->primary && !context->green, CUDA_ERROR_INVALID_CONTEXT);
    if (depth && stack[depth - 1] == context) {
        depth--;
    }
    context_end(context);
    return CUDA_SUCCESS;
}

CUresult cuCtxDestroy(CUcontext context) {
    return cuCtxDestroy_v2(context);
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
    NEED_DRIVER();
    NEED(object_is(context, KIND_CONTEXT), CUDA_ERROR_INVALID_CONTEXT);
    return push(context);
}

CUresult cuCtxPushCurrent(CUcontext context) {
    return cuCtxPushCurrent_v2(context);
}

CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    NEED_DRIVER();
    NEED(depth > 0 && stack[depth - 1], CUDA_ERROR_INVALID_CONTEXT);
    depth--;
    if (context) {
        *context = stack[depth];
    }
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *context) {
    return cuCtxPopCurrent_v2(context);
}

CUresult cuCtxSetCurrent(CUcontext context) {
    NEED_DRIVER();
    NEED(!context || object_is(context, KIND_CONTEXT), CUDA_ERROR_INVALID_CONTEXT);
    if (depth) {
        depth--;
    }
    return context ? push(context) : CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context) {
    NEED_DRIVER();
    NEED(context, CUDA_ERROR_INVALID_VALUE);
    *context = depth ? stack[depth - 1] : NULL;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *ordinal) {
    NEED_CONTEXT_NAMED(current);
    NEED(ordinal, CUDA_ERROR_INVALID_VALUE);
    *ordinal = current->ordinal;
    return CUDA_SUCCESS;
}

/* Of CUDA 13: of any context; NULL is the current one. */
CUresult cuCtxGetDevice_v2(CUdevice *ordinal, CUcontext context) {
    NEED_DRIVER();
    if (!context) {
        return cuCtxGetDevice(ordinal);
    }
    NEED(ordinal, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(context, KIND_CONTEXT), CUDA_ERROR_INVALID_CONTEXT);
    *ordinal = context->ordinal;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned int *flags) {
    NEED_CONTEXT_NAMED(current);
    NEED(flags, CUDA_ERROR_INVALID_VALUE);
    *flags = current->flags;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext context, unsigned long long *id) {
    NEED_DRIVER();
    CUresult error = CUDA_SUCCESS;
    CUcontext chosen = context ? context : context_named(&error);
    NEED(object_is(chosen, KIND_CONTEXT), CUDA_ERROR_INVALID_CONTEXT);
    NEED(id, CUDA_ERROR_INVALID_VALUE);
    *id = chosen->id;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext context, unsigned int *version) {
    NEED_DRIVER();
    CUresult error = CUDA_SUCCESS;
    CUcontext chosen = context ? context : context_named(&error);
    NEED(object_is(chosen, KIND_CONTEXT), CUDA_ERROR_INVALID_CONTEXT);
    NEED(version, CUDA_ERROR_INVALID_VALUE);
    *version = API_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache *config) {
    NEED_CONTEXT(current);
    NEED(config, CUDA_ERROR_INVALID_VALUE);
    *config = current->cache_config;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
    NEED_CONTEXT(current);
    NEED((unsigned)config <= CU_FUNC_CACHE_PREFER_EQUAL, CUDA_ERROR_INVALID_VALUE);
    current->cache_config = config;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig *config) {
    NEED_CONTEXT(current);
    NEED(config, CUDA_ERROR_INVALID_VALUE);
    *config = current->shared_config;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetSharedMemConfig(CUsharedconfig config) {
    NEED_CONTEXT(current);
    current->shared_config = config;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int *least_priority, int *greatest_priority) {
    NEED_CONTEXT(current);
    if (least_priority) {
        *least_priority = 0;
    }
    if (greatest_priority) {
        *greatest_priority = -5;
    }
    return CUDA_SUCCESS;
}
