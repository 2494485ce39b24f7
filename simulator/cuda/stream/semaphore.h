#ifndef UNIGPU_SIM_SEMAPHORE_H
#define UNIGPU_SIM_SEMAPHORE_H

#include "simulator/cuda/core/op.h"

/* Does what the work says to its semaphore; a wait lasts until another API, process or stream has signalled it. */
void semaphore_run(const op *work);

#endif
