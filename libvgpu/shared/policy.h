/* The container's current limits. The next driver call sees a change of the file. */
#ifndef UNIGPU_SHARED_POLICY_H
#define UNIGPU_SHARED_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

#define POLICY_UNLIMITED UINT64_MAX

/* The policy's terms for the time of one GPU. */
struct policy_compute {
    uint32_t flags;
    uint32_t compute;        /* VGPU_POLICY_UNLIMITED, _HARD or _SOFT */
    uint32_t cores;          /* percent */
    uint32_t ceiling;        /* percent */
    uint32_t current_rate;   /* hundredths of a percent; 0: the agent set none */
    uint32_t neighbour_load; /* hundredths of a percent */
    uint64_t heartbeat_ns;   /* CLOCK_MONOTONIC; 0: there is no agent */
};

/* Copies the policy file as a consistent whole; false where it can't be used, which is logged once. */
bool policy_copy(struct vgpu_policy *copy);

/* Sets the bytes that the container may use of the policy's GPU of that index: POLICY_UNLIMITED where memory isn't
 * limited, 0 past the last GPU. False where the policy can't be used. */
bool policy_limit(unsigned gpu, uint64_t *bytes);

/* Copies the node agent's answer to the wish of that number; false where there is none yet. */
bool policy_answer(uint64_t number, struct vgpu_answer *answer);

/* Copies the terms for the GPU's time; false where the policy can't be used. */
bool policy_compute(unsigned gpu, struct policy_compute *compute);

#endif
