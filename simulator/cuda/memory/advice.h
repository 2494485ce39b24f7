/* What programs said of ranges of managed memory: it has no effect here, and they can ask for it. */
#ifndef UNIGPU_SIM_ADVICE_H
#define UNIGPU_SIM_ADVICE_H

#include "simulator/cuda/core/check.h"

typedef struct advice {
    bool read_mostly;
    CUmemLocation preferred; /* of type INVALID: nothing was said */
    CUmemLocation prefetched;
    uint32_t accessed_by; /* a bit for each device, by ordinal */
    bool accessed_by_host;
} advice;

/* Changes what is known of a range. */
CUresult advice_change(CUdeviceptr start, size_t bytes, void (*change)(advice *known, const void *how),
                       const void *how);
/* Calls `look` for what is known of each part of the range. */
void advice_look(CUdeviceptr start, size_t bytes, void (*look)(const advice *known, void *into), void *into);
/* Forgets what was said of memory that is freed. */
void advice_forget(CUdeviceptr start, size_t bytes);

#endif
