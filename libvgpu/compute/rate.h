/* Which part of a GPU the container may use now. No clock, no CUDA, no I/O. */
#ifndef UNIGPU_COMPUTE_RATE_H
#define UNIGPU_COMPUTE_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* What the policy says of one GPU. */
struct rate_policy {
    uint32_t flags;
    uint32_t compute;
    uint32_t cores;   /* percent */
    uint32_t ceiling; /* percent */
    uint32_t current_rate; /* hundredths of a percent */
    uint32_t neighbour_load; /* hundredths of a percent */
    uint64_t heartbeat_ns; /* CLOCK_MONOTONIC, ns; 0: there is no agent */
};

/* Whether what the agent said last still holds at `clock`. */
bool rate_is_fresh(const struct rate_policy *policy, uint64_t clock);

/* Hundredths of a percent; 0: not limited. */
uint32_t rate_of_policy(const struct rate_policy *policy, uint64_t clock);

/* A share in percent as a rate; 0 and 100 and more limit nothing. */
uint32_t rate_of_percent(uint32_t percent);

#endif
