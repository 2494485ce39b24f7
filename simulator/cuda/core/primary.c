/* Primary contexts: one for each device, shared by everything in the process that retains it. */
#include "simulator/cuda/core/context.h"

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(context, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&chosen->lock);
    CUresult result = CUDA_SUCCESS;
    if (!chosen->primary) {
        result = context_new(ordinal, chosen->primary_flags, true, &chosen->primary);
    }
    if (result == CUDA_SUCCESS) {
        chosen->primary_refs++;
        *context = chosen->primary;
    }
    pthread_mutex_unlock(&chosen->lock);
    return result;
}

static void end_primary(device *chosen) {
    if (chosen->primary) {
        context_end(chosen->primary);
        chosen->primary = NULL;
    }
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    pthread_mutex_lock(&chosen->lock);
    CUresult result = CUDA_SUCCESS;
    if (chosen->primary_refs == 0) {
        result = CUDA_ERROR_INVALID_CONTEXT;
    } else if (--chosen->primary_refs == 0) {
        end_primary(chosen);
    }
    pthread_mutex_unlock(&chosen->lock);
    return result;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice ordinal) {
    return cuDevicePrimaryCtxRelease_v2(ordinal);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    pthread_mutex_lock(&chosen->lock);
    end_primary(chosen);
    chosen->primary_refs = 0;
    pthread_mutex_unlock(&chosen->lock);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset(CUdevice ordinal) {
    return cuDevicePrimaryCtxReset_v2(ordinal);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned int flags) {
    NEED_DEVICE(chosen, ordinal);
    NEED(!(flags & ~(unsigned)CU_CTX_FLAGS_MASK), CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&chosen->lock);
    chosen->primary_flags = flags;
    if (chosen->primary) {
        chosen->primary->flags = flags;
    }
    pthread_mutex_unlock(&chosen->lock);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice ordinal, unsigned int flags) {
    return cuDevicePrimaryCtxSetFlags_v2(ordinal, flags);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned int *flags, int *active) {
    NEED_DEVICE(chosen, ordinal);
    NEED(flags && active, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&chosen->lock);
    *flags = chosen->primary_flags;
    *active = chosen->primary != NULL;
    pthread_mutex_unlock(&chosen->lock);
    return CUDA_SUCCESS;
}
