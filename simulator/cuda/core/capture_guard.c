/* The list of active captures, and each thread's own mode. A call that a capture forbids fails and invalidates the
 * capture, whichever thread makes it: CUDA's rules for cudaStreamCaptureMode. */
#include "simulator/cuda/core/capture_guard.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static capture_guard *guards;
static uint64_t next_id;
static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

void capture_guard_begin(capture_guard *guard) {
    guard->id = __atomic_add_fetch(&next_id, 1, __ATOMIC_RELAXED);
    guard->thread = pthread_self();
    pthread_mutex_lock(&lock);
    guard->next = guards;
    __atomic_store_n(&guards, guard, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
}

void capture_guard_end(capture_guard *guard) {
    pthread_mutex_lock(&lock);
    for (capture_guard **link = &guards; *link; link = &(*link)->next) {
        if (*link == guard) {
            __atomic_store_n(link, guard->next, __ATOMIC_RELEASE);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

capture_guard *capture_guard_find(uint64_t id) {
    pthread_mutex_lock(&lock);
    capture_guard *found = guards;
    while (found && found->id != id) {
        found = found->next;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

/* Whether there is nothing to ask: no capture at all, or the thread has opted out. */
static bool unguarded(void) {
    return !__atomic_load_n(&guards, __ATOMIC_ACQUIRE) || thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED;
}

static bool is_mine(const capture_guard *guard) {
    return pthread_equal(guard->thread, pthread_self());
}

CUresult capture_forbids_sync(CUcontext context) {
    CUresult result = CUDA_SUCCESS;
    if (unguarded()) {
        return result;
    }
    pthread_mutex_lock(&lock);
    for (capture_guard *each = guards; each; each = each->next) {
        bool guarded = each->mode == CU_STREAM_CAPTURE_MODE_GLOBAL ||
                       (each->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && is_mine(each));
        if (each->context == context && guarded && each->blocking) {
            each->broken = true;
            result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult capture_forbids_unsafe(void) {
    CUresult result = CUDA_SUCCESS;
    if (unguarded()) {
        return result;
    }
    pthread_mutex_lock(&lock);
    for (capture_guard *each = guards; each; each = each->next) {
        bool anyones = thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL && each->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
        if (anyones || (each->mode != CU_STREAM_CAPTURE_MODE_RELAXED && is_mine(each))) {
            each->broken = true;
            result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    NEED_DRIVER();
    NEED(mode && (unsigned)*mode <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_INVALID_VALUE);
    CUstreamCaptureMode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}
