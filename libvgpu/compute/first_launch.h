/* Launches whose cost nobody knows yet: the first of a kind is measured and charged as it goes on, what comes before it is
 * known waits for a time and is charged a guess. No wait is without an end: a kernel may need a later one to begin. */
#ifndef UNIGPU_COMPUTE_FIRST_LAUNCH_H
#define UNIGPU_COMPUTE_FIRST_LAUNCH_H

#include "libvgpu/compute/launch.h"

/* The first of its kind: measured, and charged as it goes on. */
void first_launch_charge(struct launch *launch, CUcontext context, CUstream stream, bool limited);

/* Until the cost is known; or, after a while, until the guess can be afforded. */
void first_launch_await(struct launch *launch, CUcontext context);

/* One of those that come before it is known. */
void first_launch_charge_guess(struct launch *launch, CUcontext context, CUstream stream, int64_t guess);

#endif
