#include "libvgpu/compute/reading.h"

/* A host that isn't interrupted launches in less time. */
#define USUAL_GAP_NS 5000u

#define GAPS_LEAST 4u

/* Returns the shortest of late, which forgets a little with each new one. */
static uint64_t shortest_of(uint64_t *shortest, uint64_t now) {
    *shortest = *shortest == 0 || now < *shortest ? now : *shortest + *shortest / 256;
    return now < *shortest ? now : *shortest;
}

/* Returns the part of the gap that is certainly not the launch's, where the GPU lags behind the host: the shortest gap
 * lately, since in a longer one the host asked while the GPU was still at work, or the GPU began in its middle. Less a
 * small part of the call itself: the GPU receives a launch shortly before the call returns. */
static uint64_t idle_part(struct reading_gaps *gaps, uint64_t gap, uint64_t asked_for) {
    uint64_t least = shortest_of(&gaps->whole, gap);
    uint64_t call = shortest_of(&gaps->call, gap > asked_for ? gap - asked_for : 0);
    return ++gaps->seen < GAPS_LEAST ? least / 2 : least - call / 12;
}

/* Whether neither the GPU nor the stream waited for the host. */
static bool kept_busy(const struct reading_facts *facts) {
    /* Where the GPU needs a moment to begin, one that was idle in between has taken as long as the host. */
    if (facts->launches > 1 && !facts->backlogged && facts->asked_for > 0) {
        return facts->whole > facts->host + facts->host / 8;
    }
    return facts->whole >= facts->host;
}

/* An idle GPU began the launch while the host was still making it, usually in the middle. So half of the host's time is
 * subtracted. Not from a run: there it is a small part, and was perhaps not in the shortest one. Where the GPU is seen to
 * lag behind the host, it lags as much with the launch, and the time that the host takes is all in. */
static uint64_t host_part(const struct reading_facts *facts, struct reading_gaps *gaps) {
    bool lags = facts->asked_for > 0;
    if (facts->backlogged || (facts->launches > 1 && !lags) || facts->whole <= facts->gap ||
        facts->gap > USUAL_GAP_NS + facts->asked_for) {
        return 0;
    }
    return lags ? idle_part(gaps, facts->gap, facts->asked_for) : facts->gap / 2;
}

struct reading reading_of(const struct reading_facts *facts, struct reading_gaps *gaps) {
    struct reading_facts given = *facts;
    if (given.whole == 0) {
        given.whole = 1;
    }
    bool busy = kept_busy(&given);
    /* The GPU was at work on one stream or another as long as the host launched, but for the time that measuring took. */
    uint64_t spent = busy || given.behind ? 0 : given.spent;
    if (given.launches > 1 && !busy && (!given.together || spent > given.whole / 2)) {
        return (struct reading){.usable = false};
    }
    bool run = given.together && given.launches > 1;
    uint64_t off = run ? spent : host_part(&given, gaps), elapsed = given.whole - off;
    bool exact = busy && (run || given.backlogged || given.gap * 50 <= elapsed);
    bool stretched = given.several && given.view == ESTIMATE_CLEAR;
    return (struct reading){.usable = true,
                            .waited = !busy,
                            .elapsed = elapsed,
                            .sample = {.at = given.at,
                                       .ns = elapsed / given.launches,
                                       .view = (uint8_t)(stretched ? ESTIMATE_STREAMS : given.view),
                                       .behind = given.backlogged || stretched,
                                       .exact = exact,
                                       .together = given.together,
                                       .off = exact || run ? 0 : off}};
}
