/* The container's limits as they are now: a change in the file is seen by the next call. */
#ifndef UNIGPU_SHARED_POLICY_H
#define UNIGPU_SHARED_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

#define POLICY_UNLIMITED UINT64_MAX

/* The policy's terms for the time of one GPU. */
struct policy_compute {
    uint32_t flags;
    uint32_t compute; /* VGPU_POLICY_UNLIMITED, _HARD or _SOFT */
    uint32_t cores;   /* percent */
    uint32_t ceiling; /* percent */
    uint32_t current_rate;   /* hundredths of a percent; 0: the agent set none */
    uint32_t neighbour_load; /* hundredths of a percent */
    uint64_t heartbeat_ns;   /* CLOCK_MONOTONIC; 0: there is no agent */
};

/* A consistent copy of the policy file; false where there is none that can be used, which was then said on stderr. */
bool policy_copy(struct vgpu_policy *copy);

/* Bytes that the container may use of the GPU at that place of the policy, POLICY_UNLIMITED where memory isn't held, 0
 * past the last GPU; false where there is no policy that can be used. */
bool policy_limit(unsigned gpu, uint64_t *bytes);

/* What it says of the GPU's GPU time; false where there is no policy that can be used. */
bool policy_compute(unsigned gpu, struct policy_compute *compute);

#endif
