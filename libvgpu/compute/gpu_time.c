#include "libvgpu/compute/gpu_time.h"

#include "libvgpu/base/config.h"
#include "libvgpu/compute/rate.h"
#include "libvgpu/compute/throttle.h"
#include "libvgpu/compute/token_bucket.h"
#include "libvgpu/shared/account.h"
#include "libvgpu/shared/policy.h"

/* GPU time that is owed is paid while less than this lies unspent. */
#define OWED_UNTIL_NS (TOKEN_BUCKET_BURST_NS / 2)

static struct gpu {
    struct vgpu_compute *shared;
    /* For a limit of this process alone; where there is no usage file, the only account. */
    _Alignas(16) struct vgpu_compute own;
    uint64_t used_before; /* by the container, when this process began to use the GPU */
    uint64_t charged;     /* by this process since then */
    uint32_t charging;    /* threads that are changing `charged` and the account's sum */
    int64_t owed;         /* to this process, see gpu_time_return */
} gpus[VGPU_MAX_GPUS];

struct vgpu_compute *gpu_time_account(int gpu) {
    struct vgpu_compute *account = __atomic_load_n(&gpus[gpu].shared, __ATOMIC_ACQUIRE);
    if (account != NULL) {
        return account;
    }
    account = account_compute((unsigned)gpu);
    if (account == NULL) {
        account = &gpus[gpu].own;
    }
    gpus[gpu].used_before = __atomic_load_n(&account->used, __ATOMIC_RELAXED);
    __atomic_store_n(&gpus[gpu].shared, account, __ATOMIC_RELEASE);
    return account;
}

/* The environment's limit is the account's only where there is no policy; otherwise see own_rate. */
static uint32_t shared_rate(int gpu, uint64_t now) {
    struct policy_compute policy;
    if (config()->kind != CONFIG_POLICY) {
        return rate_of_percent(config()->cores[gpu]);
    }
    return policy_compute((unsigned)gpu, &policy) ? rate_of_policy(&policy, now) : 0;
}

/* 0 where the environment doesn't limit this process more tightly than the policy does. */
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

uint32_t gpu_time_rate(int gpu, uint64_t now) {
    uint32_t own = own_rate(gpu, now);
    return own > 0 ? own : shared_rate(gpu, now);
}

bool gpu_time_limited(int gpu) {
    return gpu_time_rate(gpu, throttle_clock()) > 0;
}

/* Adds what this process took to the account's sum and to its own. */
static void count(struct gpu *here, struct vgpu_compute *account, int64_t ns) {
    __atomic_add_fetch(&here->charging, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&account->used, (uint64_t)ns, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&here->charged, (uint64_t)ns, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&here->charging, 1, __ATOMIC_SEQ_CST);
}

bool gpu_time_of_siblings(int gpu, uint64_t *ns) {
    const struct vgpu_compute *account = gpu_time_account(gpu);
    const struct gpu *here = &gpus[gpu];
    uint64_t charged = __atomic_load_n(&here->charged, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&here->charging, __ATOMIC_SEQ_CST) != 0) {
        return false;
    }
    *ns = __atomic_load_n(&account->used, __ATOMIC_SEQ_CST) - charged - here->used_before;
    return __atomic_load_n(&here->charging, __ATOMIC_SEQ_CST) == 0 &&
           __atomic_load_n(&here->charged, __ATOMIC_SEQ_CST) == charged;
}

static void pay(int gpu) {
    struct gpu *here = &gpus[gpu];
    int64_t owed = __atomic_load_n(&here->owed, __ATOMIC_RELAXED);
    int64_t room = OWED_UNTIL_NS - __atomic_load_n(&gpu_time_account(gpu)->balance, __ATOMIC_RELAXED);
    int64_t part = owed < room ? owed : room;
    if (part > 0 &&
        __atomic_compare_exchange_n(&here->owed, &owed, owed - part, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        gpu_time_give(gpu, part);
    }
}

int64_t gpu_time_take(int gpu, int64_t cost, int64_t wish) {
    struct gpu *here = &gpus[gpu];
    struct vgpu_compute *account = gpu_time_account(gpu);
    uint64_t begun = throttle_clock();
    pay(gpu);
    bool own = account != &here->own && own_rate(gpu, begun) > 0;
    if (own) {
        throttle_await(&here->own, gpu, own_rate);
    }
    int64_t taken = throttle_take(account, gpu, cost, wish, shared_rate);
    count(here, account, taken);
    if (own) {
        throttle_give(&here->own, -taken);
    }
    return taken;
}

void gpu_time_give(int gpu, int64_t ns) {
    struct gpu *here = &gpus[gpu];
    struct vgpu_compute *account = gpu_time_account(gpu);
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

bool gpu_time_ready(int gpu) {
    struct gpu *here = &gpus[gpu];
    struct vgpu_compute *account = gpu_time_account(gpu);
    return throttle_ready(account, gpu, shared_rate) &&
           (account == &here->own || throttle_ready(&here->own, gpu, own_rate));
}

void gpu_time_after_fork(void) {
    for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        gpus[gpu].owed = 0;
    }
}
