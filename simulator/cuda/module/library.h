#ifndef UNIGPU_SIM_LIBRARY_H
#define UNIGPU_SIM_LIBRARY_H

#include "simulator/cuda/module/symbols.h"

/* A library's kernel in a context, loaded there when first requested; NULL if that fails. */
CUfunction kernel_in(CUkernel kernel, CUcontext context);

#endif
