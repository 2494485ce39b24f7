#ifndef UNIGPU_SIM_ELF_H
#define UNIGPU_SIM_ELF_H

#include "simulator/cuda/module/symbols.h"

/* Reads kernels and globals out of an ELF image into the module. */
CUresult elf_read(CUmodule module, const void *image);

#endif
