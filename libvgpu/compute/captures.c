#include "libvgpu/compute/captures.h"

#include <sched.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/compute/cost_cache.h"

#define MOST 256

static struct mutex lock;
static CUstream streams[MOST];
static int count;
static int nameless; /* captures that found no place in the table: their end is never known */
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

void captures_begun(CUstream stream, CUresult result) {
    bool noted = false;
    if (result != CUDA_SUCCESS) {
        __atomic_sub_fetch(&count, 1, __ATOMIC_SEQ_CST);
        return;
    }
    mutex_lock(&lock);
    for (int place = 0; !noted && place < MOST; place++) {
        if (streams[place] == NULL) {
            streams[place] = stream;
            noted = true;
        }
    }
    if (!noted) {
        nameless++;
    }
    mutex_unlock(&lock);
}

void captures_end(CUstream stream) {
    mutex_lock(&lock);
    for (int place = 0; place < MOST; place++) {
        if (streams[place] == stream && stream != NULL) {
            streams[place] = NULL;
            __atomic_sub_fetch(&count, 1, __ATOMIC_SEQ_CST);
            cost_cache_expire_memos();
            break;
        }
    }
    mutex_unlock(&lock);
}
