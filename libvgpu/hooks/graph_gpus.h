/* On which GPUs the kernels of a graph run. */
#ifndef UNIGPU_HOOKS_GRAPH_GPUS_H
#define UNIGPU_HOOKS_GRAPH_GPUS_H

#include "libvgpu/driver/driver.h"

/* Notes the parts of an executable graph, where several GPUs have a part. */
void graph_gpus_note(CUgraphExec graph_exec, CUgraph graph);

#endif
