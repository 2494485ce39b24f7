/* What a driver call costs this process on a card, as NVML tells it: for memory whose size no argument says. */
#ifndef UNIGPU_MEASURE_H
#define UNIGPU_MEASURE_H

#include "cards.h"

#define MEASURE_PROCESSES 256

struct measure {
    nvmlDevice_t nvml;
    unsigned long long device_used;
    unsigned count;
    nvmlProcessInfo_t before[MEASURE_PROCESSES];
};

/* Before the call. */
void measure_begin(struct measure *measure, int card);

/* After it: bytes that this process has more than before; `most` where that can't be told. */
uint64_t measure_end(const struct measure *measure, uint64_t most);

#endif
