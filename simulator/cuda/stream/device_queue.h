/* The kernels of this process that wait until the GPU lets it book more. */
#ifndef UNIGPU_SIM_DEVICE_QUEUE_H
#define UNIGPU_SIM_DEVICE_QUEUE_H

#include "simulator/cuda/core/driver.h"

typedef struct waiter waiter;

/* A place in the queue for a job that was ready then; it is booked from now on. NULL: out of memory. */
waiter *device_queue_join(device *card, sim_job job, uint64_t since_ns);
/* Waits until all of the job is booked, and gives the place up; returns when the job ends. */
uint64_t device_queue_await(device *card, waiter *own);
/* Gives the place up at once. */
void device_queue_leave(device *card, waiter *own);
/* Books all of a job, at once or by a place in the queue; returns when it ends. */
uint64_t device_queue_book(device *card, sim_job job, uint64_t since_ns);
/* Whether jobs of this process wait. */
bool device_queue_is_contended(const device *card);
/* Tells other processes, for each device whose queue is empty, that this one stays idle for a while. */
void device_queue_rest(void);

#endif
