#include "libvgpu/compute/gpu_time.h"

#include "libvgpu/shared/account.h"
#include "libvgpu/compute/token_bucket.h"
#include "libvgpu/compute/throttle.h"
#include "libvgpu/base/config.h"
#include "libvgpu/shared/policy.h"
#include "libvgpu/memory/quota.h"
#include "libvgpu/compute/rate.h"

/* For so long after another process of the container took GPU time, samples may be disturbed by it. */
#define SIBLING_NS 1000000000u

/* The node agent looks less often while nobody works: others that began with us are known so much later. */
#define UNKNOWN_NS 700000000u
#define AWAY_NS 10000000000u

/* What is owed is paid while less than this lies unspent. */
#define OWED_UNTIL_NS (TOKEN_BUCKET_BURST_NS / 2)

/* From here on who launches often finds the GPU at work, hundredths of a percent. */
#define CROWDED (TOKEN_BUCKET_WHOLE / 5)

/* Below this the GPU's other containers are taken to be idle, hundredths of a percent. */
#define IDLE 50u

static struct gpu {
    struct vgpu_compute *shared;
    _Alignas(
        16) struct vgpu_compute own; /* for a limit of this process alone; and where there is no usage file, for all */
    uint64_t charged; /* by this process */
    int64_t owed; /* to this process, see gpu_time_return */
    uint32_t charging; /* threads that are about to have changed both `charged` and the account's sum */
    uint64_t seen; /* what others had charged when last looked */
    uint64_t sibling_at; /* when that last changed */
    uint64_t idle_since; /* when the others were first seen to be idle; 0: they aren't */
    uint64_t viewed_at; /* when last looked for that */
} gpus[VGPU_MAX_GPUS];

static struct vgpu_compute *account_of(int gpu) {
    struct vgpu_compute *account = __atomic_load_n(&gpus[gpu].shared, __ATOMIC_ACQUIRE);
    if (account != NULL) {
        return account;
    }
    account = account_compute((unsigned)gpu);
    if (account == NULL) {
        account = &gpus[gpu].own;
    }
    gpus[gpu].seen = __atomic_load_n(&account->used, __ATOMIC_RELAXED);
    __atomic_store_n(&gpus[gpu].shared, account, __ATOMIC_RELEASE);
    return account;
}

/* Where there is a policy, the environment's limit is this process's; else it is that of the account. */
static uint32_t shared_rate(int gpu, uint64_t now) {
    struct rate_policy policy;
    if (config()->kind != CONFIG_POLICY) {
        return rate_of_percent(config()->cores[gpu]);
    }
    return policy_compute((unsigned)gpu, &policy) ? rate_of_policy(&policy, now) : 0;
}

static uint32_t own_rate(int gpu, uint64_t now) {
    if (config()->kind != CONFIG_POLICY) {
        return 0;
    }
    uint32_t wished = rate_of_percent(config()->cores[gpu]);
    if (wished == 0) {
        return 0;
    }
    uint32_t given = shared_rate(gpu, now);
    return given == 0 || wished < given ? wished : 0;
}

/* What this process took is in the account's sum and in its own. */
static void count(struct gpu *here, struct vgpu_compute *account, int64_t ns) {
    __atomic_add_fetch(&here->charging, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&account->used, (uint64_t)ns, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&here->charged, (uint64_t)ns, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&here->charging, 1, __ATOMIC_SEQ_CST);
}

/* What other processes of the container took; false where that can't be told at this moment. */
static bool taken_by_others(struct gpu *here, const struct vgpu_compute *account, uint64_t *others) {
    uint64_t charged = __atomic_load_n(&here->charged, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&here->charging, __ATOMIC_SEQ_CST) != 0) {
        return false;
    }
    *others = __atomic_load_n(&account->used, __ATOMIC_SEQ_CST) - charged;
    return __atomic_load_n(&here->charging, __ATOMIC_SEQ_CST) == 0 &&
           __atomic_load_n(&here->charged, __ATOMIC_SEQ_CST) == charged;
}

