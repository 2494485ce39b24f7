/* Events: an event holds the fence at which it was last recorded. */
#include "simulator/cuda/stream/event.h"

#include <stdlib.h>

#include "simulator/cuda/core/capture_guard.h"
#include "simulator/cuda/stream/queue.h"
#include "simulator/cuda/stream/run.h"

/* An event may outlive its context. */
static bool lost(CUevent event) {
    return object_is(event->context, KIND_CONTEXT) && context_lost(event->context);
}

CUresult cuEventCreate(CUevent *event, unsigned int flags) {
    NEED_CONTEXT(current);
    unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
    NEED(event && !(flags & ~known), CUDA_ERROR_INVALID_VALUE);
    NEED(!(flags & CU_EVENT_INTERPROCESS) || (flags & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_VALUE);
    CUevent made = object_new(KIND_EVENT, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->context = current;
    made->flags = flags;
    *event = made;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event) {
    NEED_DRIVER();
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    fence_unref(event->fence);
    free(event->captured);
    object_end(event);
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
    return cuEventDestroy_v2(event);
}

CUresult cuEventRecordWithFlags(CUevent event, CUstream handle, unsigned int flags) {
    NEED_STREAM(stream, handle);
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    NEED(flags <= CU_EVENT_RECORD_EXTERNAL, CUDA_ERROR_INVALID_VALUE);
    NEED(event->context == stream->context, CUDA_ERROR_INVALID_HANDLE);
    if (stream->capture && flags != CU_EVENT_RECORD_EXTERNAL) {
        return stream->capture->ops->record(stream->capture, stream, event);
    }
    event->capture = 0;
    fence *point = fence_new();
    NEED(point, CUDA_ERROR_OUT_OF_MEMORY);
    op work = {.kind = OP_RECORD, .as.event = {event, fence_ref(point)}};
    fence *before = event->fence;
    event->fence = point;
    fence_unref(before);
    return stream_submit(stream, &work);
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    return cuEventRecordWithFlags(event, stream, CU_EVENT_RECORD_DEFAULT);
}

static CUresult query(CUevent event) {
    NEED(!event->capture, CUDA_ERROR_CAPTURED_EVENT);
    NEED(!lost(event), CUDA_ERROR_UNKNOWN);
    fence *point = event->fence;
    return !point || (fence_is_signalled(point) && noticed(point->at_ns) <= sim_now_ns()) ? CUDA_SUCCESS
                                                                                          : CUDA_ERROR_NOT_READY;
}

CUresult cuEventQuery(CUevent event) {
    NEED_DRIVER();
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    NEED_OK(capture_forbids_unsafe());
    return query(event);
}

CUresult cuEventSynchronize(CUevent event) {
    NEED_DRIVER();
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    NEED(!event->capture, CUDA_ERROR_CAPTURED_EVENT);
    fence *point = fence_ref(event->fence);
    if (point) {
        uint64_t at = fence_wait(point);
        if (object_is(event->context, KIND_CONTEXT)) {
            context_sleep(event->context, noticed(at));
        }
        fence_unref(point);
    }
    return lost(event) ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    NEED_DRIVER();
    NEED(milliseconds, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(start, KIND_EVENT) && object_is(end, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    NEED(start->fence && end->fence && start->context == end->context, CUDA_ERROR_INVALID_HANDLE);
    NEED(!((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_HANDLE);
    NEED_OK(query(start));
    NEED_OK(query(end));
    *milliseconds = (float)((double)((int64_t)(end->fence->at_ns - start->fence->at_ns)) / 1e6);
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
    return cuEventElapsedTime(milliseconds, start, end);
}
