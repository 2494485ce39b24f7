/* Green contexts. Each has a part of a GPU's multiprocessors, holds the device's primary context, and has no memory of its
 * own: what is allocated in it belongs to the primary context. Kernels of its streams take no more lanes of the GPU than its
 * part is of the whole. */
#include "simulator/cuda/stream/green.h"

#include "simulator/cuda/core/capture_guard.h"
#include "simulator/cuda/core/later.h"
#include "simulator/cuda/core/resource.h"
#include "simulator/cuda/stream/scope.h"

static uint64_t last_id;

#define NEED_GREEN(green) NEED(object_is(green, KIND_GREEN), CUDA_ERROR_INVALID_CONTEXT)

static gpu_part part_of(CUgreenCtx green) {
    if (!object_is(green, KIND_GREEN)) {
        return (gpu_part){0};
    }
    const CUdevResource *has = &green->has->multiprocessors;
    return (gpu_part){has->as.sm.count, has->origin.lanes};
}

gpu_part current_part(void) {
    return part_of(context_green());
}

gpu_part stream_part(const struct CUstream_st *stream) {
    return stream->usual ? current_part() : part_of(stream->green);
}

CUresult cuGreenCtxCreate(CUgreenCtx *context, CUdevResourceDesc description, CUdevice ordinal, unsigned int flags) {
    NEED_DEVICE(chosen, ordinal);
    NEED(context && object_is(description, KIND_RESOURCES), CUDA_ERROR_INVALID_VALUE);
    NEED(flags <= CU_GREEN_CTX_DEFAULT_STREAM && description->ordinal == ordinal, CUDA_ERROR_INVALID_VALUE);
    CUcontext primary;
    NEED_OK(cuDevicePrimaryCtxRetain(&primary, ordinal));
    CUgreenCtx made = object_new(KIND_GREEN, sizeof *made);
    CUcontext name = object_new(KIND_CONTEXT, sizeof *name);
    if (!made || !name) {
        cuDevicePrimaryCtxRelease_v2(ordinal);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    made->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
    made->primary = primary;
    made->name = name;
    made->has = description;
    name->ordinal = ordinal;
    name->device = chosen;
    name->id = primary->id;
    name->card_state = primary->card_state;
    name->base = primary;
    name->green = made;
    *context = made;
    return CUDA_SUCCESS;
}

/* Its streams stay, but can only be destroyed. */
static void detach_streams(CUgreenCtx green) {
    pthread_mutex_lock(&green->primary->lock);
    for (CUstream each = green->primary->streams; each; each = each->next) {
        if (each->green == green) {
            each->green = NULL;
            each->detached = true;
            if (each->capture) {
                each->capture->guard.broken = true;
            }
        }
    }
    pthread_mutex_unlock(&green->primary->lock);
}

CUresult cuGreenCtxDestroy(CUgreenCtx context) {
    NEED_DRIVER();
    NEED_GREEN(context);
    int ordinal = context->has->ordinal;
    if (context_of(context->name)) { /* otherwise its primary context was reset, and its streams with it */
        if (context->marks) {
            stream_end(context->marks);
        }
        detach_streams(context);
    }
    object_end(context->name);
    object_end(context);
    cuDevicePrimaryCtxRelease_v2(ordinal);
    return CUDA_SUCCESS;
}

CUresult cuCtxFromGreenCtx(CUcontext *context, CUgreenCtx green) {
    NEED_DRIVER();
    NEED(context, CUDA_ERROR_INVALID_VALUE);
    NEED_GREEN(green);
    *context = green->name;
    return CUDA_SUCCESS;
}

CUresult cuGreenCtxGetId(CUgreenCtx context, unsigned long long *id) {
    NEED_DRIVER();
    CUgreenCtx meant = context ? context : context_green();
    NEED_GREEN(meant);
    NEED(id, CUDA_ERROR_INVALID_VALUE);
    *id = meant->id;
    return CUDA_SUCCESS;
}

CUresult cuGreenCtxStreamCreate(CUstream *stream, CUgreenCtx context, unsigned int flags, int priority) {
    NEED_DRIVER();
    NEED_GREEN(context);
    NEED(stream && flags == CU_STREAM_NON_BLOCKING, CUDA_ERROR_INVALID_VALUE);
    NEED(context_of(context->name), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    CUstream made = stream_new(context->primary, flags, priority > 0 ? 0 : priority < -5 ? -5 : priority, false);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->green = context;
    *stream = made;
    return scope_join(&(scope){context->primary, context, &context->marks}, made);
}

CUresult cuStreamGetGreenCtx(CUstream handle, CUgreenCtx *context) {
    NEED_STREAM(stream, handle);
    NEED(context, CUDA_ERROR_INVALID_VALUE);
    *context = stream->usual ? context_green() : stream->green;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *context) {
    CUgreenCtx green;
    NEED_OK(cuStreamGetCtx_v2(handle, context, &green));
    *context = green ? green->name : *context;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx_v2(CUstream handle, CUcontext *context, CUgreenCtx *green) {
    NEED_STREAM(stream, handle);
    NEED(context, CUDA_ERROR_INVALID_VALUE);
    *context = stream->context;
    if (green) {
        *green = stream->usual ? context_green() : stream->green;
    }
    return CUDA_SUCCESS;
}

/* ---- What each has. */

CUresult cuGreenCtxGetDevResource(CUgreenCtx context, CUdevResource *resource, CUdevResourceType type) {
    NEED_DRIVER();
    NEED_GREEN(context);
    NEED_OK(resource_query(context->has->ordinal, part_of(context).multiprocessors, type, resource));
    if (type == CU_DEV_RESOURCE_TYPE_SM && context->has->multiprocessors.type) {
        *resource = context->has->multiprocessors;
        resource->origin.split = resource->origin.final = 0; /* from here on it can be split again */
    } else if (type == context->has->queues.type) {
        *resource = context->has->queues;
    }
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevResource(CUcontext context, CUdevResource *resource, CUdevResourceType type) {
    NEED_DRIVER();
    NEED(context_of(context), CUDA_ERROR_INVALID_CONTEXT);
    return context->green ? cuGreenCtxGetDevResource(context->green, resource, type)
                          : resource_query(context->ordinal, 0, type, resource);
}

CUresult cuStreamGetDevResource(CUstream handle, CUdevResource *resource, CUdevResourceType type) {
    NEED_STREAM(stream, handle);
    NEED(type == CU_DEV_RESOURCE_TYPE_SM, CUDA_ERROR_INVALID_RESOURCE_TYPE);
    CUgreenCtx green = stream->usual ? context_green() : stream->green;
    return green ? cuGreenCtxGetDevResource(green, resource, type)
                 : resource_query(stream->context->ordinal, 0, type, resource);
}

/* ---- All the work of a context. */

static scope all_of(CUcontext context) {
    CUcontext base = context_of(context);
    CUgreenCtx green = context->green;
    return (scope){base, green, green ? &green->marks : &base->marks};
}

CUresult cuGreenCtxRecordEvent(CUgreenCtx context, CUevent event) {
    NEED_DRIVER();
    NEED_GREEN(context);
    return cuCtxRecordEvent(context->name, event);
}

CUresult cuGreenCtxWaitEvent(CUgreenCtx context, CUevent event) {
    NEED_DRIVER();
    NEED_GREEN(context);
    return cuCtxWaitEvent(context->name, event);
}

CUresult cuCtxRecordEvent(CUcontext context, CUevent event) {
    NEED_DRIVER();
    NEED(context_of(context), CUDA_ERROR_INVALID_CONTEXT);
    scope all = all_of(context);
    return scope_record(&all, event);
}

CUresult cuCtxWaitEvent(CUcontext context, CUevent event) {
    NEED_DRIVER();
    NEED(context_of(context), CUDA_ERROR_INVALID_CONTEXT);
    scope all = all_of(context);
    return scope_wait(&all, event);
}

static CUresult synchronize(CUcontext base, CUgreenCtx green) {
    NEED(!context_lost(base), CUDA_ERROR_UNKNOWN);
    NEED_OK(capture_forbids_unsafe());
    if (green) {
        NEED_OK(scope_synchronize(&(scope){base, green, &green->marks}));
    } else {
        context_wait(base); /* its green contexts as well */
    }
    return context_lost(base) ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void) {
    NEED_CONTEXT(current);
    return synchronize(current, context_green());
}

CUresult cuCtxSynchronize_v2(CUcontext context) {
    NEED_DRIVER();
    if (!context) {
        return cuCtxSynchronize();
    }
    NEED(context_of(context), CUDA_ERROR_INVALID_CONTEXT);
    return synchronize(context_of(context), context->green);
}
