/* What a program is told of a GPU's size. */
#ifndef UNIGPU_MEMORY_REPORTED_H
#define UNIGPU_MEMORY_REPORTED_H

#include <stdint.h>

static inline uint64_t reported_min(uint64_t one, uint64_t other) {
    return one < other ? one : other;
}

/* A GPU of which nothing may be had stays as big as it is, and full: programs divide by the total. */
static inline uint64_t reported_total(uint64_t limit, uint64_t total) {
    return limit != 0 ? reported_min(limit, total) : total;
}

#endif
