/* Events: an event holds the fence at which it was last recorded. */
#include "simulator/cuda/stream/event.h"

#include <stdlib.h>

#include "simulator/cuda/core/capture_guard.h"
#include "simulator/cuda/stream/queue.h"
#include "simulator/cuda/stream/run.h"
#include "simulator/cuda/stream/shared_event.h"

/* An event may outlive its context. */
static bool lost(CUevent event) {
    return object_is(event->context, KIND_CONTEXT) && context_lost(event->context);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the fences of all events */

CUresult event_new(CUcontext context, unsigned flags, shared_event *shared, CUevent *event) {
    CUevent made = object_new(KIND_EVENT, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->context = context;
    made->flags = flags;
    made->shared = shared;
    *event = made;
    return CUDA_SUCCESS;
}

fence *event_begin(CUevent event) {
    fence *point = fence_new();
    if (!point) {
        return NULL;
    }
    if (event->shared) {
        point->shared = shared_event_ref(event->shared);
        point->ticket = shared_event_begin(event->shared);
    }
    pthread_mutex_lock(&lock);
    fence *before = event->fence;
    event->fence = fence_ref(point);
    event->capture = 0;
    pthread_mutex_unlock(&lock);
    fence_unref(before);
    return point;
}

fence *event_point(CUevent event) {
    if (!event->shared) {
        pthread_mutex_lock(&lock);
        fence *point = fence_ref(event->fence);
        pthread_mutex_unlock(&lock);
        return point;
    }
    uint64_t last = shared_event_last(event->shared);
    fence *point = last ? fence_new() : NULL;
    if (point) {
        point->shared = shared_event_ref(event->shared);
        point->ticket = last;
        point->foreign = true;
    }
    return point;
}

CUresult cuEventCreate(CUevent *event, unsigned int flags) {
    NEED_CONTEXT(current);
    unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
    NEED(event && !(flags & ~known), CUDA_ERROR_INVALID_VALUE);
    NEED(!(flags & CU_EVENT_INTERPROCESS) || (flags & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_VALUE);
    shared_event *shared = flags & CU_EVENT_INTERPROCESS ? shared_event_new() : NULL;
    NEED(shared || !(flags & CU_EVENT_INTERPROCESS), CUDA_ERROR_OUT_OF_MEMORY);
    CUresult made = event_new(current, flags, shared, event);
    if (made != CUDA_SUCCESS) {
        shared_event_unref(shared);
    }
    return made;
}

CUresult cuEventDestroy_v2(CUevent event) {
    NEED_DRIVER();
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    fence_unref(event->fence);
    shared_event_unref(event->shared);
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
    if (stream->capture) { /* the graph's launches record it */
        op later = {.kind = OP_RECORD, .as.event = {event, NULL}};
        return stream_submit(stream, &later);
    }
    fence *point = event_begin(event);
    NEED(point, CUDA_ERROR_OUT_OF_MEMORY);
    op work = {.kind = OP_RECORD, .as.event = {event, point}};
    return stream_submit(stream, &work);
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    return cuEventRecordWithFlags(event, stream, CU_EVENT_RECORD_DEFAULT);
}

static CUresult query(CUevent event) {
    NEED(!event->capture, CUDA_ERROR_CAPTURED_EVENT);
    NEED(!lost(event), CUDA_ERROR_UNKNOWN);
    fence *point = event_point(event);
    bool ready = !point || (fence_is_signalled(point) && noticed(point->at_ns) <= sim_now_ns());
    fence_unref(point);
    return ready ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
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
    fence *point = event_point(event);
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
    fence *first = event_point(start), *last = event_point(end);
    *milliseconds = (float)((double)((int64_t)(last->at_ns - first->at_ns)) / 1e6);
    fence_unref(first);
    fence_unref(last);
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
    return cuEventElapsedTime(milliseconds, start, end);
}
