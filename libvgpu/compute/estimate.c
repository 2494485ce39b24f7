#include "libvgpu/compute/estimate.h"

/* Older samples are ignored as long as there are younger ones. */
#define LATELY_NS 8000000000u

/* A host that is late makes single samples too short. So many others must be about as long where one is to count for longer. */
#define CONFIRMING 5u

/* A sample that is much shorter than all others is kept so long. */
#define KEPT_NS 3000000000u

#define SETTLED_SAMPLES 3u

static unsigned kept(const struct estimate *estimate) {
    return estimate->count < ESTIMATE_SAMPLES ? estimate->count : ESTIMATE_SAMPLES;
}

static bool are_near(const struct estimate_sample *one, const struct estimate_sample *other) {
    return one->ns <= other->ns + other->ns / 16 && other->ns <= one->ns + one->ns / 16;
}

/* Whether so many others were as long that it wasn't measured wrongly. */
static bool is_confirmed(const struct estimate_sample *sample) {
    return sample->near >= CONFIRMING;
}

/* Returns the place of the new sample: that of the oldest one. Launches on several streams, and next to others' turns, are
 * stretched many in a row, and would push out the only one that was not. So a much shorter one of late changes places with
 * the second oldest. */
static unsigned place_for(struct estimate *estimate, const struct estimate_sample *sample) {
    unsigned place = estimate->count % ESTIMATE_SAMPLES;
    struct estimate_sample *oldest = &estimate->samples[place];
    if (estimate->count < ESTIMATE_SAMPLES || sample->view == ESTIMATE_CLEAR || !oldest->exact ||
        !is_confirmed(oldest) || oldest->together != sample->together || oldest->at + KEPT_NS < sample->at) {
        return place;
    }
    for (unsigned other = 0; other < ESTIMATE_SAMPLES; other++) {
        const struct estimate_sample *each = &estimate->samples[other];
        if (other != place && is_confirmed(each) && each->together == oldest->together &&
            each->ns <= oldest->ns + oldest->ns / 16) {
            return place;
        }
    }
    if (sample->ns > oldest->ns + oldest->ns / 16) {
        struct estimate_sample *next = &estimate->samples[(place + 1) % ESTIMATE_SAMPLES], kept = *oldest;
        *oldest = *next;
        *next = kept;
    }
    return place;
}

void estimate_add(struct estimate *estimate, struct estimate_sample sample) {
    if (sample.ns == 0) {
        sample.ns = 1;
    }
    bool doubt = sample.view == ESTIMATE_CONTENDED || sample.view == ESTIMATE_STREAMS;
    for (unsigned place = 0; doubt && place < kept(estimate); place++) {
        struct estimate_sample *before = &estimate->samples[place];
        if (before->view == ESTIMATE_CLEAR && before->at + ESTIMATE_DOUBT_NS > sample.at) {
            before->view = sample.view;
        }
    }
    sample.near = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        struct estimate_sample *before = &estimate->samples[place];
        if (are_near(before, &sample)) {
            before->near += before->near < CONFIRMING;
            sample.near += sample.near < CONFIRMING;
        }
    }
    estimate->samples[place_for(estimate, &sample)] = sample;
    estimate->count++;
}

static unsigned newest_of(const struct estimate *estimate) {
    return (estimate->count - 1) % ESTIMATE_SAMPLES;
}

/* The newest sample is always recent. Launches on several streams cost less than one by one, so others don't count. */
static bool is_late(const struct estimate *estimate, unsigned place, uint64_t now) {
    const struct estimate_sample *sample = &estimate->samples[place];
    unsigned newest = newest_of(estimate);
    return place == newest || (sample->at + LATELY_NS >= now && sample->together == estimate->samples[newest].together);
}

static bool has_exact(const struct estimate *estimate, uint64_t now) {
    bool exact = false;
    for (unsigned place = 0; place < kept(estimate); place++) {
        exact |= estimate->samples[place].exact && is_late(estimate, place, now);
    }
    return exact;
}

