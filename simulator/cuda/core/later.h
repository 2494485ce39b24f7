/* Prototypes of the entry points in later.def. */
#ifndef UNIGPU_SIM_LATER_H
#define UNIGPU_SIM_LATER_H

#include "simulator/cuda/core/check.h"

#pragma GCC visibility push(default)
#define CUDA_LATER(plain, since, symbol, parameters) CUresult symbol parameters;
#include "simulator/cuda/core/later.def"
#undef CUDA_LATER
#pragma GCC visibility pop

#endif
