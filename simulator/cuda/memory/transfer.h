/* Copies and memsets as operations. */
#ifndef UNIGPU_SIM_TRANSFER_H
#define UNIGPU_SIM_TRANSFER_H

#include "simulator/cuda/core/op.h"

/* Checks the handles and bounds of a copy or memset. */
CUresult transfer_check(const op *checked);
/* Copies or sets the bytes. Leaves memory alone that was freed in the meantime. */
void transfer_run(const op *work);

#endif
