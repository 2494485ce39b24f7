#include "libvgpu/compute/throttle.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libvgpu/compute/token_bucket.h"

/* The longest single sleep, so that a change of the rate soon takes effect. */
#define SLICE_NS 10000000u

/* A waiter that is later than it announced by so much is skipped. */
#define GRACE_NS 5000000u

/* Waiters right behind a skipped one get less time: they probably died together. */
#define GRACE_AFTER_DEATH_NS 1000000u

/* The head of the queue waits until enough for this long is earned, so that short work after it can begin at once. It
 * waits for less where many are in the queue. */
#define PORTION_NS 2000000u
#define READY_NS 2000000 /* a little debt is usual where a program launches often */
#define ROUND_NS 10000000u

/* There can't be more waiters: a higher number comes from a damaged file. */
#define WAITERS_MOST 1000000

typedef unsigned __int128 pair_word __attribute__((may_alias));

uint64_t throttle_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct timespec moment(uint64_t at) {
    return (struct timespec){(time_t)(at / 1000000000u), (long)(at % 1000000000u)};
}

static struct token_bucket read_bucket(struct vgpu_compute *account) {
    return (struct token_bucket){__atomic_load_n(&account->balance, __ATOMIC_ACQUIRE),
                                 __atomic_load_n(&account->earned, __ATOMIC_ACQUIRE)};
}

/* If the two words were read at different times, the exchange fails and they are read again. */
static bool exchange(struct vgpu_compute *account, struct token_bucket old, struct token_bucket new) {
    return __sync_bool_compare_and_swap((pair_word *)&account->balance,
                                        (pair_word)old.earned << 64 | (uint64_t)old.balance,
                                        (pair_word)new.earned << 64 | (uint64_t)new.balance);
}

/* Takes GPU time if there is enough, else returns 0. Sets the balance in both cases. */
static int64_t try_take(struct vgpu_compute *account, uint64_t now, uint32_t rate, int64_t cost, int64_t wish,
                        int64_t floor, bool waits, int64_t *balance) {
    struct token_bucket old, new;
    int64_t taken;
    do {
        old = read_bucket(account);
        new = token_bucket_earn(old, now, rate, token_bucket_most(cost, waits));
        taken = token_bucket_take(&new, cost, wish, rate == 0 ? 0 : floor);
        /* An account without a limit carries no debt over into a later limit. */
        if (rate == 0) {
            new.balance = TOKEN_BUCKET_BURST_NS;
        }
        *balance = new.balance;
    } while (!exchange(account, old, new));
    return taken;
}

void throttle_give(struct vgpu_compute *account, int64_t ns) {
    struct token_bucket old, new;
    do {
        new = old = read_bucket(account);
        new.balance += ns;
    } while (!exchange(account, old, new));
}

