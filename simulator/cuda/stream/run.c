/* Running work that has reached the front of its stream: kernels are booked on the GPU, everything else is done here. */
#include "simulator/cuda/stream/run.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/memory/transfer.h"
#include "simulator/cuda/stream/device_queue.h"
#include "simulator/cuda/stream/fence.h"
#include "simulator/cuda/stream/semaphore.h"

enum { SPIN_NS = 60000, GLANCE_NS = 40000000 };

static void raise_to(uint64_t *value, uint64_t wanted) {
    uint64_t seen = __atomic_load_n(value, __ATOMIC_RELAXED);
    while (seen < wanted &&
           !__atomic_compare_exchange_n(value, &seen, wanted, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
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

void context_sleep(CUcontext context, uint64_t at) {
    while (!context_lost(context)) {
        uint64_t now = sim_now_ns();
        if (at < now + GLANCE_NS) {
            sleep_until(at);
            return;
        }
        struct timespec pause = {.tv_nsec = GLANCE_NS / 2};
        nanosleep(&pause, NULL);
    }
}

uint64_t stream_start(CUstream stream) {
    CUcontext context = stream->context;
    uint64_t start = __atomic_load_n(&stream->ready_ns, __ATOMIC_ACQUIRE);
    if (stream == context->legacy) {
        start = sim_later(start, __atomic_load_n(&context->blocking_ns, __ATOMIC_ACQUIRE));
    } else if (stream_is_blocking(stream)) {
        start = sim_later(start, __atomic_load_n(&context->legacy->ready_ns, __ATOMIC_ACQUIRE));
    }
    return start;
}

static void set_ready(CUstream stream, uint64_t at) {
    __atomic_store_n(&stream->ready_ns, at, __ATOMIC_RELEASE);
    if (stream != stream->context->legacy && stream_is_blocking(stream)) {
        raise_to(&stream->context->blocking_ns, at);
    }
    raise_to(&stream->context->latest_ns, at);
}

static sim_job job_of(const op *work, uint64_t ready) {
    return (sim_job){.lanes = work->as.kernel.lanes,
                     .part = work->as.kernel.part,
                     .left_ns = work->as.kernel.duration_ns,
                     .ready_ns = ready};
}

uint64_t kernel_run(device *card, const op *work, uint64_t ready) {
    if (!work->as.kernel.duration_ns) {
        return ready;
    }
    return work->as.kernel.place ? device_queue_await(card, work->as.kernel.place)
                                 : device_queue_book(card, job_of(work, ready), ready);
}

bool kernel_begin(CUstream stream, const op *work, op *rest) {
    sim_job job = job_of(work, stream_start(stream));
    device *card = stream->context->device;
    if (job.left_ns) {
        uint64_t now = stream->seen_ns = sim_now_ns();
        uint64_t since = job.ready_ns = sim_later(job.ready_ns, now + latencies()->start_ns);
        if (device_queue_is_contended(card) || !sim_work_book(sim_driver.machine, card->gpu, &job, now)) {
            if (job.left_ns < work->as.kernel.duration_ns) {
                set_ready(stream, job.ready_ns);
            }
            *rest = *work;
            rest->as.kernel.duration_ns = job.left_ns;
            rest->as.kernel.place = device_queue_join(card, job, since);
            return false;
        }
    }
    set_ready(stream, job.ready_ns);
    return true;
}

static bool value_reached(const op *work) {
    uint64_t seen = work->as.value.wide
                        ? __atomic_load_n((uint64_t *)(uintptr_t)work->as.value.address, __ATOMIC_ACQUIRE)
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
        __atomic_store_n((uint32_t *)(uintptr_t)work->as.value.address, (uint32_t)work->as.value.value,
                         __ATOMIC_RELEASE);
    }
}

void stream_run(CUstream stream, const op *work, uint64_t submitted) {
    uint64_t start = stream_start(stream);
    switch (work->kind) {
    case OP_KERNEL: start = kernel_run(stream->context->device, work, sim_later(start, submitted)); break;
    case OP_GRAPH: start = work->as.launch.ops->run(work, stream, sim_later(start, submitted)); break;
    case OP_HOST:
        sleep_until(start);
        work->as.host.callback(work->as.host.data);
        start = sim_later(start, sim_now_ns());
        break;
    case OP_CALLBACK:
        sleep_until(start);
        work->as.callback.callback(work->as.callback.stream, CUDA_SUCCESS, work->as.callback.data);
        start = sim_later(start, sim_now_ns());
        break;
    case OP_RECORD:
        start = sim_later(start, submitted); /* the stream isn't done before its event is */
        fence_signal(work->as.event.fence, start);
        fence_unref(work->as.event.fence);
        break;
    case OP_WAIT:
        start = sim_later(start, fence_wait(work->as.event.fence));
        fence_unref(work->as.event.fence);
        break;
    case OP_WAIT_VALUE:
        while (!value_reached(work)) {
            struct timespec pause = {.tv_nsec = 20000};
            nanosleep(&pause, NULL);
        }
        start = sim_later(start, sim_now_ns());
        break;
    case OP_WRITE_VALUE:
        sleep_until(start); /* others wait for it in real time */
        write_value(work);
        break;
    case OP_SIGNAL:
        sleep_until(start); /* others wait for it in real time */
        semaphore_run(work);
        break;
    case OP_AWAIT:
        semaphore_run(work);
        start = sim_later(start, sim_now_ns());
        break;
    case OP_FREE: heap_free(work->as.free); break;
    case OP_COPY:
    case OP_COPY_BOX:
    case OP_FILL: transfer_run(work); break;
    case OP_ALLOC:
    case OP_EMPTY: break;
    }
    set_ready(stream, start);
}
