/* Submitting work to streams.
 *
 * Most work is settled in the submitting thread: copies are done at once, kernels are booked, and only their completion
 * lies in the future. Three kinds of work can't be settled yet: kernels beyond the slice that a process may book ahead, host
 * functions, and anything submitted after one of these. Such work waits in the stream, and a thread of the stream's own runs
 * it in order. */
#include "simulator/cuda/stream/queue.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "simulator/cuda/stream/device_queue.h"
#include "simulator/cuda/stream/fence.h"
#include "simulator/cuda/stream/run.h"

enum { LINGER_S = 1 };

static bool has_pending(CUstream stream) {
    return __atomic_load_n(&stream->pending_count, __ATOMIC_ACQUIRE) != 0;
}

static bool is_launch(const op *work) {
    return work->kind == OP_KERNEL || work->kind == OP_GRAPH;
}

static bool must_wait(CUstream stream, const op *work) {
    switch (work->kind) {
    case OP_HOST:
    case OP_CALLBACK:
    case OP_WAIT_VALUE:
    case OP_WRITE_VALUE:
    case OP_SIGNAL:
    case OP_AWAIT: return true;
    case OP_WAIT: return !fence_is_signalled(work->as.event.fence);
    case OP_GRAPH: return work->as.launch.ops->must_wait(work, stream->context->device);
    default: return false;
    }
}

/* A launch is settled; call with the stream locked. */
static void settled(CUstream stream) {
    if (stream->launch_ends) {
        stream->launch_ends[stream->launches % LAUNCH_DEPTH] = stream->ready_ns;
    }
    stream->launches++;
}

/* ---- The thread of a stream with waiting work. */

/* Waits for work, with the stream locked; false: none came for a while, or none will come. A thread that lingers saves
 * the next work that waits the start of another. */
