/* A capture as streams see it. Graphs lie above streams, so a capture brings the functions that streams call. */
#ifndef UNIGPU_SIM_RECORDER_H
#define UNIGPU_SIM_RECORDER_H

#include "simulator/cuda/core/capture_guard.h"
#include "simulator/cuda/core/op.h"

typedef struct recorder recorder;

typedef struct recorder_ops {
    /* Adds work of a stream in the capture. */
    CUresult (*add)(recorder *in, CUstream stream, const op *work);
    /* Takes out a stream that ends. */
    void (*leave)(recorder *in, CUstream stream);
    /* Records an event in a stream in the capture. */
    CUresult (*record)(recorder *in, CUstream stream, CUevent event);
    /* Lets a stream, in the capture or not, wait for an event that was recorded in it. */
    CUresult (*wait)(recorder *in, CUstream stream, CUevent event);
} recorder_ops;

struct recorder {
    capture_guard guard; /* first: the guard of a capture is the capture */
    const recorder_ops *ops;
};

/* The active capture with this id, or NULL. */
static inline recorder *recorder_find(uint64_t id) {
    return (recorder *)capture_guard_find(id);
}

#endif