uint64_t estimate_shortest(const struct estimate *estimate, uint64_t now) {
    uint64_t shortest = 0, bound = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        const struct estimate_sample *sample = &estimate->samples[place];
        if (!is_late(estimate, place, now)) {
            continue;
        }
        if (shortest == 0 || sample->ns < shortest) {
            shortest = sample->ns;
        }
        if (bound == 0 || sample->ns + sample->off < bound) {
            bound = sample->ns + sample->off;
        }
    }
    return has_exact(estimate, now) ? bound : shortest;
}

/* Returns the mean of the samples that count; 0: there are none. Guessed ones vary a little with the guess, and the shortest
 * of many would be too short. */
static uint64_t mean(const struct estimate *estimate, uint64_t now, uint64_t shortest, bool guessed) {
    uint64_t sum = 0;
    unsigned counted = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        const struct estimate_sample *sample = &estimate->samples[place];
        bool disturbed = sample->view == ESTIMATE_CONTENDED || sample->view == ESTIMATE_COMPANY;
        if (!is_late(estimate, place, now) || (guessed ? sample->off == 0 : !sample->exact || disturbed)) {
            continue;
        }
        /* A launch that took much longer than the shortest was perhaps interrupted. */
        if (sample->ns > shortest + shortest / (guessed ? 8 : 16) && (guessed || sample->view != ESTIMATE_CLEAR)) {
            continue;
        }
        sum += sample->ns;
        counted++;
    }
    return counted > 0 ? sum / counted : 0;
}

/* Returns the shortest sample from which nothing was subtracted; 0: there is none. */
static uint64_t least_bound(const struct estimate *estimate, uint64_t now) {
    uint64_t least = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        const struct estimate_sample *sample = &estimate->samples[place];
        if (sample->off == 0 && is_late(estimate, place, now) && (least == 0 || sample->ns < least)) {
            least = sample->ns;
        }
    }
    return least;
}

/* Returns the most that a launch takes alone, by any sample of late; UINT64_MAX: unknown. */
static uint64_t most_alone(const struct estimate *estimate, uint64_t now) {
    uint64_t most = UINT64_MAX;
    for (unsigned place = 0; place < kept(estimate); place++) {
        const struct estimate_sample *sample = &estimate->samples[place];
        if (!sample->together && is_confirmed(sample) && sample->at + LATELY_NS >= now &&
            sample->ns + sample->off < most) {
            most = sample->ns + sample->off;
        }
    }
    return most;
}

uint64_t estimate_value(const struct estimate *estimate, uint64_t now) {
    uint64_t shortest = estimate_shortest(estimate, now), found = mean(estimate, now, shortest, false);
    if (found == 0 && !has_exact(estimate, now)) {
        found = mean(estimate, now, shortest, true);
        uint64_t most = least_bound(estimate, now);
        found = most > 0 && most < found ? most : found;
    }
    found = found > 0 ? found : shortest;
    /* Side by side a launch costs no more than alone. Runs on several streams contain others' turns more often. */
    if (estimate->count > 0 && estimate->samples[newest_of(estimate)].together) {
        uint64_t most = most_alone(estimate, now);
        found = most < found ? most : found;
    }
    return found;
}

uint64_t estimate_overcharged(struct estimate *estimate, uint64_t value) {
    uint64_t sum = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        struct estimate_sample *sample = &estimate->samples[place];
        if (sample->view == ESTIMATE_CLEAR || sample->charged <= value) {
            continue;
        }
        sum += sample->charged - value;
        sample->charged = value;
    }
    return sum;
}

bool estimate_clear(const struct estimate *estimate, uint64_t now, uint64_t age) {
    for (unsigned place = 0; place < kept(estimate); place++) {
        const struct estimate_sample *sample = &estimate->samples[place];
        bool old = sample->at + age <= now;
        if (old && sample->exact && sample->view == ESTIMATE_CLEAR && is_late(estimate, place, now)) {
            return true;
        }
    }
    return false;
}

bool estimate_settled(const struct estimate *estimate, uint64_t now) {
    uint64_t shortest = estimate_shortest(estimate, now);
    unsigned near = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        const struct estimate_sample *sample = &estimate->samples[place];
        near += sample->behind && is_late(estimate, place, now) && sample->ns <= shortest + shortest / 16;
    }
    return near >= SETTLED_SAMPLES || estimate_clear(estimate, now, 0);
}

void estimate_forget(struct estimate *estimate) {
    estimate->count = 0;
}
