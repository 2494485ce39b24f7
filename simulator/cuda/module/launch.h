/* Kernels as work. */
#ifndef UNIGPU_SIM_LAUNCH_H
#define UNIGPU_SIM_LAUNCH_H

#include "simulator/cuda/core/op.h"
#include "simulator/cuda/core/resource.h"
#include "simulator/cuda/module/symbols.h"

/* Fills in function, lanes, duration and parameters of a kernel's work, checked; it may use that part of the GPU. */
CUresult kernel_work(const CUDA_KERNEL_NODE_PARAMS *wanted, CUcontext current, gpu_part part, op *work);
/* Copies a kernel's parameter values; NULL when it has none. The caller frees them. */
void *kernel_parameters(CUfunction function, void **parameters, void **extra);
int kernel_blocks_per_multiprocessor(CUfunction function, int threads, size_t shared);

#endif
