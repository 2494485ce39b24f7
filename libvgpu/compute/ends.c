#include "libvgpu/compute/ends.h"

#include <stdbool.h>
#include <string.h>

static uint64_t less(uint64_t one, uint64_t other) {
    return one < other ? one : other;
}

int64_t ends_last(const struct ends *ends) {
    return ends->count > 0 ? ends->latest[ends->count - 1].at : 0;
}

/* Whether no later end is of the same stream. */
static bool is_latest_of_stream(const struct ends *ends, unsigned place) {
    uint64_t stream = ends->latest[place].stream;
    for (unsigned later = place + 1; stream != ENDS_NO_STREAM && later < ends->count; later++) {
        if (ends->latest[later].stream == stream) {
            return false;
        }
    }
    return true;
}

/* Launches of one stream never run at the same time, so the latest of each counts. */
int64_t ends_begin(const struct ends *ends, const struct ends_launch *launch) {
    int64_t begin = launch->at - (int64_t)launch->whole;
    unsigned room = launch->part > 0 && launch->part < ENDS_WHOLE ? ENDS_WHOLE - launch->part : 0;
    for (unsigned place = ends->count; place-- > 0 && ends->latest[place].at > begin;) {
        const struct ends_end *end = &ends->latest[place];
        bool beside = end->stream != launch->stream || end->stream == ENDS_NO_STREAM;
        if (end->at > launch->at || !beside || !is_latest_of_stream(ends, place)) {
            continue;
        }
        if (end->part == 0 || end->part > room) {
            return end->at;
        }
        room -= end->part;
    }
    return begin;
}

/* When the interval before that end began. */
static int64_t start_of(const struct ends *ends, unsigned place, int64_t begin) {
    int64_t before = place > 0 ? ends->latest[place - 1].at : begin;
    return before > begin ? before : begin;
}

/* Returns how much of what is charged of the interval before that end may have been after `begin`: at most, and at least.
 * In between the launches that were under way may have run first, and then others had their turn; or the other way round. */
static uint64_t most_since(const struct ends_end *end, int64_t begin) {
    return begin <= end->from ? end->own : less(end->own, (uint64_t)(end->at - begin));
}

static uint64_t least_since(const struct ends_end *end, int64_t begin) {
    return begin <= end->from ? end->own : end->own - less(end->own, (uint64_t)(begin - end->from));
}

/* Makes room for an end at its place in the order, and returns that. */
static unsigned insert(struct ends *ends, const struct ends_launch *launch, int64_t begin) {
    if (ends->count == ENDS_KEPT) {
        ends->count -= ENDS_KEPT / 2;
        memmove(ends->latest, ends->latest + ENDS_KEPT / 2, ends->count * sizeof *ends->latest);
    }
    unsigned place = ends->count;
    while (place > 0 && ends->latest[place - 1].at > launch->at) {
        place--;
    }
    struct ends_end added = {.at = launch->at, .stream = launch->stream, .part = launch->part};
    added.from = start_of(ends, place, begin);
    if (place < ends->count) {
        /* It ended while others ran: it divides what is known of that time. */
        struct ends_end *next = &ends->latest[place];
        uint64_t own = most_since(next, launch->at);
        added.own = next->own - own;
        added.from = next->from < added.from ? next->from : added.from;
        next->own = own;
        next->from = next->from > launch->at ? next->from : launch->at;
    }
    memmove(ends->latest + place + 1, ends->latest + place, (ends->count - place) * sizeof *ends->latest);
    ends->latest[place] = added;
    ends->count++;
    return place;
}

/* Charges up to `most` of what isn't charged yet between `begin` and that end, the latest first. Returns how much that was. */
static uint64_t fill(struct ends *ends, unsigned last, int64_t begin, uint64_t most) {
    uint64_t filled = 0;
    for (unsigned place = last + 1; place-- > 0 && ends->latest[place].at > begin && filled < most;) {
        struct ends_end *end = &ends->latest[place];
        int64_t from = start_of(ends, place, begin);
        uint64_t own = most_since(end, from), time = (uint64_t)(end->at - from);
        uint64_t more = time > own ? less(time - own, most - filled) : 0;
        end->from = more > 0 && from < end->from ? from : end->from;
        end->own += more;
        filled += more;
    }
    return filled;
}

/* Returns how much of its cost isn't charged yet, if it ran from `begin` on. */
static uint64_t rest_of(const struct ends *ends, unsigned last, const struct ends_launch *launch, int64_t begin,
                        uint64_t cost) {
    uint64_t most = 0, least = 0, ran = (uint64_t)(launch->at - begin);
    int64_t late = begin + (int64_t)less(launch->late, ran);
    /* What took no longer than alone was interrupted by nobody. */
    if ((uint64_t)(launch->at - late) <= cost + cost / 16) {
        return cost;
    }
    for (unsigned place = last + 1; place-- > 0 && ends->latest[place].at > begin;) {
        const struct ends_end *end = &ends->latest[place];
        most += most_since(end, begin);
        least += end->at > late ? least_since(end, late) : 0;
    }
    uint64_t added = less(launch->added, cost > least ? cost - least : 0), missing = cost > most ? cost - most : 0;
    return added > missing ? added : missing;
}

uint64_t ends_charge(struct ends *ends, const struct ends_launch *launch, uint64_t cost) {
    int64_t begin = ends_begin(ends, launch);
    unsigned last = insert(ends, launch, begin);
    /* What ran at the same time isn't known. */
    if (launch->part == 0) {
        return fill(ends, last, begin, less(launch->added, cost));
    }
    return fill(ends, last, begin, rest_of(ends, last, launch, begin, cost));
}

void ends_add(struct ends *ends, const struct ends_launch *launch, uint64_t own) {
    int64_t begin = launch->at - (int64_t)launch->added;
    fill(ends, insert(ends, launch, begin), begin, own);
}
