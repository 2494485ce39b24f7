/* Internals of the simulated NVML: its devices, and the checks at the start of every entry point. */
#ifndef UNIGPU_SIM_NVML_H
#define UNIGPU_SIM_NVML_H

#include "abi/nvml.h"
#include "simulator/state/state.h"

struct nvmlDevice_st {
    uint32_t gpu;   /* the machine's number, also the device node's */
    uint32_t index; /* NVML's number: the place among the GPUs visible here */
    sim_gpu *card;
    const sim_profile *profile;
};

typedef struct library {
    sim_machine *machine;
    unsigned refs;
    unsigned count;
    struct nvmlDevice_st devices[SIM_MAX_GPUS];
} library;

extern library nvml;

/* Return NVML_SUCCESS for a live device of this library. */
nvmlReturn_t device_check(nvmlDevice_t device);
/* Copies with its end into a caller's buffer. */
nvmlReturn_t give_text(char *target, unsigned length, const char *text);

#define NEED(condition, error) \
    do {                       \
        if (!(condition)) {    \
            return (error);    \
        }                      \
    } while (0)

#define NEED_LIBRARY() NEED(__atomic_load_n(&nvml.refs, __ATOMIC_ACQUIRE), NVML_ERROR_UNINITIALIZED)

/* The library in use, a live GPU, and somewhere to answer. */
#define NEED_DEVICE(device, answer)                          \
    do {                                                     \
        nvmlReturn_t checked_ = device_check(device);        \
        NEED(checked_ == NVML_SUCCESS, checked_);            \
        NEED((answer) != NULL, NVML_ERROR_INVALID_ARGUMENT); \
    } while (0)

#endif
