/* Busy time as a set of spans: the latest are kept apart, older ones as a sum. Bookings reach into the future and, where
 * work is booked late, into the past. */
#include <string.h>

#include "simulator/state/state.h"

/* The oldest span joins the sum. */
static void fold(sim_busy *busy) {
    busy->sum_ns += busy->spans[0].end_ns - busy->spans[0].start_ns;
    busy->sum_until_ns = busy->spans[0].end_ns;
    memmove(&busy->spans[0], &busy->spans[1], (SIM_SPANS - 1) * sizeof busy->spans[0]);
    busy->count--;
}

static void insert(sim_busy *busy, uint64_t start, uint64_t end) {
    uint32_t first = 0, after;
    while (first < busy->count && busy->spans[first].end_ns < start) {
        first++;
    }
    for (after = first; after < busy->count && busy->spans[after].start_ns <= end; after++) {
        start = sim_earlier(start, busy->spans[after].start_ns);
        end = sim_later(end, busy->spans[after].end_ns);
    }
    if (first == after && busy->count == SIM_SPANS) {
        if (first == 0) {
            busy->sum_ns += end - start;
            busy->sum_until_ns = end;
            return;
        }
        fold(busy);
        first--;
        after--;
    }
    memmove(&busy->spans[first + 1], &busy->spans[after], (busy->count - after) * sizeof busy->spans[0]);
    busy->count = busy->count - (after - first) + 1;
    busy->spans[first] = (sim_span){start, end};
}

uint64_t sim_busy_add(sim_busy *busy, uint64_t start, uint64_t end) {
    start = sim_later(start, busy->sum_until_ns);
    if (end <= start) {
        return 0;
    }
    sim_span *last = busy->count ? &busy->spans[busy->count - 1] : NULL;
    if (last && start >= last->start_ns && start <= last->end_ns) {
        uint64_t before = last->end_ns;
        last->end_ns = sim_later(before, end); /* nearly always: one kernel after another */
        return last->end_ns - before;
    }
    uint64_t before = sim_busy_total(busy);
    insert(busy, start, end);
    return sim_busy_total(busy) - before;
}

uint64_t sim_busy_growth(const sim_busy *busy, uint64_t start, uint64_t end) {
    uint64_t growth = end - start;
    for (uint32_t i = busy->count; i > 0 && busy->spans[i - 1].end_ns > start; i--) {
        uint64_t from = sim_later(busy->spans[i - 1].start_ns, start), to = sim_earlier(busy->spans[i - 1].end_ns, end);
        growth -= to > from ? to - from : 0;
    }
    return growth;
}

uint64_t sim_busy_total(const sim_busy *busy) {
    uint64_t total = busy->sum_ns;
    for (uint32_t i = 0; i < busy->count; i++) {
        total += busy->spans[i].end_ns - busy->spans[i].start_ns;
    }
    return total;
}

/* Time that is only known as a sum counts as one piece, so it may seem to lie further ahead than it does. */
uint64_t sim_busy_ahead(const sim_busy *busy, uint64_t now) {
    uint64_t ahead = 0;
    for (uint32_t i = busy->count; i > 0 && busy->spans[i - 1].end_ns > now; i--) {
        ahead += busy->spans[i - 1].end_ns - sim_later(busy->spans[i - 1].start_ns, now);
    }
    return busy->sum_until_ns > now ? ahead + sim_earlier(busy->sum_ns, busy->sum_until_ns - now) : ahead;
}

uint64_t sim_busy_until(const sim_busy *busy, uint64_t now) {
    return sim_busy_total(busy) - sim_busy_ahead(busy, now);
}

uint64_t sim_busy_end(const sim_busy *busy) {
    return busy->count ? busy->spans[busy->count - 1].end_ns : busy->sum_until_ns;
}

uint64_t sim_busy_moment(const sim_busy *busy, uint64_t left) {
    for (uint32_t i = busy->count; i > 0; i--) {
        uint64_t length = busy->spans[i - 1].end_ns - busy->spans[i - 1].start_ns;
        if (length > left) {
            return busy->spans[i - 1].end_ns - left;
        }
        left -= length;
    }
    return busy->sum_until_ns > left ? busy->sum_until_ns - left : 0;
}

bool sim_busy_gap(const sim_busy *busy, sim_span within, uint64_t least, sim_span *gap) {
    uint64_t start = sim_later(within.start_ns, busy->sum_until_ns);
    for (uint32_t i = 0; i <= busy->count && start + least <= within.end_ns; i++) {
        uint64_t end = i < busy->count ? sim_earlier(busy->spans[i].start_ns, within.end_ns) : within.end_ns;
        if (start + least <= end) {
            *gap = (sim_span){start, end};
            return true;
        }
        start = i < busy->count ? sim_later(start, busy->spans[i].end_ns) : start;
    }
    return false;
}

void sim_busy_cut(sim_busy *busy, uint64_t now) {
    while (busy->count && busy->spans[busy->count - 1].start_ns >= now) {
        busy->count--;
    }
    if (busy->count) {
        busy->spans[busy->count - 1].end_ns = sim_earlier(busy->spans[busy->count - 1].end_ns, now);
    }
}
