/* Physical memory, as virtual ranges map it. */
#ifndef UNIGPU_SIM_PHYSICAL_H
#define UNIGPU_SIM_PHYSICAL_H

#include "simulator/cuda/core/driver.h"

#define GRANULE (2 * MIB)

/* Handles are the addresses of these; a mapping holds its memory as a handle does. */
typedef struct physical {
    object object;
    device *device; /* NULL: the host's */
    size_t bytes;
    uint64_t charged;
    int file;
    unsigned refs;
    CUmemAllocationProp properties;
    struct multicast *multicast;     /* NULL: it is memory */
    void (*end)(struct physical *);  /* what goes with it, or NULL */
} physical;

/* The memory that a handle stands for, or NULL. */
physical *physical_of(CUmemGenericAllocationHandle handle);
void physical_ref(physical *memory);
/* The last one to hold the memory gives it back. */
void physical_unref(physical *memory);
/* A file in memory that stands for memory of the device (NULL: the host's); -1: none could be had. */
int memory_file(const device *owner, size_t bytes);
/* Whether a file is such a one, of a GPU that the process sees. */
bool memory_is_gpus(int file);
/* Makes a handle of such a file, and takes possession of the file. */
CUresult memory_import(int file, CUmemGenericAllocationHandle *handle);

#endif
