#ifndef UNIGPU_SIM_IPC_H
#define UNIGPU_SIM_IPC_H

#include "simulator/cuda/core/context.h"

/* Whether the address is memory out of an imported pool. */
bool ipc_is_pooled(CUdeviceptr pointer);
/* Closes such memory. */
CUresult ipc_free(CUdeviceptr pointer);
/* Maps all of a memory file, for memory that is freed like memory of a pool; `offset` into it is where the pointer starts. */
CUresult ipc_map(int file, size_t offset, CUdeviceptr *pointer);

#endif
