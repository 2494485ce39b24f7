#ifndef UNIGPU_SIM_HEAP_SHARE_H
#define UNIGPU_SIM_HEAP_SHARE_H

#include "simulator/cuda/core/driver.h"

/* Moves the block around the pointer into a memory file; returns the file and the pointer's offset in it. */
CUresult heap_share(CUdeviceptr pointer, int *file, size_t *offset);

#endif
