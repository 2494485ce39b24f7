/* Giving work to streams, and waiting for it. */
#ifndef UNIGPU_SIM_QUEUE_H
#define UNIGPU_SIM_QUEUE_H

#include "simulator/cuda/stream/stream.h"

/* Runs, queues or captures the work. */
CUresult stream_submit(CUstream stream, const op *work);
/* Whether everything that the stream was given is complete. */
bool stream_idle(CUstream stream);
/* Waits for everything that the stream has been given so far. */
void stream_wait(CUstream stream);

#endif
