/* Signals of semaphores of other APIs, and waits for them. */
#ifndef UNIGPU_SIM_SEMAPHORE_H
#define UNIGPU_SIM_SEMAPHORE_H

#include "simulator/cuda/core/op.h"

/* Does what the work says to its semaphore; a wait lasts until another API, process or stream has signalled it. */
void semaphore_run(const op *work);

/* The semaphores of a graph's node, each with its parameters; those of waits have the same form as those of signals. */
typedef struct semaphore_list {
    unsigned count;
    CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *params;
    CUexternalSemaphore semaphores[];
} semaphore_list;

/* Copies the arrays into a list, to be freed; CUDA_ERROR_INVALID_HANDLE: one is no semaphore. */
CUresult semaphore_list_new(const CUexternalSemaphore *semaphores, const void *params, unsigned count,
                            semaphore_list **made);

#endif
