/* The part of a GPU's time that the container may use now. No clock, no CUDA, no I/O. */
#ifndef UNIGPU_COMPUTE_RATE_H
#define UNIGPU_COMPUTE_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/shared/policy.h"

/* Whether the agent's last rate is still valid at `clock`. */
bool rate_is_fresh(const struct policy_compute *policy, uint64_t clock);

/* Returns the rate in hundredths of a percent; 0: not limited. */
uint32_t rate_of_policy(const struct policy_compute *policy, uint64_t clock);

/* Converts a share in percent to a rate. 0, and 100 and more, limit nothing. */
uint32_t rate_of_percent(uint32_t percent);

#endif
