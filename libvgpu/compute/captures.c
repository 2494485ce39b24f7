#include "libvgpu/compute/captures.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/compute/cost_cache.h"

#define ROOM 256

MUTEX(lock);
static CUstream few[ROOM];
static CUstream *streams = few; /* NULL: a free place */
static size_t room = ROOM;
static int count;
static int recording;

bool captures_any(void) {
    return __atomic_load_n(&count, __ATOMIC_SEQ_CST) != 0;
}

bool captures_stream(CUstream stream) {
    return captures_any() && captures_ask(stream);
}

bool captures_ask(CUstream stream) {
    CUstreamCaptureStatus status;
    /* The legacy stream can't be captured, and a query of it would break a capture that is under way. */
    if (stream == NULL || stream == CU_STREAM_LEGACY || DRIVER(cuStreamIsCapturing) == NULL) {
        return false;
    }
    return DRIVER(cuStreamIsCapturing)(stream, &status) == CUDA_SUCCESS && status != CU_STREAM_CAPTURE_STATUS_NONE;
}

bool captures_hold_off(void) {
    __atomic_add_fetch(&recording, 1, __ATOMIC_SEQ_CST);
    if (!captures_any()) {
        return true;
    }
    captures_let_go();
    return false;
}

void captures_let_go(void) {
    __atomic_sub_fetch(&recording, 1, __ATOMIC_SEQ_CST);
}

CUstreamCaptureMode captures_relax(void) {
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    if (DRIVER(cuThreadExchangeStreamCaptureMode) == NULL ||
        DRIVER(cuThreadExchangeStreamCaptureMode)(&mode) != CUDA_SUCCESS) {
        return CU_STREAM_CAPTURE_MODE_RELAXED;
    }
    return mode;
}

void captures_restore(CUstreamCaptureMode before) {
    if (before != CU_STREAM_CAPTURE_MODE_RELAXED) {
        DRIVER(cuThreadExchangeStreamCaptureMode)(&before);
    }
}

void captures_begin(CUstream stream) {
    (void)stream;
    __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    cost_cache_expire_memos();
    /* A thread that records one of our events is in the driver for a moment only. */
    for (int turn = 0; turn < 100000 && __atomic_load_n(&recording, __ATOMIC_SEQ_CST) > 0; turn++) {
        sched_yield();
    }
}

/* Returns a free place; NULL: no memory. Call with the lock held. */
static CUstream *place_for_one(void) {
    for (size_t place = 0; place < room; place++) {
        if (streams[place] == NULL) {
            return &streams[place];
        }
    }
    CUstream *more = calloc(2 * room, sizeof *more);
    if (more == NULL) {
        return NULL;
    }
    memcpy(more, streams, room * sizeof *more);
    if (streams != few) {
        free(streams);
    }
    CUstream *free_place = &more[room];
    streams = more;
    room *= 2;
    return free_place;
}

void captures_begun(CUstream stream, CUresult result) {
    if (result != CUDA_SUCCESS) {
        __atomic_sub_fetch(&count, 1, __ATOMIC_SEQ_CST);
        return;
    }
    mutex_lock(&lock);
    CUstream *place = place_for_one();
    if (place != NULL) {
        *place = stream;
    }
    mutex_unlock(&lock);
}

void captures_end(CUstream stream) {
    mutex_lock(&lock);
    for (size_t place = 0; place < room; place++) {
        if (streams[place] == stream && stream != NULL) {
            streams[place] = NULL;
            __atomic_sub_fetch(&count, 1, __ATOMIC_SEQ_CST);
            cost_cache_expire_memos();
            break;
        }
    }
    mutex_unlock(&lock);
}
