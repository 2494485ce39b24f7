/* How streams run work. What takes time on the card is settled when it is submitted, so most work is done in the
 * submitting thread and only its completion lies ahead. Only what waits for a host function needs a thread. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simulator/cuda/op.h"

enum { SPIN_NS = 60000 };

static uint64_t next_id = 16;

static void raise_to(uint64_t *value, uint64_t wanted) {
    uint64_t seen = __atomic_load_n(value, __ATOMIC_RELAXED);
    while (seen < wanted &&
           !__atomic_compare_exchange_n(value, &seen, wanted, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

void sleep_until(uint64_t at) {
    /* Timers are late by tens of microseconds: sleep short of the mark, then watch the clock. */
    if (at > SPIN_NS && sim_now_ns() + SPIN_NS < at) {
        uint64_t early = at - SPIN_NS;
        struct timespec until = {(time_t)(early / 1000000000U), (long)(early % 1000000000U)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
        }
    }
    while (sim_now_ns() < at) {
        sched_yield();
    }
}

static bool blocking(const struct CUstream_st *stream) {
    return !(stream->flags & CU_STREAM_NON_BLOCKING);
}

uint64_t stream_start(CUstream stream) {
    CUcontext context = stream->context;
    uint64_t start = stream->ready_ns;
    if (stream == context->legacy) {
        start = later(start, __atomic_load_n(&context->blocking_ns, __ATOMIC_ACQUIRE));
    } else if (blocking(stream)) {
        start = later(start, __atomic_load_n(&context->legacy->ready_ns, __ATOMIC_ACQUIRE));
    }
    return start;
}

static void set_ready(CUstream stream, uint64_t at) {
    __atomic_store_n(&stream->ready_ns, at, __ATOMIC_RELEASE);
    if (stream != stream->context->legacy && blocking(stream)) {
        raise_to(&stream->context->blocking_ns, at);
    }
    raise_to(&stream->context->latest_ns, at);
}

void stream_reach(CUstream stream, uint64_t at) {
    set_ready(stream, later(at, stream->ready_ns));
}

static void run_kernel(CUstream stream, const op *work) {
    if (!stream->launch_ends) {
        stream->launch_ends = calloc(LAUNCH_DEPTH, sizeof *stream->launch_ends);
    }
    if (stream->launch_ends) {
        uint64_t oldest = stream->launch_ends[stream->launches % LAUNCH_DEPTH];
        if (oldest > sim_now_ns()) {
            sleep_until(oldest); /* the card's queue is full, as on a real one */
        }
    }
    uint64_t end = stream_start(stream);
    if (work->as.kernel.duration_ns) {
        end = sim_work_book(sim_driver.machine, stream->context->device->gpu, work->as.kernel.lanes,
                            work->as.kernel.duration_ns, end);
    }
    if (stream->launch_ends) {
        stream->launch_ends[stream->launches++ % LAUNCH_DEPTH] = end;
    }
    set_ready(stream, end);
}

static bool value_reached(const op *work) {
    uint64_t seen = work->as.value.wide ? __atomic_load_n((uint64_t *)(uintptr_t)work->as.value.address, __ATOMIC_ACQUIRE)
                                        : __atomic_load_n((uint32_t *)(uintptr_t)work->as.value.address, __ATOMIC_ACQUIRE);
    uint64_t wanted = work->as.value.value;
    switch (work->as.value.flags & 3) {
    case CU_STREAM_WAIT_VALUE_GEQ:
        return work->as.value.wide ? (int64_t)(seen - wanted) >= 0 : (int32_t)((uint32_t)seen - (uint32_t)wanted) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ: return seen == wanted;
    case CU_STREAM_WAIT_VALUE_AND: return (seen & wanted) != 0;
    default: return ~(seen | wanted) != 0;
    }
}

static void write_value(const op *work) {
    if (work->as.value.wide) {
        __atomic_store_n((uint64_t *)(uintptr_t)work->as.value.address, work->as.value.value, __ATOMIC_RELEASE);
    } else {
        __atomic_store_n((uint32_t *)(uintptr_t)work->as.value.address, (uint32_t)work->as.value.value, __ATOMIC_RELEASE);
    }
}

