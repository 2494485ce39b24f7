#ifndef UNIGPU_SIM_MODULE_H
#define UNIGPU_SIM_MODULE_H

#include "simulator/cuda/module/symbols.h"

/* Loads a module into the context, from an image of any form. NULL: reads only what the image says. */
CUresult module_load(CUcontext context, const void *image, CUmodule *module);

#endif
