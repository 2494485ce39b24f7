/* Physical memory, as virtual ranges map it. */
#ifndef UNIGPU_SIM_PHYSICAL_H
#define UNIGPU_SIM_PHYSICAL_H

#include "simulator/cuda/driver.h"

#define GRANULE (2 * MIB)

/* Handles are the addresses of these; a mapping holds its memory as a handle does. */
typedef struct physical {
    object object;
    device *device; /* NULL: the host's */
    size_t bytes;
    uint64_t charged;
    int file;
    unsigned holders;
    CUmemAllocationProp properties;
} physical;

/* What a handle means, or NULL. */
physical *physical_of(CUmemGenericAllocationHandle handle);
void physical_hold(physical *memory);
/* The last one to hold the memory gives it back. */
void physical_drop(physical *memory);

#endif
