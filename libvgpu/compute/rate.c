#include "libvgpu/compute/rate.h"

#include "libvgpu/base/layout.h"
#include "libvgpu/compute/token_bucket.h"

bool rate_is_fresh(const struct policy_compute *policy, uint64_t clock) {
    return policy->heartbeat_ns != 0 && clock < policy->heartbeat_ns + VGPU_FRESH_NS;
}

uint32_t rate_of_percent(uint32_t percent) {
    return percent < 100 ? percent * (TOKEN_BUCKET_WHOLE / 100) : 0;
}

uint32_t rate_of_policy(const struct policy_compute *policy, uint64_t clock) {
    if (policy->current_rate > 0 && rate_is_fresh(policy, clock)) {
        return policy->current_rate < TOKEN_BUCKET_WHOLE ? policy->current_rate : 0;
    }
    if ((policy->flags & VGPU_POLICY_CORES) == 0 || policy->compute == VGPU_POLICY_UNLIMITED || policy->cores == 0) {
        return 0;
    }
    /* Without an agent there is no other container, so a soft policy may use idle time up to its ceiling. */
    if (policy->compute == VGPU_POLICY_SOFT && policy->heartbeat_ns == 0 && policy->ceiling > policy->cores) {
        return rate_of_percent(policy->ceiling);
    }
    return rate_of_percent(policy->cores);
}
