#include "libvgpu/memory/context_cost.h"

#include <time.h>

#include "libvgpu/base/log.h"
#include "libvgpu/memory/implicit.h"
#include "libvgpu/memory/quota.h"
#include "libvgpu/shared/account.h"

/* Reserved while the container's first context on a GPU is made: more than any context needs. */
#define UNKNOWN_COST (UINT64_C(1) << 30)

/* Where several processes make the container's first contexts, the first one done notes the cost for all. */
#define WAIT_TURNS 3000
#define WAIT_FIRST_NS 100000
#define WAIT_MOST_NS 1000000

/* To ask for the dead takes a system call for each process: a waiter does so only now and then. */
#define ASK_EVERY 16

#define MIB(bytes) ((unsigned long long)(bytes) >> 20)

static void say(int gpu, const char *some, uint64_t bytes) {
    uint64_t limit = gpu == NO_GPU ? 0 : quota_limit(gpu);
    if (limit != 0 && limit != QUOTA_UNLIMITED && account_usable()) {
        LOG_ONCE(LOG_ERROR, "a context on GPU %d needs %s%llu MiB; the limit is %llu MiB, of which %llu MiB are in use",
                 gpu, some, MIB(bytes), MIB(limit), MIB(quota_used(gpu)));
    }
}

/* Reserves what is left, up to UNKNOWN_COST. Where other processes have reserved everything, waits for one of them.
 * False: the cost has become known, or the wait took too long. */
static bool set_unknown_aside(struct reservation *reservation, int gpu) {
    long wait_ns = WAIT_FIRST_NS;
    for (int turn = 0; turn < WAIT_TURNS && account_context_cost((unsigned)gpu) == 0; turn++) {
        uint64_t limit = quota_limit(gpu);
        uint64_t taken = limit == QUOTA_UNLIMITED ? 0 : turn % ASK_EVERY == 1 ? quota_used(gpu) : quota_total(gpu);
        uint64_t room = limit > taken ? limit - taken : 0;
        *reservation = (struct reservation){.gpu = gpu, .bytes = room < UNKNOWN_COST ? room : UNKNOWN_COST};
        enum quota_answer answer = room > 0 ? quota_try(gpu, reservation->bytes) : QUOTA_REFUSED;
        reservation->counted = quota_counted(answer);
        if (answer != QUOTA_REFUSED) {
            return true;
        }
        if (taken == 0) {
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = wait_ns}, NULL);
        wait_ns = wait_ns < WAIT_MOST_NS ? 2 * wait_ns : WAIT_MOST_NS;
    }
    return false;
}

bool context_cost_begin(struct context_cost *context_cost, CUdevice device) {
    int gpu = devices_gpu(device);
    /* The first context of a process may find what the driver took for processes that have ended. */
    implicit_refresh_before_refusal(gpu);
    context_cost->measured = gpu != NO_GPU && set_unknown_aside(&context_cost->reservation, gpu);
    if (!context_cost->measured) {
        uint64_t cost = gpu == NO_GPU ? 0 : account_context_cost((unsigned)gpu);
        if (!reservation_take(&context_cost->reservation, NULL, gpu, cost != 0 ? cost : UNKNOWN_COST)) {
            say(gpu, cost != 0 ? "" : "up to ", cost != 0 ? cost : UNKNOWN_COST);
            return false;
        }
    }
    context_cost->measured &= context_cost->reservation.counted;
    if (context_cost->measured) {
        nvml_delta_begin(&context_cost->delta, gpu);
    }
    return true;
}

bool context_cost_measure(struct context_cost *context_cost, bool made) {
    if (!context_cost->measured) {
        return true;
    }
    uint64_t cost = nvml_delta_end(&context_cost->delta, context_cost->reservation.bytes);
    if (!made) {
        return true;
    }
    if (!reservation_adjust(&context_cost->reservation, cost)) {
        say(context_cost->reservation.gpu, "", cost);
        /* A program that tries again is then refused before the driver has made a context. One after another, such contexts
         * would look like a container that has more memory than it was granted. */
        if (context_cost->delta.exact) {
            account_note_context_cost((unsigned)context_cost->reservation.gpu, cost);
        }
        return false;
    }
    account_note_context_cost((unsigned)context_cost->reservation.gpu, cost);
    return true;
}
