/* Giving work to streams, and waiting for it. */
#ifndef UNIGPU_SIM_QUEUE_H
#define UNIGPU_SIM_QUEUE_H

#include "simulator/cuda/stream/fence.h"
#include "simulator/cuda/stream/stream.h"

/* Runs, queues or captures the work. */
CUresult stream_submit(CUstream stream, const op *work);
/* A point after everything that the stream was given so far; NULL: out of memory. */
fence *stream_mark(CUstream stream);
/* Lets the stream's next work wait for a point, which it takes over. */
CUresult stream_await(CUstream stream, fence *point);
/* Whether everything that the stream was given is complete. */
bool stream_idle(CUstream stream);
/* Waits for everything that the stream has been given so far. */
void stream_wait(CUstream stream);

#endif
