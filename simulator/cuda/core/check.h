/* Preconditions: macros that return a driver error from the calling function. */
#ifndef UNIGPU_SIM_CHECK_H
#define UNIGPU_SIM_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi/cuda.h"

#define MIB ((size_t)1 << 20)
#define ROUND_UP(value, step) (((value) + (step) - 1) / (step) * (step))

#define NEED(condition, error) \
    do {                       \
        if (!(condition)) {    \
            return (error);    \
        }                      \
    } while (0)

#define NEED_OK(call)                  \
    do {                               \
        CUresult status_ = (call);     \
        if (status_ != CUDA_SUCCESS) { \
            return status_;            \
        }                              \
    } while (0)

#endif
