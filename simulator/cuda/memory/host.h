/* Host memory that the driver knows: allocated by it, or registered. */
#ifndef UNIGPU_SIM_HOST_H
#define UNIGPU_SIM_HOST_H

#include "simulator/cuda/memory/extent.h"

bool host_find(CUdeviceptr pointer, extent *found);
/* Whether [pointer, pointer + bytes) was allocated or registered here. */
bool host_holds(CUdeviceptr pointer, size_t bytes);

#endif