void stream_run(CUstream stream, const op *work) {
    uint64_t start = stream_start(stream);
    switch (work->kind) {
    case OP_KERNEL: run_kernel(stream, work); return;
    case OP_GRAPH:
        exec_run(work->as.exec, stream);
        exec_drop(work->as.exec);
        return;
    case OP_HOST:
        sleep_until(start);
        work->as.host.callback(work->as.host.data);
        start = later(start, sim_now_ns());
        break;
    case OP_CALLBACK:
        sleep_until(start);
        work->as.callback.callback(work->as.callback.stream, CUDA_SUCCESS, work->as.callback.data);
        start = later(start, sim_now_ns());
        break;
    case OP_RECORD:
        moment_done(work->as.event.moment, later(start, sim_now_ns()));
        moment_drop(work->as.event.moment);
        break;
    case OP_WAIT:
        start = later(start, moment_wait(work->as.event.moment));
        moment_drop(work->as.event.moment);
        break;
    case OP_WAIT_VALUE:
        while (!value_reached(work)) {
            struct timespec pause = {.tv_nsec = 20000};
            nanosleep(&pause, NULL);
        }
        start = later(start, sim_now_ns());
        break;
    case OP_WRITE_VALUE:
        sleep_until(start); /* others wait for it in real time */
        write_value(work);
        break;
    case OP_FREE: heap_free(work->as.free); break;
    case OP_COPY:
    case OP_COPY_BOX:
    case OP_FILL: op_do_copy(work); break;
    case OP_ALLOC:
    case OP_EMPTY: break;
    }
    set_ready(stream, start);
}

/* ---- The thread of a stream with waiting work. */

static void *serve(void *argument) {
    CUstream stream = argument;
    pthread_mutex_lock(&stream->lock);
    while (stream->first) {
        pending *next = stream->first;
        pthread_mutex_unlock(&stream->lock);
        stream_run(stream, &next->op);
        pthread_mutex_lock(&stream->lock);
        stream->first = next->next;
        if (!stream->first) {
            stream->last = NULL;
        }
        free(next);
        stream->pending_count--;
        pthread_cond_broadcast(&stream->changed);
    }
    stream->has_thread = false;
    bool closing = stream->closing;
    pthread_mutex_unlock(&stream->lock);
    if (closing) {
        stream_end(stream);
    }
    return NULL;
}