static bool await_work(CUstream stream) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LINGER_S;
    while (!stream->first && !stream->closing) {
        if (pthread_cond_timedwait(&stream->arrived, &stream->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    return stream->first != NULL;
}

static void *serve(void *argument) {
    CUstream stream = argument;
    pthread_mutex_lock(&stream->lock);
    while (stream->first || await_work(stream)) {
        pending *next = stream->first;
        pthread_mutex_unlock(&stream->lock);
        if (!is_launch(&next->op) && must_wait(stream, &next->op)) {
            device_queue_rest();
        }
        stream_run(stream, &next->op, next->submitted_ns);
        pthread_mutex_lock(&stream->lock);
        if (is_launch(&next->op)) {
            settled(stream);
        }
        stream->first = next->next;
        if (!stream->first) {
            stream->last = NULL;
            device_queue_rest();
        }
        free(next);
        __atomic_sub_fetch(&stream->pending_count, 1, __ATOMIC_RELEASE);
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

/* Signals are for the program's own threads. */
static bool start_thread(CUstream stream) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool started = pthread_create(&thread, &attributes, serve, stream) == 0;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* Call with the stream locked. */
static CUresult queue(CUstream stream, const op *work) {
    pending *added = malloc(sizeof *added);
    NEED(added, CUDA_ERROR_OUT_OF_MEMORY);
    *added = (pending){.op = *work, .submitted_ns = sim_now_ns() + latencies()->start_ns};
    if (stream->last) {
        stream->last->next = added;
    } else {
        stream->first = added;
    }
    stream->last = added;
    __atomic_add_fetch(&stream->pending_count, 1, __ATOMIC_RELEASE);
    if (stream->has_thread) {
        if (stream->first == added) {
            pthread_cond_signal(&stream->arrived);
        }
    } else {
        stream->has_thread = start_thread(stream);
    }
    return stream->has_thread ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

/* ---- Submitting. */

/* Of LAUNCH_DEPTH launches the oldest must be over before there is room for another, as on a real GPU. Call with the
 * stream locked; the lock is released while waiting. */
static void need_room(CUstream stream) {
    if (!stream->launch_ends) {
        stream->launch_ends = calloc(LAUNCH_DEPTH, sizeof *stream->launch_ends);
    }
    while (stream->launch_ends && stream->submitted >= LAUNCH_DEPTH) {
        if (stream->launches + LAUNCH_DEPTH <= stream->submitted) {
            pthread_cond_wait(&stream->changed, &stream->lock);
            continue;
        }
        uint64_t oldest = stream->launch_ends[stream->submitted % LAUNCH_DEPTH];
        if (oldest <= stream->seen_ns || oldest <= (stream->seen_ns = sim_now_ns())) {
            return;
        }
        pthread_mutex_unlock(&stream->lock);
        sleep_until(oldest);
        pthread_mutex_lock(&stream->lock);
    }
}

static CUresult launch_locked(CUstream stream, const op *work) {
    need_room(stream);
    CUresult result = CUDA_SUCCESS;
    if (stream->pending_count || must_wait(stream, work)) {
        result = queue(stream, work);
    } else if (work->kind == OP_GRAPH) {
        stream->seen_ns = sim_now_ns();
        stream_run(stream, work, stream->seen_ns + latencies()->start_ns);
        device_queue_rest();
        settled(stream);
    } else {
        op rest;
        if (kernel_begin(stream, work, &rest)) {
            settled(stream);
        } else {
            result = queue(stream, &rest);
            if (result != CUDA_SUCCESS && rest.as.kernel.place) {
                device_queue_leave(stream->context->device, rest.as.kernel.place);
            }
        }
    }
    stream->submitted += result == CUDA_SUCCESS;
    return result;
}

static CUresult submit_locked(CUstream stream, const op *work) {
    if (is_launch(work)) {
        return launch_locked(stream, work);
    }
    if (stream->pending_count || must_wait(stream, work)) {
        return queue(stream, work);
    }
    stream_run(stream, work, work->kind == OP_RECORD ? sim_now_ns() + latencies()->start_ns : 0);
    return CUDA_SUCCESS;
}

fence *stream_mark(CUstream stream) {
    fence *point = fence_new();
    if (!point) {
        return NULL;
    }
    op work = {.kind = OP_RECORD, .as.event.fence = fence_ref(point)};
    pthread_mutex_lock(&stream->lock);
    CUresult result = submit_locked(stream, &work);
    pthread_mutex_unlock(&stream->lock);
    if (result != CUDA_SUCCESS) {
        fence_unref(point);
        fence_unref(point);
        return NULL;
    }
    return point;
}

/* Records such a fence in each stream of the context with waiting work, or only in the blocking ones; returns how many.
 * The caller frees the list. */
static size_t record_all(CUcontext context, CUstream but, bool only_blocking, fence ***points) {
    size_t count = 0, room = 0;
    *points = NULL;
    pthread_mutex_lock(&context->lock);
    for (CUstream each = context->streams; each; each = each->next) {
        room += has_pending(each);
    }
    if (room) {
        *points = calloc(room, sizeof **points);
    }
    for (CUstream each = context->streams; each && *points && count < room; each = each->next) {
        if (each != but && has_pending(each) && (stream_is_blocking(each) || !only_blocking)) {
            fence *point = stream_mark(each);
            if (point) {
                (*points)[count++] = point;
            }
        }
    }
    pthread_mutex_unlock(&context->lock);
    return count;
}

CUresult stream_await(CUstream stream, fence *point) {
    NEED(point, CUDA_ERROR_OUT_OF_MEMORY);
    op wait = {.kind = OP_WAIT, .as.event.fence = point};
    pthread_mutex_lock(&stream->lock);
    CUresult result = submit_locked(stream, &wait);
    pthread_mutex_unlock(&stream->lock);
    return result;
}

/* The legacy stream and the blocking ones wait for each other, as an event between them would make them. */
static CUresult follow_others(CUstream stream) {
    CUcontext context = stream->context;
    if (stream != context->legacy) {
        return stream_is_blocking(stream) && has_pending(context->legacy)
                   ? stream_await(stream, stream_mark(context->legacy))
                   : CUDA_SUCCESS;
    }
    fence **points;
    size_t count = record_all(context, stream, true, &points);
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < count; i++) {
        CUresult each = stream_await(stream, points[i]);
        result = result == CUDA_SUCCESS ? each : result;
    }
    free(points);
    return result;
}

/* The calling thread works for so long. */
static void spend(uint32_t ns) {
    if (ns) {
        for (uint64_t end = sim_now_ns() + ns; sim_now_ns() < end;) {
        }
    }
}

CUresult stream_submit(CUstream stream, const op *work) {
    if (stream->capture) {
        return stream->capture->ops->add(stream->capture, stream, work);
    }
    if (stream == stream->context->legacy) {
        NEED_OK(capture_forbids_sync(stream->context));
    }
    spend(is_launch(work) ? latencies()->launch_ns : work->kind == OP_RECORD ? latencies()->record_ns : 0);
    NEED_OK(follow_others(stream));
    pthread_mutex_lock(&stream->lock);
    CUresult result = submit_locked(stream, work);
    pthread_mutex_unlock(&stream->lock);
    return result;
}

/* ---- Waiting for the work submitted so far, even if other threads keep submitting more. */

bool stream_idle(CUstream stream) {
    return !has_pending(stream) && noticed(stream_start(stream)) <= sim_now_ns();
}

static void wait_for(CUcontext context, fence *point) {
    context_sleep(context, noticed(fence_wait(point)));
    fence_unref(point);
}

void stream_wait(CUstream stream) {
    fence *point = has_pending(stream) ? stream_mark(stream) : NULL;
    if (point) {
        wait_for(stream->context, point);
        return;
    }
    uint64_t ready = stream_start(stream);
    if (ready) {
        context_sleep(stream->context, noticed(ready));
    }
}

/* ---- The streams of each context. */

static void begin_in(CUcontext context) {
    context->legacy = stream_new(context, CU_STREAM_DEFAULT, 0, true);
}

static void wait_in(CUcontext context) {
    fence **points;
    size_t count = record_all(context, NULL, false, &points);
    for (size_t i = 0; i < count; i++) {
        wait_for(context, points[i]);
    }
    free(points);
    uint64_t latest = __atomic_load_n(&context->latest_ns, __ATOMIC_ACQUIRE);
    if (latest) {
        context_sleep(context, noticed(latest));
        /* Known to be past from now on: the next look needs no clock. */
        __atomic_compare_exchange_n(&context->latest_ns, &latest, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    }
}

__attribute__((constructor)) static void register_part(void) {
    static const context_part_ops ops = {.begin = begin_in, .wait = wait_in, .end = streams_end};
    context_part_register(PART_STREAMS, &ops);
}
