#ifndef UNIGPU_SIM_REUSE_H
#define UNIGPU_SIM_REUSE_H

#include "simulator/cuda/graph/graph.h"

/* Chooses the addresses of an allocation that comes after `needs`: those of an earlier allocation of the graph which is
 * certainly freed by then, or new ones. Adds a reference to them and stores them in `wanted`. */
CUresult graph_memory(CUgraph graph, CUcontext context, const CUgraphNode *needs, size_t need_count,
                      CUDA_MEM_ALLOC_NODE_PARAMS *wanted);

#endif
