/* The CUDA driver API as far as this project speaks it: types here, entry points in symbols.def. */
#ifndef UNIGPU_ABI_CUDA_H
#define UNIGPU_ABI_CUDA_H

#include "cuda_launches.h"
#include "cuda_types.h"

typedef enum CUresult {
#define CUDA_ERROR_ROW(name, number, text) name = number,
#include "cuda_errors.def"
#undef CUDA_ERROR_ROW
} CUresult;

typedef void (*CUstreamCallback)(CUstream stream, CUresult status, void *user_data);

_Static_assert(sizeof(CUresult) == 4, "enums are int-sized");
_Static_assert(sizeof(CUmemAllocationProp) == 32, "CUmemAllocationProp");
_Static_assert(sizeof(CUmemPoolProps) == 88, "CUmemPoolProps");
_Static_assert(sizeof(CUDA_MEMCPY2D) == 128, "CUDA_MEMCPY2D");
_Static_assert(sizeof(CUDA_MEMCPY3D) == 200, "CUDA_MEMCPY3D");
_Static_assert(sizeof(CUDA_MEMCPY3D_PEER) == 200, "CUDA_MEMCPY3D_PEER");
_Static_assert(sizeof(CUlaunchAttribute) == 72, "CUlaunchAttribute");
_Static_assert(sizeof(CUlaunchConfig) == 56, "CUlaunchConfig");
_Static_assert(sizeof(CUgraphNodeParams) == 256, "CUgraphNodeParams");
_Static_assert(sizeof(CUDA_MEM_ALLOC_NODE_PARAMS) == 120, "CUDA_MEM_ALLOC_NODE_PARAMS");
_Static_assert(sizeof(CUstreamBatchMemOpParams) == 48, "CUstreamBatchMemOpParams");
_Static_assert(sizeof(CUDA_RESOURCE_DESC) == 144, "CUDA_RESOURCE_DESC");
_Static_assert(sizeof(CUDA_TEXTURE_DESC) == 104, "CUDA_TEXTURE_DESC");
_Static_assert(sizeof(CUarrayMapInfo) == 96, "CUarrayMapInfo");
_Static_assert(sizeof(CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS) == 144, "CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS");
_Static_assert(sizeof(CUdevResource) == 144, "CUdevResource");
_Static_assert(sizeof(CU_DEV_SM_RESOURCE_GROUP_PARAMS) == 64, "CU_DEV_SM_RESOURCE_GROUP_PARAMS");

/* Prototypes of every entry point, and of its per-thread twin where it has one. */
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) CUresult symbol parameters;
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    CUresult symbol parameters;                                               \
    CUresult symbol##suffix parameters;
#pragma GCC visibility push(default)
#include "symbols.def"
#pragma GCC visibility pop
#undef CUDA_API
#undef CUDA_API_PT

#endif
