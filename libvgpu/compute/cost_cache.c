#include "libvgpu/compute/cost_cache.h"

#include <string.h>

#include "libvgpu/base/lock.h"

#define ROOM 8192

/* A key lies within so many places. If all are taken, it takes the place of another one. */
#define PROBES 64

/* Charges are remembered for so much GPU time of launches. */
#define PASSED_MOST_NS 1000000000

/* The charge of a launch that is let in behind a long one, as a multiple of the time that one has run so far. The next
 * launch then waits until the first has most probably ended, but for a bounded time. */
#define GUESS_TIMES 10u
#define GUESS_LONGEST_NS 60000000000u

uint32_t cost_cache_generation = 1;

MUTEX(lock);
static struct cost costs[ROOM];
static uint32_t doubted; /* generation at the last cost_cache_doubt */
static uint32_t forks;
static uint64_t finds;

void cost_cache_expire_memos(void) {
    __atomic_add_fetch(&cost_cache_generation, 1, __ATOMIC_RELEASE);
}

void cost_cache_doubt(void) {
    mutex_lock(&lock);
    cost_cache_expire_memos();
    doubted = cost_cache_generation;
    mutex_unlock(&lock);
}

static uint32_t place_of(const struct cost_key *key, const void *context) {
    uint64_t mixed = key->handle ^ key->grid * 0x9e3779b97f4a7c15u ^ key->shape * 0xc2b2ae3d27d4eb4fu ^
                     key->rest * 0x165667b19e3779f9u ^ (uintptr_t)context >> 4;
    mixed *= 0x9e3779b97f4a7c15u;
    return (uint32_t)(mixed >> 40) % ROOM;
}

static void set_learning(struct cost *cost, bool learning) {
    __atomic_store_n(&cost->learning, learning, __ATOMIC_RELAXED);
}

static void change_meaning(struct cost *cost) {
    __atomic_store_n(&cost->meaning, cost->meaning + 1, __ATOMIC_RELAXED);
}

static void forget_passed(struct cost *cost) {
    cost->passed = 0;
    cost->passed_ns = 0;
}

static void forget(struct cost *cost) {
    estimate_forget(&cost->estimate);
    __atomic_store_n(&cost->settled, false, __ATOMIC_RELAXED);
    forget_passed(cost);
}

/* Samples and memos of the key that was there before find another meaning. */
static void replace(struct cost *cost, const struct cost_key *key, void *context) {
    change_meaning(cost);
    forget(cost);
    __atomic_store_n(&cost->value, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&cost->tried, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&cost->alone, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&cost->runs_since, 0, __ATOMIC_RELAXED);
    set_learning(cost, false);
    cost->provisional = 0;
    cost->guessed = 0;
    cost->key = *key;
    cost->context = context;
    cost->generation = doubted;
}

struct cost *cost_cache_find(const struct cost_key *key, void *context) {
    uint32_t first = place_of(key, context);
    mutex_lock(&lock);
    struct cost *found = NULL, *oldest = NULL;
    for (uint32_t turn = 0; found == NULL && turn < PROBES; turn++) {
        struct cost *each = &costs[(first + turn) % ROOM];
        if (!each->taken) {
            *each = (struct cost){.key = *key, .context = context, .taken = true, .generation = doubted};
            found = each;
        } else if (each->context == context && memcmp(&each->key, key, sizeof *key) == 0) {
            found = each;
        } else if (oldest == NULL || (each->found < oldest->found && !each->learning) || oldest->learning) {
            oldest = each;
        }
    }
    if (found == NULL) {
        found = oldest;
        replace(found, key, context);
    }
    found->found = ++finds;
    if (found->generation != doubted) {
        found->generation = doubted;
        change_meaning(found);
        set_learning(found, false);
        __atomic_store_n(&found->tried, 0, __ATOMIC_RELAXED);
        forget(found);
    }
    mutex_unlock(&lock);
    return found;
}

void cost_cache_forget(const struct cost_key *key) {
    mutex_lock(&lock);
    for (struct cost *each = costs; each < costs + ROOM; each++) {
        if (!each->taken || memcmp(&each->key, key, sizeof *key) != 0) {
            continue;
        }
        change_meaning(each);
        forget(each);
        __atomic_store_n(&each->value, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&each->tried, 0, __ATOMIC_RELAXED);
        set_learning(each, false);
    }
    cost_cache_expire_memos();
    mutex_unlock(&lock);
}