/* Call with the stream locked. */
static CUresult queue(CUstream stream, const op *work) {
    pending *added = malloc(sizeof *added);
    NEED(added, CUDA_ERROR_OUT_OF_MEMORY);
    *added = (pending){.op = *work};
    if (stream->last) {
        stream->last->next = added;
    } else {
        stream->first = added;
    }
    stream->last = added;
    stream->pending_count++;
    if (!stream->has_thread) {
        pthread_t thread;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        stream->has_thread = pthread_create(&thread, &attributes, serve, stream) == 0;
        pthread_attr_destroy(&attributes);
    }
    return stream->has_thread ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

static bool must_wait(const op *work) {
    switch (work->kind) {
    case OP_HOST:
    case OP_CALLBACK:
    case OP_WAIT_VALUE:
    case OP_WRITE_VALUE: return true;
    case OP_WAIT: return !moment_is_done(work->as.event.moment);
    case OP_GRAPH: return exec_calls_host(work->as.exec);
    default: return false;
    }
}

static CUresult submit_locked(CUstream stream, const op *work) {
    if (stream->pending_count || must_wait(work)) {
        return queue(stream, work);
    }
    stream_run(stream, work);
    return CUDA_SUCCESS;
}

static bool has_pending(CUstream stream) {
    return __atomic_load_n(&stream->pending_count, __ATOMIC_ACQUIRE) != 0;
}

/* Lets `after` wait for what `before` has queued, as an event between them would. */
static CUresult follow(CUstream after, CUstream before) {
    moment *point = moment_new();
    NEED(point, CUDA_ERROR_OUT_OF_MEMORY);
    op record = {.kind = OP_RECORD, .as.event.moment = moment_hold(point)};
    op wait = {.kind = OP_WAIT, .as.event.moment = point};
    pthread_mutex_lock(&before->lock);
    CUresult result = submit_locked(before, &record);
    pthread_mutex_unlock(&before->lock);
    NEED_OK(result);
    pthread_mutex_lock(&after->lock);
    result = submit_locked(after, &wait);
    pthread_mutex_unlock(&after->lock);
    return result;
}

/* The legacy stream and the blocking ones wait for each other. */
static CUresult follow_others(CUstream stream) {
    CUcontext context = stream->context;
    if (stream != context->legacy) {
        return blocking(stream) && has_pending(context->legacy) ? follow(stream, context->legacy) : CUDA_SUCCESS;
    }
    CUstream waited[64];
    int count = 0;
    pthread_mutex_lock(&context->lock);
    for (CUstream each = context->streams; each && count < 64; each = each->next) {
        if (each != stream && blocking(each) && has_pending(each)) {
            waited[count++] = each;
        }
    }
    pthread_mutex_unlock(&context->lock);
    for (int i = 0; i < count; i++) {
        NEED_OK(follow(stream, waited[i]));
    }
    return CUDA_SUCCESS;
}

CUresult stream_submit(CUstream stream, const op *work) {
    if (stream->capture) {
        return capture_add(stream, work);
    }
    if (stream == stream->context->legacy) {
        NEED_OK(capture_forbids_sync(stream->context));
    }
    NEED_OK(follow_others(stream));
    pthread_mutex_lock(&stream->lock);
    CUresult result = submit_locked(stream, work);
    pthread_mutex_unlock(&stream->lock);
    return result;
}

/* ---- Waiting for streams. */

bool stream_idle(CUstream stream) {
    return !has_pending(stream) && stream_start(stream) <= sim_now_ns();
}

void stream_wait(CUstream stream) {
    if (has_pending(stream)) {
        pthread_mutex_lock(&stream->lock);
        while (stream->pending_count) {
            pthread_cond_wait(&stream->changed, &stream->lock);
        }
        pthread_mutex_unlock(&stream->lock);
    }
    uint64_t ready = stream_start(stream);
    if (ready) {
        sleep_until(ready);
    }
}

void context_wait(CUcontext context) {
    for (bool again = true; again;) {
        again = false;
        pthread_mutex_lock(&context->lock);
        CUstream busy = context->streams;
        while (busy && !has_pending(busy)) {
            busy = busy->next;
        }
        pthread_mutex_unlock(&context->lock);
        if (busy) {
            stream_wait(busy);
            again = true;
        }
    }
    uint64_t latest = __atomic_load_n(&context->latest_ns, __ATOMIC_ACQUIRE);
    if (latest) {
        sleep_until(latest);
        /* Known to be past from now on: the next look needs no clock. */
        __atomic_compare_exchange_n(&context->latest_ns, &latest, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    }
}

/* ---- Streams themselves. */

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
    pthread_mutex_lock(&context->lock);
    made->next = context->streams;
    context->streams = made;
    pthread_mutex_unlock(&context->lock);
    return made;
}

/* The stream leaves its context at once, and this world when its work is done. */
void stream_end(CUstream stream) {
    CUcontext context = stream->context;
    pthread_mutex_lock(&stream->lock);
    bool busy = stream->has_thread;
    stream->closing = true;
    pthread_mutex_unlock(&stream->lock);
    if (busy) {
        return;
    }
    pthread_mutex_lock(&context->lock);
    for (CUstream *link = &context->streams; *link; link = &(*link)->next) {
        if (*link == stream) {
            *link = stream->next;
            break;
        }
    }
    pthread_mutex_unlock(&context->lock);
    capture_leave(stream);
    pthread_cond_destroy(&stream->changed);
    pthread_mutex_destroy(&stream->lock);
    free(stream->launch_ends);
    object_end(stream);
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
    if (handle == CU_STREAM_PER_THREAD || (handle == NULL && per_thread_default)) {
        return own_stream(context);
    }
    if (handle == NULL || handle == CU_STREAM_LEGACY) {
        return context->legacy;
    }
    return object_is(handle, KIND_STREAM) ? handle : NULL;
}
