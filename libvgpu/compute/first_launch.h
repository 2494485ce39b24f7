/* Launches whose cost is not known yet. The first of a kind is measured, and charged while it runs. Others of its kind
 * wait for its cost for a while, and are then charged a guess. No wait is without an end: a kernel may need a later one to
 * begin. */
#ifndef UNIGPU_COMPUTE_FIRST_LAUNCH_H
#define UNIGPU_COMPUTE_FIRST_LAUNCH_H

#include <stdbool.h>

#include "libvgpu/compute/credit.h"
#include "libvgpu/compute/samples.h"

/* A charge that will be corrected once the cost is known. */
struct provisional_charge {
    int64_t ns;
    struct sample *sample; /* NULL: the launch isn't measured */
};

/* Charges the first launch of its kind, and begins to measure it. */
struct provisional_charge first_launch_charge(struct cost *cost, struct credit *credit, const struct launch_site *site,
                                              bool limited);

/* Waits until the cost is known; or, after a while, until the guess can be afforded. */
void first_launch_await(const struct cost *cost, const struct launch_site *site);

/* Charges a launch that comes before the cost is known. */
struct provisional_charge first_launch_charge_guess(struct cost *cost, struct credit *credit,
                                                    const struct launch_site *site, int64_t guess);

#endif
