/* The driver as this process has initialised it, and the devices that it sees. */
#ifndef UNIGPU_SIM_DRIVER_H
#define UNIGPU_SIM_DRIVER_H

#include <pthread.h>

#include "simulator/cuda/core/object.h"
#include "simulator/state/state.h"

/* A GPU, as this process numbers it. */
typedef struct device {
    uint32_t gpu; /* the machine's number */
    sim_gpu *card;
    const sim_profile *profile;
    pthread_mutex_t lock;
    CUcontext primary;
    unsigned primary_refs;
    unsigned primary_flags;
    /* Memory of graphs: what their allocations hold now, and with it what is kept for the next ones. */
    pthread_mutex_t graph_lock;
    uint64_t graph_used, graph_used_high, graph_reserved, graph_reserved_high;
    /* For stream/device_queue.c: */
    pthread_mutex_t queue_lock; /* guards the kernels that wait to be booked */
    struct waiter *waiters;
    unsigned waiting;
    bool watched; /* one of their threads watches the clock */
    bool asking;  /* the GPU's shared state says that some wait */
} device;

typedef struct driver {
    sim_machine *machine;
    int device_count;
    device devices[SIM_MAX_GPUS];
} driver;

extern driver sim_driver;

/* CUDA_SUCCESS once cuInit has succeeded in this process image; a forked child never recovers, as with the real driver. */
CUresult driver_ready(void);
/* Whether the GPU takes part in multicast objects: it has instructions for them, and a switch joins it with others. */
bool device_spreads(const device *card);
/* The device with this ordinal, or NULL. */
device *device_at(CUdevice ordinal);

#define NEED_DRIVER()                     \
    do {                                  \
        CUresult ready_ = driver_ready(); \
        if (ready_ != CUDA_SUCCESS) {     \
            return ready_;                \
        }                                 \
    } while (0)

#define NEED_DEVICE(name, ordinal)             \
    __attribute__((unused)) device *name;      \
    do {                                       \
        NEED_DRIVER();                         \
        name = device_at(ordinal);             \
        NEED(name, CUDA_ERROR_INVALID_DEVICE); \
    } while (0)

#endif
