/* Events of whole contexts. A stream of its own collects what all streams were given, and what new ones have to wait for. */
#include "simulator/cuda/stream/scope.h"

#include <stdlib.h>

#include "simulator/cuda/stream/event.h"
#include "simulator/cuda/stream/queue.h"
#include "simulator/cuda/stream/run.h"

static bool belongs(const scope *all, const struct CUstream_st *stream) {
    return stream != *all->marks && (!all->green || stream->green == all->green);
}

/* Spoils the captures of the scope's streams; returns whether there was one. */
static bool break_captures(const scope *all) {
    bool found = false;
    pthread_mutex_lock(&all->context->lock);
    for (CUstream each = all->context->streams; each; each = each->next) {
        if (belongs(all, each) && each->capture) {
            each->capture->guard.broken = found = true;
        }
    }
    pthread_mutex_unlock(&all->context->lock);
    return found;
}

/* Marks the end of what each stream was given; the caller frees the list. */
static CUresult mark_all(const scope *all, fence ***points, size_t *count) {
    CUresult result = CUDA_SUCCESS;
    size_t room = 0;
    *count = 0;
    pthread_mutex_lock(&all->context->lock);
    for (CUstream each = all->context->streams; each; each = each->next) {
        room++;
    }
    *points = calloc(room + 1, sizeof **points);
    for (CUstream each = all->context->streams; each && *points; each = each->next) {
        fence *point = belongs(all, each) ? stream_mark(each) : NULL;
        if (point) {
            (*points)[(*count)++] = point;
        } else if (belongs(all, each)) {
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    pthread_mutex_unlock(&all->context->lock);
    return *points ? result : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult need_marks(const scope *all) {
    static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&making);
    if (!*all->marks) {
        CUstream made = stream_new(all->context, CU_STREAM_NON_BLOCKING, 0, true);
        if (made) {
            made->green = all->green;
        }
        *all->marks = made;
    }
    pthread_mutex_unlock(&making);
    return *all->marks ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult scope_record(const scope *all, CUevent event) {
    NEED(object_is(event, KIND_EVENT) && event->context == all->context, CUDA_ERROR_INVALID_HANDLE);
    NEED(!break_captures(all), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    NEED_OK(need_marks(all));
    fence **points;
    size_t count;
    CUresult result = mark_all(all, &points, &count);
    for (size_t i = 0; i < count; i++) {
        CUresult each = stream_await(*all->marks, points[i]);
        result = result == CUDA_SUCCESS ? each : result;
    }
    free(points);
    NEED_OK(result);
    fence *point = event_begin(event);
    NEED(point, CUDA_ERROR_OUT_OF_MEMORY);
    op work = {.kind = OP_RECORD, .as.event = {event, point}};
    return stream_submit(*all->marks, &work);
}

CUresult scope_wait(const scope *all, CUevent event) {
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    NEED(!event->capture && !break_captures(all), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    NEED_OK(need_marks(all));
    fence *point = event_point(event);
    if (!point) {
        return CUDA_SUCCESS;
    }
    CUresult result = stream_await(*all->marks, fence_ref(point));
    pthread_mutex_lock(&all->context->lock);
    for (CUstream each = all->context->streams; each; each = each->next) {
        if (belongs(all, each)) {
            CUresult waits = stream_await(each, fence_ref(point));
            result = result == CUDA_SUCCESS ? waits : result;
        }
    }
    pthread_mutex_unlock(&all->context->lock);
    fence_unref(point);
    return result;
}

CUresult scope_join(const scope *all, CUstream stream) {
    return *all->marks ? stream_await(stream, stream_mark(*all->marks)) : CUDA_SUCCESS;
}

CUresult scope_synchronize(const scope *all) {
    fence **points;
    size_t count;
    CUresult result = mark_all(all, &points, &count);
    for (size_t i = 0; i < count; i++) {
        context_sleep(all->context, noticed(fence_wait(points[i])));
        fence_unref(points[i]);
    }
    free(points);
    return result;
}
