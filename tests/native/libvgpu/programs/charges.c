/* What libvgpu charges launches on several streams, on a driver whose events are at the times that its input names. Reads
 *
 *   kernel NAME STREAM PART BEFORE AFTER SEEN   a kernel: its part of the GPU (of 1024; 0: unknown), the times of its
 *                                               events, and when the driver says that they are passed
 *   read NOW                                    lets libvgpu look at all of them; answers what was charged since the start
 *
 * one a line, times in ns. A kernel is launched when the event before it is passed.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libvgpu/base/log.h"
#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/neighbours.h"
#include "libvgpu/compute/samples.h"
#include "libvgpu/compute/streams.h"
#include "libvgpu/compute/throttle.h"

struct CUevent_st {
    int64_t at, seen;
};

static struct CUevent_st events[4096];
static unsigned made;
static uint64_t now;
static int64_t charged;
static struct vgpu_compute account;

static CUresult create(CUevent *event, unsigned flags) {
    (void)flags;
    *event = &events[made++ % (sizeof events / sizeof *events)];
    return CUDA_SUCCESS;
}

static CUresult query(CUevent event) {
    return event->seen <= (int64_t)now ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

static CUresult elapsed(float *milliseconds, CUevent from, CUevent to) {
    *milliseconds = (float)((double)(to->at - from->at) / 1e6);
    return CUDA_SUCCESS;
}

static CUresult set_current(CUcontext context) {
    (void)context;
    return CUDA_SUCCESS;
}

void *driver_found[DRIVER_SYMBOLS] = {
    [DRIVER_cuEventCreate] = (void *)create,
    [DRIVER_cuEventQuery] = (void *)query,
    [DRIVER_cuEventElapsedTime] = (void *)elapsed,
    [DRIVER_cuCtxSetCurrent] = (void *)set_current,
};

void *driver_find(enum driver_symbol symbol) {
    (void)symbol;
    return NULL;
}

/* The rest of libvgpu, as far as it is asked. */

uint64_t throttle_clock(void) {
    return now;
}

void gpu_time_give(int gpu, int64_t ns) {
    (void)gpu;
    charged -= ns;
}

void gpu_time_return(int gpu, int64_t ns) {
    gpu_time_give(gpu, ns);
}

struct vgpu_compute *gpu_time_account(int gpu) {
    (void)gpu;
    return &account;
}

uint64_t throttle_part(struct vgpu_compute *of, uint64_t own, uint64_t took, uint64_t at) {
    (void)of;
    (void)took;
    (void)at;
    return own;
}

bool throttle_begin_learning(struct vgpu_compute *of, uint64_t before, uint64_t at) {
    (void)of;
    return before != at;
}

void throttle_end_learning(struct vgpu_compute *of, uint64_t begun) {
    (void)of;
    (void)begun;
}

enum estimate_view neighbours_view(int gpu) {
    (void)gpu;
    return ESTIMATE_CONTENDED;
}

bool captures_any(void) {
    return false;
}

CUstreamCaptureMode captures_relax(void) {
    return CU_STREAM_CAPTURE_MODE_RELAXED;
}

void captures_restore(CUstreamCaptureMode before) {
    (void)before;
}

void log_write(enum log_level level, const char *format, ...) {
    (void)level;
    (void)format;
}

static void launch(unsigned name, uint64_t stream, unsigned part, uint64_t before, uint64_t after, uint64_t seen) {
    CUcontext context = (CUcontext)(uintptr_t)&account;
    struct cost_key key = cost_key_of_kernel(events + name, 1, 1, 1, 1, 1, 1, 0);
    struct cost *cost = cost_cache_find(&key, context);
    struct sample *sample = sample_store_take(context);
    cost->part = part;
    streams_note(0, stream, before);
    *sample = (struct sample){.cost = cost,
                              .context = context,
                              .stream = (CUstream)(uintptr_t)stream,
                              .before = sample->before,
                              .after = sample->after,
                              .begun_at = before,
                              .ended_at = before,
                              .charged = (int64_t)cost_known(cost),
                              .meaning = cost_meaning(cost),
                              .launches = 1,
                              .streams = 1,
                              .backlogged = true};
    *sample->before = (struct CUevent_st){(int64_t)before, (int64_t)before};
    *sample->after = (struct CUevent_st){(int64_t)after, (int64_t)seen};
    charged += sample->charged;
    sample_store_add(sample);
}

int main(void) {
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned name, part;
        uint64_t stream, before, after, seen;
        if (sscanf(line, "kernel %u %" SCNu64 " %u %" SCNu64 " %" SCNu64 " %" SCNu64, &name, &stream, &part, &before,
                   &after, &seen) == 6) {
            launch(name, stream, part, before, after, seen);
        } else if (sscanf(line, "read %" SCNu64, &now) == 1) {
            samples_read(NULL);
            printf("%" PRId64 "\n", charged);
        } else {
            return 1;
        }
    }
    return 0;
}
