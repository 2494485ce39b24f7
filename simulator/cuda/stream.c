/* Streams and events. Work is done when it is submitted, so every stream is always idle. */
#include "simulator/cuda/driver.h"

static uint64_t next_id = 16;

CUresult stream_check(CUstream stream) {
    bool usual = stream == NULL || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
    return usual || object_is(stream, KIND_STREAM) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority) {
    NEED_CONTEXT(current);
    NEED(stream && !(flags & ~(unsigned)CU_STREAM_NON_BLOCKING), CUDA_ERROR_INVALID_VALUE);
    CUstream made = object_new(KIND_STREAM, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->context = current;
    made->flags = flags;
    made->priority = priority > 0 ? 0 : priority < -5 ? -5 : priority;
    made->id = __atomic_add_fetch(&next_id, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&current->lock);
    made->next = current->streams;
    current->streams = made;
    pthread_mutex_unlock(&current->lock);
    *stream = made;
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
    return cuStreamCreateWithPriority(stream, flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream stream) {
    NEED_DRIVER();
    NEED(object_is(stream, KIND_STREAM), CUDA_ERROR_INVALID_HANDLE);
    CUcontext context = stream->context;
    pthread_mutex_lock(&context->lock);
    for (CUstream *link = &context->streams; *link; link = &(*link)->next) {
        if (*link == stream) {
            *link = stream->next;
            break;
        }
    }
    pthread_mutex_unlock(&context->lock);
    object_end(stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream stream) {
    return cuStreamDestroy_v2(stream);
}

CUresult cuStreamSynchronize(CUstream stream) {
    NEED_CONTEXT(current);
    return stream_check(stream);
}

CUresult cuStreamQuery(CUstream stream) {
    NEED_CONTEXT(current);
    return stream_check(stream);
}

CUresult cuStreamGetFlags(CUstream stream, unsigned int *flags) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    NEED(flags, CUDA_ERROR_INVALID_VALUE);
    *flags = object_is(stream, KIND_STREAM) ? stream->flags : CU_STREAM_DEFAULT;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetPriority(CUstream stream, int *priority) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    NEED(priority, CUDA_ERROR_INVALID_VALUE);
    *priority = object_is(stream, KIND_STREAM) ? stream->priority : 0;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream stream, CUcontext *context) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    NEED(context, CUDA_ERROR_INVALID_VALUE);
    *context = object_is(stream, KIND_STREAM) ? stream->context : current;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream stream, unsigned long long *id) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    NEED(id, CUDA_ERROR_INVALID_VALUE);
    *id = object_is(stream, KIND_STREAM) ? stream->id : (unsigned long long)(uintptr_t)stream;
    return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    NEED(flags <= CU_EVENT_WAIT_EXTERNAL, CUDA_ERROR_INVALID_VALUE);
    return CUDA_SUCCESS;
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn callback, void *user_data) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    NEED(callback, CUDA_ERROR_INVALID_VALUE);
    callback(user_data);
    return CUDA_SUCCESS;
}

CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback callback, void *user_data, unsigned int flags) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    NEED(callback && flags == 0, CUDA_ERROR_INVALID_VALUE);
    callback(stream, CUDA_SUCCESS, user_data);
    return CUDA_SUCCESS;
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
    object_end(event);
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
    return cuEventDestroy_v2(event);
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    event->recorded = true;
    event->at_ns = sim_now_ns();
    return CUDA_SUCCESS;
}

CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int flags) {
    NEED(flags <= CU_EVENT_RECORD_EXTERNAL, CUDA_ERROR_INVALID_VALUE);
    return cuEventRecord(event, stream);
}

CUresult cuEventQuery(CUevent event) {
    NEED_DRIVER();
    return object_is(event, KIND_EVENT) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventSynchronize(CUevent event) {
    return cuEventQuery(event);
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    NEED_DRIVER();
    NEED(milliseconds, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(start, KIND_EVENT) && object_is(end, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    NEED(start->recorded && end->recorded, CUDA_ERROR_INVALID_HANDLE);
    NEED(!((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_HANDLE);
    *milliseconds = (float)((double)((int64_t)end->at_ns - (int64_t)start->at_ns) / 1e6);
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
    return cuEventElapsedTime(milliseconds, start, end);
}