static void pay(int gpu) {
    struct gpu *here = &gpus[gpu];
    int64_t owed = __atomic_load_n(&here->owed, __ATOMIC_RELAXED);
    int64_t room = OWED_UNTIL_NS - __atomic_load_n(&account_of(gpu)->balance, __ATOMIC_RELAXED);
    int64_t part = owed < room ? owed : room;
    if (part > 0 &&
        __atomic_compare_exchange_n(&here->owed, &owed, owed - part, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        gpu_time_give(gpu, part);
    }
}

int64_t gpu_time_take(int gpu, int64_t cost, int64_t wish, bool *waited) {
    struct gpu *here = &gpus[gpu];
    struct vgpu_compute *account = account_of(gpu);
    uint64_t begun = throttle_clock();
    pay(gpu);
    bool own = account != &here->own && own_rate(gpu, begun) > 0;
    if (own) {
        *waited = throttle_await(&here->own, gpu, own_rate);
    }
    bool slept;
    int64_t taken = throttle_take(account, gpu, cost, wish, shared_rate, &slept);
    *waited = (own && *waited) || slept;
    count(here, account, taken);
    if (own) {
        throttle_give(&here->own, -taken);
    }
    return taken;
}

void gpu_time_give(int gpu, int64_t ns) {
    struct gpu *here = &gpus[gpu];
    struct vgpu_compute *account = account_of(gpu);
    throttle_give(account, ns);
    count(here, account, -ns);
    if (account != &here->own && own_rate(gpu, throttle_clock()) > 0) {
        throttle_give(&here->own, ns);
    }
}

void gpu_time_return(int gpu, int64_t ns) {
    if (!gpu_time_limited(gpu)) {
        gpu_time_give(gpu, ns);
        return;
    }
    __atomic_add_fetch(&gpus[gpu].owed, ns, __ATOMIC_RELAXED);
    pay(gpu);
}

void gpu_time_after_fork(void) {
    for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        gpus[gpu].owed = 0;
    }
}

bool gpu_time_limited(int gpu) {
    uint64_t now = throttle_clock();
    return shared_rate(gpu, now) > 0 || own_rate(gpu, now) > 0;
}

static enum estimate_view view_others(int gpu, uint64_t now) {
    struct gpu *here = &gpus[gpu];
    struct rate_policy policy;
    bool told = policy_compute((unsigned)gpu, &policy) && rate_is_fresh(&policy, now);
    uint64_t since = __atomic_load_n(&here->idle_since, __ATOMIC_RELAXED);
    uint64_t viewed_at = __atomic_exchange_n(&here->viewed_at, now, __ATOMIC_RELAXED);
    bool busy = told && policy.neighbour_load > IDLE;
    if (!told || busy) {
        since = 0;
    } else if (since == 0 || now > viewed_at + AWAY_NS) {
        since = now;
    }
    __atomic_store_n(&here->idle_since, since, __ATOMIC_RELAXED);
    if (busy) {
        return ESTIMATE_CONTENDED;
    }
    return since != 0 && now >= since + UNKNOWN_NS ? ESTIMATE_CLEAR : ESTIMATE_UNCERTAIN;
}

enum estimate_view gpu_time_view(int gpu) {
    struct gpu *here = &gpus[gpu];
    uint64_t now = throttle_clock();
    uint64_t others;
    if (taken_by_others(here, account_of(gpu), &others) &&
        __atomic_exchange_n(&here->seen, others, __ATOMIC_RELAXED) != others) {
        __atomic_store_n(&here->sibling_at, now, __ATOMIC_RELAXED);
    }
    uint64_t at = __atomic_load_n(&here->sibling_at, __ATOMIC_RELAXED);
    if (at != 0 && now < at + SIBLING_NS) {
        return ESTIMATE_COMPANY;
    }
    /* Without a policy there is no node agent that could tell, and most often nobody else. */
    if (config()->kind != CONFIG_POLICY) {
        return ESTIMATE_CLEAR;
    }
    return view_others(gpu, now);
}

bool gpu_time_crowded(int gpu) {
    struct rate_policy policy;
    uint64_t now = throttle_clock();
    uint32_t own = own_rate(gpu, now), busy = own > 0 ? own : shared_rate(gpu, now);
    if (busy == 0) {
        return true;
    }
    if (config()->kind == CONFIG_POLICY && policy_compute((unsigned)gpu, &policy) && rate_is_fresh(&policy, now)) {
        busy += policy.neighbour_load;
    }
    return busy >= CROWDED;
}

bool gpu_time_ready(int gpu) {
    struct gpu *here = &gpus[gpu];
    struct vgpu_compute *account = account_of(gpu);
    return throttle_ready(account, gpu, shared_rate) &&
           (account == &here->own || throttle_ready(&here->own, gpu, own_rate));
}

bool gpu_time_begin_learning(int gpu, uint64_t before, uint64_t now) {
    return throttle_begin_learning(account_of(gpu), before, now);
}

void gpu_time_end_learning(int gpu, uint64_t begun) {
    throttle_end_learning(account_of(gpu), begun);
}

uint64_t gpu_time_learning(int gpu) {
    return throttle_learning(account_of(gpu));
}

uint64_t gpu_time_part(int gpu, uint64_t own, uint64_t elapsed, uint64_t now) {
    return throttle_part(account_of(gpu), own, elapsed, now);
}
