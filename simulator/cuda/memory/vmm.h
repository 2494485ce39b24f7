#ifndef UNIGPU_SIM_VMM_H
#define UNIGPU_SIM_VMM_H

#include "simulator/cuda/memory/extent.h"

/* Finds the accessible mappings around an address, joined to one extent. */
bool mapped_find(CUdeviceptr address, extent *found);
/* Whether the address lies in a reserved range, accessible or not. */
bool reserved_owns(CUdeviceptr address);

#endif
