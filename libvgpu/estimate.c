#include "estimate.h"

/* Samples older than this aren't asked as long as there are younger ones. */
#define LATELY_NS 8000000000u

void estimate_add(struct estimate *estimate, struct estimate_sample sample)
{
    if (sample.ns == 0)
        sample.ns = 1;
    estimate->samples[estimate->count % ESTIMATE_SAMPLES] = sample;
    estimate->count++;
}

static unsigned kept(const struct estimate *estimate)
{
    return estimate->count < ESTIMATE_SAMPLES ? estimate->count : ESTIMATE_SAMPLES;
}

/* The newest is always among them. */
static bool is_late(const struct estimate *estimate, unsigned place, uint64_t now)
{
    const struct estimate_sample *sample = &estimate->samples[place];
    return sample->at + LATELY_NS >= now || place == (estimate->count - 1) % ESTIMATE_SAMPLES;
}

uint64_t estimate_shortest(const struct estimate *estimate, uint64_t now)
{
    uint64_t shortest = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        uint64_t ns = estimate->samples[place].ns;
        if (is_late(estimate, place, now) && (shortest == 0 || ns < shortest))
            shortest = ns;
    }
    return shortest;
}

uint64_t estimate_value(const struct estimate *estimate, uint64_t now)
{
    uint64_t shortest = estimate_shortest(estimate, now), sum = 0;
    unsigned counted = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        const struct estimate_sample *sample = &estimate->samples[place];
        if (!is_late(estimate, place, now) || !sample->exact || sample->view >= ESTIMATE_CONTENDED)
            continue;
        /* What takes much longer than the shortest was perhaps interrupted. */
        if (sample->view == ESTIMATE_UNCERTAIN && sample->ns > shortest + shortest / 16)
            continue;
        sum += sample->ns;
        counted++;
    }
    return counted > 0 ? sum / counted : shortest;
}

uint64_t estimate_overcharged(struct estimate *estimate, uint64_t value)
{
    uint64_t sum = 0;
    for (unsigned place = 0; place < kept(estimate); place++) {
        struct estimate_sample *sample = &estimate->samples[place];
        if (sample->view == ESTIMATE_CLEAR || sample->charged <= value)
            continue;
        sum += sample->charged - value;
        sample->charged = value;
    }
    return sum;
}

void estimate_forget(struct estimate *estimate)
{
    estimate->count = 0;
}
