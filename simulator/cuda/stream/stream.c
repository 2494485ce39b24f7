/* Streams of a context: how they begin and end, and which one a handle means. */
#include "simulator/cuda/stream/stream.h"

#include <stdlib.h>

#include "simulator/cuda/core/lookup.h"

static uint64_t next_id = 16;

CUstream stream_new(CUcontext context, unsigned flags, int priority, bool usual) {
    CUstream made = object_new(KIND_STREAM, sizeof *made);
    if (!made) {
        return NULL;
    }
    made->context = context;
    made->flags = flags;
    made->priority = priority;
    made->usual = usual;
    made->id = __atomic_add_fetch(&next_id, 1, __ATOMIC_RELAXED);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->changed, NULL);
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&made->arrived, &steady);
    pthread_condattr_destroy(&steady);
    pthread_mutex_lock(&context->lock);
    made->next = context->streams;
    context->streams = made;
    pthread_mutex_unlock(&context->lock);
    return made;
}

/* The stream leaves its context, and this world, when its work is done. */
void stream_end(CUstream stream) {
    CUcontext context = stream->context;
    if (stream->capture) { /* at once: the capture may end before the stream's work does */
        stream->capture->ops->leave(stream->capture, stream);
    }
    pthread_mutex_lock(&stream->lock);
    bool busy = stream->has_thread;
    __atomic_store_n(&stream->closing, true, __ATOMIC_RELEASE);
    pthread_cond_signal(&stream->arrived);
    pthread_mutex_unlock(&stream->lock);
    if (busy) {
        return; /* its thread comes here when it has nothing left to do */
    }
    pthread_mutex_lock(&context->lock);
    for (CUstream *link = &context->streams; *link; link = &(*link)->next) {
        if (*link == stream) {
            *link = stream->next;
            break;
        }
    }
    pthread_cond_destroy(&stream->changed);
    pthread_cond_destroy(&stream->arrived);
    pthread_mutex_destroy(&stream->lock);
    free(stream->launch_ends);
    object_end(stream);
    if (!context->streams) {
        pthread_cond_signal(&context->empty);
    }
    pthread_mutex_unlock(&context->lock);
}

/* A stream that is not closing yet. Call with its context locked. */
static CUstream next_open(CUcontext context) {
    CUstream each = context->streams;
    while (each && __atomic_load_n(&each->closing, __ATOMIC_ACQUIRE)) {
        each = each->next;
    }
    return each;
}

void streams_end(CUcontext context) {
    pthread_mutex_lock(&context->lock);
    for (CUstream open = next_open(context); open; open = next_open(context)) {
        pthread_mutex_unlock(&context->lock);
        stream_end(open);
        pthread_mutex_lock(&context->lock);
    }
    while (context->streams) {
        pthread_cond_wait(&context->empty, &context->lock);
    }
    pthread_mutex_unlock(&context->lock);
}

enum { OWN_STREAMS = 8 };
static __thread struct {
    uint64_t context;
    CUstream stream;
} own_streams[OWN_STREAMS];

static CUstream own_stream(CUcontext context) {
    int place = (int)(context->id % OWN_STREAMS);
    if (own_streams[place].context != context->id || !own_streams[place].stream) {
        own_streams[place].context = context->id;
        own_streams[place].stream = stream_new(context, CU_STREAM_DEFAULT, 0, true);
    }
    return own_streams[place].stream;
}

CUstream stream_find(CUcontext context, CUstream handle) {
    if (handle == CU_STREAM_PER_THREAD && context_green()) {
        return NULL; /* green contexts have none */
    }
    if (handle == CU_STREAM_PER_THREAD || (handle == NULL && per_thread_default)) {
        return own_stream(context);
    }
    if (handle == NULL || handle == CU_STREAM_LEGACY) {
        return context->legacy;
    }
    return object_is(handle, KIND_STREAM) ? handle : NULL;
}
