/* Peer access between contexts, and small calls of contexts and devices that change nothing here. */
#include "simulator/cuda/core/context.h"

CUresult cuCtxEnablePeerAccess(CUcontext peer_context, unsigned int flags) {
    NEED_CONTEXT(current);
    NEED(flags == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(peer_context, KIND_CONTEXT) && peer_context->device != current->device, CUDA_ERROR_INVALID_CONTEXT);
    NEED(current->device->card->links[peer_context->device->gpu], CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
    uint32_t bit = 1U << peer_context->device->gpu;
    uint32_t before = __atomic_fetch_or(&current->peers, bit, __ATOMIC_RELAXED);
    return before & bit ? CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED : CUDA_SUCCESS;
}

CUresult cuCtxDisablePeerAccess(CUcontext peer_context) {
    NEED_CONTEXT(current);
    NEED(object_is(peer_context, KIND_CONTEXT), CUDA_ERROR_INVALID_CONTEXT);
    uint32_t bit = 1U << peer_context->device->gpu;
    uint32_t before = __atomic_fetch_and(&current->peers, ~bit, __ATOMIC_RELAXED);
    return before & bit ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}

CUresult cuCtxSetFlags(unsigned int flags) {
    NEED_CONTEXT(current);
    NEED(!(flags & ~(unsigned)CU_CTX_FLAGS_MASK), CUDA_ERROR_INVALID_VALUE);
    current->flags = flags;
    return CUDA_SUCCESS;
}

CUresult cuCtxResetPersistingL2Cache(void) {
    NEED_CONTEXT(current);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetExecAffinitySupport(int *value, CUexecAffinityType type, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(value && type == CU_EXEC_AFFINITY_TYPE_SM_COUNT, CUDA_ERROR_INVALID_VALUE);
    *value = 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t *max_width, CUarray_format format, unsigned channels,
                                            CUdevice ordinal) {
    (void)format;
    NEED_DEVICE(chosen, ordinal);
    NEED(max_width && channels, CUDA_ERROR_INVALID_VALUE);
    *max_width = 268435456 / channels;
    return CUDA_SUCCESS;
}

/* ---- Profiling: there is no profiler to start. */

CUresult cuProfilerStart(void) {
    NEED_CONTEXT(current);
    return CUDA_SUCCESS;
}

CUresult cuProfilerStop(void) {
    NEED_CONTEXT(current);
    return CUDA_SUCCESS;
}
