/* Signals of, and waits for, semaphores of other APIs in the order of streams. */
#include <stdlib.h>

#include "simulator/cuda/stream/queue.h"
#include "simulator/cuda/stream/semaphore.h"

/* Submits one piece of work for each semaphore, in their order; a capture makes one node of them all. */
static CUresult submit(const CUexternalSemaphore *semaphores, const void *params, unsigned count, CUstream handle,
                       op_kind kind) {
    NEED_STREAM(stream, handle);
    semaphore_list *all;
    NEED_OK(semaphore_list_new(semaphores, params, count, &all));
    CUresult result = CUDA_SUCCESS;
    if (stream->capture) {
        op work = {.kind = kind, .as.semaphore.all = all};
        result = stream_submit(stream, &work);
    } else {
        for (unsigned i = 0; i < count && result == CUDA_SUCCESS; i++) {
            op work = {.kind = kind, .as.semaphore = {all->semaphores[i], all->params[i].value, NULL}};
            result = stream_submit(stream, &work);
        }
    }
    free(all);
    return result;
}

CUresult cuSignalExternalSemaphoresAsync(const CUexternalSemaphore *semaphores,
                                         const CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *params, unsigned int count,
                                         CUstream stream) {
    return submit(semaphores, params, count, stream, OP_SIGNAL);
}

CUresult cuWaitExternalSemaphoresAsync(const CUexternalSemaphore *semaphores,
                                       const CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS *params, unsigned int count,
                                       CUstream stream) {
    return submit(semaphores, params, count, stream, OP_AWAIT);
}
