/* Parts of a GPU's multiprocessors and queues, from which green contexts are made. */
#ifndef UNIGPU_SIM_RESOURCE_H
#define UNIGPU_SIM_RESOURCE_H

#include "simulator/cuda/core/driver.h"

/* A part of a GPU; zeros: all of it. */
typedef struct gpu_part {
    unsigned multiprocessors;
    unsigned lanes; /* a bit for each */
} gpu_part;

/* What cuDevResourceGenerateDesc makes; it is never freed. */
struct CUdevResourceDesc_st {
    object object;
    int ordinal;
    CUdevResource multiprocessors;
    CUdevResource queues;
};

/* Fills in what a device, or a context with `multiprocessors` of it, has. */
CUresult resource_query(int ordinal, unsigned multiprocessors, CUdevResourceType type, CUdevResource *resource);

#endif
