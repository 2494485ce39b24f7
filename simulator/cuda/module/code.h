/* Memory of code. A context's own cost has room for the code of small programs; what goes beyond that is taken in steps. */
#ifndef UNIGPU_SIM_CODE_H
#define UNIGPU_SIM_CODE_H

#include "simulator/cuda/module/symbols.h"

/* Whether a kernel's code is loaded when the kernel is first needed, and not with its module. */
bool code_is_lazy(void);
/* Loads a kernel's code into its module's context, unless it is there. */
CUresult code_load(CUfunction function);
/* Loads the code of all kernels of a module that was just loaded, unless loading is lazy. */
CUresult code_load_module(CUmodule module);
/* Gives back the memory of a module's code. */
void code_unload_module(CUmodule module);

#endif
