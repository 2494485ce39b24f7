/* What a program is told of a card's size. */
#ifndef UNIGPU_SHOWN_H
#define UNIGPU_SHOWN_H

#include <stdint.h>

static inline uint64_t shown_least(uint64_t one, uint64_t other) {
    return one < other ? one : other;
}

/* A card of which nothing may be had stays as big as it is, and full: programs divide by the total. */
static inline uint64_t shown_total(uint64_t limit, uint64_t total) {
    return limit != 0 ? shown_least(limit, total) : total;
}

#endif
