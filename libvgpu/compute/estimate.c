#include "libvgpu/compute/estimate.h"

/* Older samples are ignored as long as there are younger ones. */
#define LATELY_NS 8000000000u

#define SETTLED_SAMPLES 3u

static unsigned kept(const struct estimate *estimate) {
    return estimate->count < ESTIMATE_SAMPLES ? estimate->count : ESTIMATE_SAMPLES;
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
    estimate->samples[estimate->count % ESTIMATE_SAMPLES] = sample;
    estimate->count++;
}

/* The newest sample is always recent. */
static bool is_late(const struct estimate *estimate, unsigned place, uint64_t now) {
    const struct estimate_sample *sample = &estimate->samples[place];
    return sample->at + LATELY_NS >= now || place == (estimate->count - 1) % ESTIMATE_SAMPLES;
}

uint64_t estimate_shortest(const struct estimate *estimate, uint64_t now) {
    uint64_t shortest = 0, bound = 0;
    bool exact = false;
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
        exact |= sample->exact;
    }
    return exact ? bound : shortest;
}

uint64_t estimate_value(const struct estimate *estimate, uint64_t now) {
    uint64_t shortest = estimate_shortest(estimate, now), sum = 0;
    unsigned counted = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        const struct estimate_sample *sample = &estimate->samples[place];
        bool disturbed = sample->view == ESTIMATE_CONTENDED || sample->view == ESTIMATE_COMPANY;
        if (!is_late(estimate, place, now) || !sample->exact || disturbed) {
            continue;
        }
        /* A launch that took much longer than the shortest was perhaps interrupted. */
        if (sample->view != ESTIMATE_CLEAR && sample->ns > shortest + shortest / 16) {
            continue;
        }
        sum += sample->ns;
        counted++;
    }
    return counted > 0 ? sum / counted : shortest;
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
