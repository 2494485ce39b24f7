#include "libvgpu/compute/neighbours.h"

#include "libvgpu/base/config.h"
#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/rate.h"
#include "libvgpu/compute/throttle.h"
#include "libvgpu/compute/token_bucket.h"
#include "libvgpu/shared/policy.h"

/* How long after another process of the container used GPU time it may still disturb samples. */
#define SIBLING_NS 1000000000u

/* The node agent polls less often while no container works, so it reports others that began with us only after this
 * time. */
#define UNKNOWN_NS 700000000u
#define AWAY_NS 10000000000u

/* From here on a program that launches often finds the GPU at work, hundredths of a percent. */
#define CROWDED (TOKEN_BUCKET_WHOLE / 5)

/* Below this the GPU's other containers count as idle, hundredths of a percent. */
#define IDLE 50u

static struct {
    uint64_t seen;       /* GPU time that siblings had used at the last call, ns */
    uint64_t sibling_at; /* when that last changed */
    uint64_t idle_since; /* when the other containers were first seen idle; 0: they aren't */
    uint64_t viewed_at;  /* when that was last read */
} gpus[VGPU_MAX_GPUS];

static enum estimate_view view_other_containers(int gpu, uint64_t now) {
    struct policy_compute policy;
    bool known = policy_compute((unsigned)gpu, &policy) && rate_is_fresh(&policy, now);
    uint64_t since = __atomic_load_n(&gpus[gpu].idle_since, __ATOMIC_RELAXED);
    uint64_t viewed_at = __atomic_exchange_n(&gpus[gpu].viewed_at, now, __ATOMIC_RELAXED);
    bool busy = known && policy.neighbour_load > IDLE;
    if (!known || busy) {
        since = 0;
    } else if (since == 0 || now > viewed_at + AWAY_NS) {
        since = now;
    }
    __atomic_store_n(&gpus[gpu].idle_since, since, __ATOMIC_RELAXED);
    if (busy) {
        return ESTIMATE_CONTENDED;
    }
    return since != 0 && now >= since + UNKNOWN_NS ? ESTIMATE_CLEAR : ESTIMATE_UNCERTAIN;
}

enum estimate_view neighbours_view(int gpu) {
    uint64_t now = throttle_clock(), used;
    if (gpu_time_of_siblings(gpu, &used) && __atomic_exchange_n(&gpus[gpu].seen, used, __ATOMIC_RELAXED) != used) {
        __atomic_store_n(&gpus[gpu].sibling_at, now, __ATOMIC_RELAXED);
    }
    uint64_t at = __atomic_load_n(&gpus[gpu].sibling_at, __ATOMIC_RELAXED);
    if (at != 0 && now < at + SIBLING_NS) {
        return ESTIMATE_COMPANY;
    }
    /* Without a policy there is no node agent to report others. */
    if (config()->kind != CONFIG_POLICY) {
        return ESTIMATE_UNCERTAIN;
    }
    return view_other_containers(gpu, now);
}

bool neighbours_crowd(int gpu) {
    struct policy_compute policy;
    uint64_t now = throttle_clock();
    uint32_t busy = gpu_time_rate(gpu, now);
    if (busy == 0) {
        return true;
    }
    if (config()->kind == CONFIG_POLICY && policy_compute((unsigned)gpu, &policy) && rate_is_fresh(&policy, now)) {
        busy += policy.neighbour_load;
    }
    return busy >= CROWDED;
}
