/* Running work that has reached the front of its stream. */
#ifndef UNIGPU_SIM_RUN_H
#define UNIGPU_SIM_RUN_H

#include "simulator/cuda/stream/stream.h"

/* Runs the work at the stream's time but not before it was submitted. Host functions are called here and now; kernels are
 * waited for until they are booked. */
void stream_run(CUstream stream, const op *work, uint64_t submitted_ns);
/* Books as much of a kernel as goes at once, as submitted now; leaves the rest in `rest`, or returns true. */
bool kernel_begin(CUstream stream, const op *work, op *rest);
/* Books all of a kernel that may start then, waiting for the GPU; returns when it ends. */
uint64_t kernel_run(device *card, const op *work, uint64_t ready_ns);
/* When work may start that is submitted now. */
/* How long the smallest things take on this machine. */
static inline const sim_latencies *latencies(void) {
    return &sim_driver.machine->state->latencies;
}

/* When the host can see what happened on the GPU at that time. */
static inline uint64_t noticed(uint64_t at_ns) {
    return at_ns + latencies()->notice_ns;
}

uint64_t stream_start(CUstream stream);
void sleep_until(uint64_t at_ns);
/* The same, but no longer than the context has its GPU. */
void context_sleep(CUcontext context, uint64_t at_ns);

#endif