bool cost_cache_begin_learning(struct cost *cost, uint64_t now) {
    mutex_lock(&lock);
    bool first = !cost->learning && cost->value == 0;
    if (first) {
        set_learning(cost, true);
        cost->asked_at = now;
        __atomic_store_n(&cost->runs_since, 0, __ATOMIC_RELAXED);
        cost->provisional = 0;
        cost->guessed = 0;
    }
    mutex_unlock(&lock);
    return first;
}

void cost_cache_end_learning(struct cost *cost, uint32_t meaning) {
    mutex_lock(&lock);
    if (cost->meaning == meaning) {
        set_learning(cost, false);
    }
    mutex_unlock(&lock);
}

int64_t cost_guess_of_long(uint64_t runs_for) {
    if (runs_for < COST_UNKNOWN_MOST_NS) {
        return 0;
    }
    return (int64_t)((runs_for < GUESS_LONGEST_NS ? runs_for : GUESS_LONGEST_NS) * GUESS_TIMES);
}

int64_t cost_cache_guess(struct cost *cost, uint64_t now) {
    int64_t guess = 0;
    mutex_lock(&lock);
    if (cost->value == 0) {
        uint64_t passed = now > cost->asked_at ? now - cost->asked_at : 1;
        uint64_t since = __atomic_load_n(&cost->runs_since, __ATOMIC_RELAXED);
        guess = since != 0 && now > since ? cost_guess_of_long(now - since) : 0;
        if (guess == 0) {
            guess = (int64_t)(passed < COST_UNKNOWN_MOST_NS ? passed : COST_UNKNOWN_MOST_NS);
        }
    }
    mutex_unlock(&lock);
    return guess;
}

void cost_cache_note_guess(struct cost *cost, int64_t guess) {
    mutex_lock(&lock);
    cost->provisional++;
    cost->guessed += guess;
    mutex_unlock(&lock);
}

void cost_cache_note_passed(struct cost *cost, int64_t launches, int64_t ns, uint32_t meaning) {
    mutex_lock(&lock);
    if (cost->meaning != meaning) {
        mutex_unlock(&lock);
        return;
    }
    if (cost->passed_in != forks) {
        cost->passed_in = forks;
        forget_passed(cost);
    }
    if (launches > 0 || (cost->passed >= (uint64_t)-launches && cost->passed_ns >= -ns)) {
        cost->passed += (uint64_t)launches;
        cost->passed_ns += ns;
    }
    while (cost->passed_ns > PASSED_MOST_NS) {
        cost->passed_ns -= cost->passed_ns / 2;
        cost->passed -= cost->passed / 2;
    }
    mutex_unlock(&lock);
}

/* Returns how much launches were charged beyond the value, and forgets it. */
static int64_t overcharged(struct cost *cost, uint64_t value) {
    int64_t due = (int64_t)(cost->passed * value), sum = cost->passed_ns - due;
    if (cost->passed_in != forks || sum <= 0) {
        return 0;
    }
    cost->passed_ns = due;
    return sum;
}

int64_t cost_cache_add(struct cost *cost, struct estimate_sample sample, uint32_t meaning) {
    int64_t missing = 0;
    mutex_lock(&lock);
    if (cost->meaning != meaning) {
        mutex_unlock(&lock);
        return 0;
    }
    bool clear = estimate_clear(&cost->estimate, sample.at, 0);
    estimate_add(&cost->estimate, sample);
    uint64_t value = estimate_value(&cost->estimate, sample.at);
    set_learning(cost, false);
    if (cost->provisional > 0) {
        missing = (int64_t)(cost->provisional * value) - cost->guessed;
        cost->provisional = 0;
        cost->guessed = 0;
    }
    missing -= (int64_t)estimate_overcharged(&cost->estimate, value);
    /* Where the program had the GPU alone, a lower value means shorter launches now, not wrong charges before. */
    if (!clear || !estimate_clear(&cost->estimate, sample.at, 0)) {
        missing -= overcharged(cost, value);
    }
    if (estimate_clear(&cost->estimate, sample.at, ESTIMATE_DOUBT_NS)) {
        forget_passed(cost);
    }
    __atomic_store_n(&cost->settled, estimate_settled(&cost->estimate, sample.at), __ATOMIC_RELAXED);
    __atomic_store_n(&cost->value, value, __ATOMIC_RELEASE);
    mutex_unlock(&lock);
    return missing;
}

void cost_cache_after_fork(void) {
    lock = (struct mutex){0};
    forks++;
}
