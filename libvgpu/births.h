/* What a context costs: taken before the driver makes it, and learned from NVML when the container's first is made. */
#ifndef UNIGPU_BIRTHS_H
#define UNIGPU_BIRTHS_H

#include "claim.h"
#include "measure.h"

struct birth {
    struct claim claim;
    bool measured;
    struct measure measure;
};

/* Takes what a context on the device will cost; false: refused. */
bool birth_begin(struct birth *birth, CUdevice device);

/* Counts what it did cost; false where that can't be had: the context has to go. */
bool birth_measure(struct birth *birth);

#endif
