/* Launches whose cost is unknown. libvgpu measures the first launch of each kind and charges it while it runs. Later
 * launches of that kind wait until the cost is known, for a limited time, and are then charged a guess. Every wait is
 * bounded: a running kernel may depend on a later one. */
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

/* Charges the first launch of its kind, and begins its sample. */
struct provisional_charge first_launch_charge(struct cost *cost, struct credit *credit, const struct launch_site *site,
                                              bool limited);

/* Waits until the cost is known, or until the time is up and the account can afford the guess. */
void first_launch_await(const struct cost *cost, const struct launch_site *site);

/* Charges a launch of a kind whose first launch is still being measured. */
struct provisional_charge first_launch_charge_guess(struct cost *cost, struct credit *credit,
                                                    const struct launch_site *site, int64_t guess);

#endif
