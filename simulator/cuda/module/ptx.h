#ifndef UNIGPU_SIM_PTX_H
#define UNIGPU_SIM_PTX_H

#include "simulator/cuda/module/symbols.h"

/* Reads kernels and globals out of a PTX text into the module. */
CUresult ptx_read(CUmodule module, const char *text);

#endif
