#include "waits.h"

static unsigned bin_of(uint64_t ns) {
    if (ns < WAITS_STEPS) {
        return (unsigned)ns;
    }
    unsigned power = 63U - (unsigned)__builtin_clzll(ns);
    return (power - 3) * WAITS_STEPS + (unsigned)(ns >> (power - 4)) % WAITS_STEPS;
}

/* The upper end of a bin. */
static uint64_t end_of(unsigned bin) {
    if (bin < WAITS_STEPS) {
        return bin;
    }
    unsigned power = bin / WAITS_STEPS + 3;
    return ((uint64_t)(WAITS_STEPS + bin % WAITS_STEPS + 1) << (power - 4)) - 1;
}

static void put(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static uint64_t get(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

void waits_add(struct waits *waits, uint64_t ns) {
    unsigned bin = bin_of(ns);
    put(&waits->bins[bin], waits->bins[bin] + 1);
    put(&waits->count, waits->count + 1);
    if (ns > waits->longest) {
        put(&waits->longest, ns);
    }
}

void waits_merge(struct waits *into, const struct waits *from) {
    uint64_t longest = get(&from->longest);
    for (unsigned bin = 0; bin < WAITS_BINS; bin++) {
        into->bins[bin] += get(&from->bins[bin]);
    }
    into->count += get(&from->count);
    if (longest > into->longest) {
        into->longest = longest;
    }
}

uint64_t waits_within(const struct waits *waits, double part) {
    uint64_t seen = 0;
    for (unsigned bin = 0; bin < WAITS_BINS; bin++) {
        seen += waits->bins[bin];
        if (seen > 0 && (double)seen >= part * (double)waits->count) {
            return end_of(bin) < waits->longest ? end_of(bin) : waits->longest;
        }
    }
    return 0;
}
