/* The container's limits as they are now: a change in the file is seen by the next call. */
#ifndef UNIGPU_SHARED_POLICY_H
#define UNIGPU_SHARED_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"
#include "libvgpu/compute/rate.h"

#define POLICY_UNLIMITED UINT64_MAX

/* A consistent copy of the policy file; false where there is none that can be used, which was then said on stderr. */
bool policy_copy(struct vgpu_policy *copy);

/* Bytes that the container may use of the GPU at that place of the policy, POLICY_UNLIMITED where memory isn't held, 0
 * past the last GPU; false where there is no policy that can be used. */
bool policy_limit(unsigned gpu, uint64_t *bytes);

/* What it says of the GPU's GPU time; false where there is no policy that can be used. */
bool policy_compute(unsigned gpu, struct rate_policy *compute);

#endif
