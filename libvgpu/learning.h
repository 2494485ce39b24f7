/* Launches whose cost nobody knows yet: the first of a kind is measured and charged as it goes on, what comes before it is
 * known waits for a time and is charged a guess. No wait is without an end: a kernel may need a later one to begin. */
#ifndef UNIGPU_LEARNING_H
#define UNIGPU_LEARNING_H

#include "launch.h"

/* The first of its kind: measured, and charged as it goes on. */
void learning_charge_first(struct launch *launch, CUcontext context, CUstream stream, bool limited);

/* Until the cost is known; or, after a while, until the guess can be afforded. */
void learning_await(struct launch *launch, CUcontext context);

/* One of those that come before it is known. */
void learning_charge_guess(struct launch *launch, CUcontext context, CUstream stream, int64_t guess);

#endif