static void sleep_until(uint64_t at) {
    struct timespec until = moment(at);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static int waiters(const struct vgpu_compute *account) {
    return (int)(__atomic_load_n(&account->turn, __ATOMIC_ACQUIRE) -
                 __atomic_load_n(&account->served, __ATOMIC_ACQUIRE));
}

/* Serves the ticket after `turn`, unless another process already did. */
static void advance(struct vgpu_compute *account, uint32_t turn, uint32_t grace) {
    uint64_t until = throttle_clock() + grace;
    if (!__atomic_compare_exchange_n(&account->served, &turn, turn + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        return;
    }
    __atomic_store_n(&account->head_until, until, __ATOMIC_RELEASE);
    syscall(SYS_futex, &account->served, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, 1u << ((turn + 1) % 32));
}

/* Sleeps until the ticket is served. Skips waiters before it whose time was up long ago. */
static void await_turn(struct vgpu_compute *account, uint32_t turn, uint64_t begun) {
    uint64_t counted = begun;
    for (;;) {
        uint32_t served = __atomic_load_n(&account->served, __ATOMIC_ACQUIRE);
        int before = (int)(turn - served);
        if (before <= 0 || before > WAITERS_MOST) {
            return;
        }
        uint64_t head_until = __atomic_load_n(&account->head_until, __ATOMIC_ACQUIRE);
        uint64_t now = throttle_clock();
        __atomic_add_fetch(&account->waited, now - counted, __ATOMIC_RELAXED);
        counted = now;
        if (head_until > now + 2 * SLICE_NS) {
            head_until = now; /* a damaged file, or another boot's clock */
        }
        /* The next waiter in line wakes first. */
        uint64_t patience = GRACE_NS * (uint64_t)(before > 20 ? 20 : before);
        if (now > head_until + patience) {
            advance(account, served, GRACE_AFTER_DEATH_NS);
            continue;
        }
        struct timespec until = moment(head_until + patience + 1);
        syscall(SYS_futex, &account->served, FUTEX_WAIT_BITSET, served, &until, NULL, 1u << (turn % 32));
    }
}

/* Returns the GPU time that is earned in one portion's time, or less where many wait. */
static int64_t portion(uint32_t rate, int count) {
    uint64_t time = count > 1 ? ROUND_NS / (unsigned)count : PORTION_NS;
    return (int64_t)((time < PORTION_NS ? time : PORTION_NS) * rate / TOKEN_BUCKET_WHOLE);
}

/* Returns the balance for which the head of the queue sleeps: for short work, somewhat above the floor. */
static int64_t enough_for(int64_t cost, int64_t wish, int64_t floor, int64_t ns) {
    if (cost >= ns) {
        return floor + 1;
    }
    return floor + (ns < wish ? ns : wish);
}

/* As the head of the queue: sleeps by the clock until enough is earned, then takes it. */
static int64_t serve(struct vgpu_compute *account, int gpu, int64_t cost, int64_t wish, throttle_rate *rate,
                     uint32_t turn) {
    uint64_t counted = throttle_clock();
    for (;;) {
        uint64_t now = throttle_clock();
        uint32_t current = rate(gpu, now), served = __atomic_load_n(&account->served, __ATOMIC_RELAXED);
        int count = (int)(__atomic_load_n(&account->turn, __ATOMIC_RELAXED) - turn);
        bool passed_over = (int)(served - turn) > 0;
        int64_t ns = portion(current, passed_over ? 1 : count), balance;
        /* A waiter that was skipped accepts a lower balance than any queued waiter, so it is served first. */
        int64_t floor = passed_over ? -ns : token_bucket_floor(cost);
        int64_t enough = enough_for(cost, wish, floor, ns);
        /* A long launch waits for a part of its cost only, and that is enough. */
        int64_t taken = try_take(account, now, current, cost, wish, floor > 0 ? floor : enough - 1, true, &balance);
        __atomic_add_fetch(&account->waited, now - counted, __ATOMIC_RELAXED);
        counted = now;
        if (taken > 0) {
            return taken;
        }
        uint64_t time = token_bucket_time_to(balance, enough, current);
        uint64_t until = now + (time < SLICE_NS ? time : SLICE_NS);
        if (__atomic_load_n(&account->served, __ATOMIC_RELAXED) == turn) {
            __atomic_store_n(&account->head_until, until, __ATOMIC_RELEASE);
        }
        sleep_until(until);
    }
}

int64_t throttle_take(struct vgpu_compute *account, int gpu, int64_t cost, int64_t wish, throttle_rate *rate) {
    uint64_t now = throttle_clock();
    uint32_t current = rate(gpu, now);
    int count = waiters(account);
    int64_t balance;
    if (count < 0 || count > WAITERS_MOST) {
        __atomic_store_n(&account->served, __atomic_load_n(&account->turn, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
    }
    if (current == 0 || count == 0) {
        int64_t taken = try_take(account, now, current, cost, wish, token_bucket_floor(cost), false, &balance);
        if (taken > 0) {
            return taken;
        }
    }
    __atomic_add_fetch(&account->waits, 1, __ATOMIC_RELAXED);
    uint32_t turn = __atomic_fetch_add(&account->turn, 1, __ATOMIC_ACQ_REL);
    await_turn(account, turn, now);
    int64_t taken = serve(account, gpu, cost, wish, rate, turn);
    advance(account, turn, GRACE_NS);
    return taken;
}

void throttle_await(struct vgpu_compute *account, int gpu, throttle_rate *rate) {
    for (;;) {
        uint64_t now = throttle_clock();
        uint32_t current = rate(gpu, now);
        int64_t balance;
        try_take(account, now, current, 0, 0, INT64_MAX, false, &balance);
        if (current == 0 || balance > 0) {
            return;
        }
        uint64_t time = token_bucket_time_to(balance, 1, current);
        sleep_until(now + (time < SLICE_NS ? time : SLICE_NS));
    }
}

bool throttle_ready(struct vgpu_compute *account, int gpu, throttle_rate *rate) {
    uint64_t now = throttle_clock();
    uint32_t current = rate(gpu, now);
    int64_t balance;
    try_take(account, now, current, 0, 0, INT64_MAX, false, &balance);
    return current == 0 || balance > -READY_NS;
}

bool throttle_begin_learning(struct vgpu_compute *account, uint64_t before, uint64_t now) {
    return __atomic_compare_exchange_n(&account->learning, &before, now, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Leaves the note of a later launch alone. */
void throttle_end_learning(struct vgpu_compute *account, uint64_t begun) {
    __atomic_compare_exchange_n(&account->learning, &begun, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

uint64_t throttle_learning(const struct vgpu_compute *account) {
    return __atomic_load_n(&account->learning, __ATOMIC_ACQUIRE);
}

uint64_t throttle_part(struct vgpu_compute *account, uint64_t own, uint64_t elapsed, uint64_t now) {
    unsigned class = token_bucket_class(elapsed);
    uint64_t *measured = class == 0 ? &account->measured : &account->measured_longer[class - 1];
    uint64_t seen = __atomic_load_n(measured, __ATOMIC_ACQUIRE), moved, part;
    do {
        moved = seen;
        part = token_bucket_part(&moved, own, elapsed, now);
    } while (!__atomic_compare_exchange_n(measured, &seen, moved, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    return part;
}
