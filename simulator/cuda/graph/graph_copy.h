#ifndef UNIGPU_SIM_GRAPH_COPY_H
#define UNIGPU_SIM_GRAPH_COPY_H

#include "simulator/cuda/graph/graph.h"

/* Copies a graph; the nodes of the copy know their originals. */
CUresult graph_copy(CUgraph original, CUgraph *copy);

#endif
