/* Signals of, and waits for, semaphores of other APIs in the order of streams. */
#include "simulator/cuda/stream/queue.h"

/* Submits one piece of work for each semaphore, in their order. */
static CUresult submit(const CUexternalSemaphore *semaphores, unsigned count, CUstream handle, op_kind kind,
                       const uint64_t *values, size_t step) {
    NEED_STREAM(stream, handle);
    NEED(semaphores && values && count, CUDA_ERROR_INVALID_VALUE);
    for (unsigned i = 0; i < count; i++) {
        NEED(object_is(semaphores[i], KIND_SEMAPHORE), CUDA_ERROR_INVALID_HANDLE);
    }
    for (unsigned i = 0; i < count; i++) {
        op work = {.kind = kind, .as.semaphore = {semaphores[i], *(const uint64_t *)((const char *)values + i * step)}};
        NEED_OK(stream_submit(stream, &work));
    }
    return CUDA_SUCCESS;
}

CUresult cuSignalExternalSemaphoresAsync(const CUexternalSemaphore *semaphores,
                                         const CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *params, unsigned int count,
                                         CUstream stream) {
    const uint64_t *values = params ? (const uint64_t *)&params->value : NULL;
    return submit(semaphores, count, stream, OP_SIGNAL, values, sizeof *params);
}

CUresult cuWaitExternalSemaphoresAsync(const CUexternalSemaphore *semaphores,
                                       const CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS *params, unsigned int count,
                                       CUstream stream) {
    const uint64_t *values = params ? (const uint64_t *)&params->value : NULL;
    return submit(semaphores, count, stream, OP_AWAIT, values, sizeof *params);
}
