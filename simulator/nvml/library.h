/* Internals of the simulated NVML: its devices, and the checks at the start of every entry point. */
#ifndef UNIGPU_SIM_NVML_H
#define UNIGPU_SIM_NVML_H

#include "abi/nvml.h"
#include "simulator/state/instances.h"
#include "simulator/state/state.h"

struct nvmlDevice_st {
    uint32_t gpu;   /* the machine's number, also the device node's */
    uint32_t
        index; /* NVML's number: the place among the GPUs visible here; of a MIG instance, its place in the table */
    sim_gpu *card;
    const sim_profile *profile;
};

struct nvmlGpuInstance_st {
    nvmlDevice_t device;
    unsigned id;
};

typedef struct library {
    sim_machine *machine;
    unsigned refs;
    unsigned count;
    struct nvmlDevice_st devices[SIM_MAX_GPUS];
    struct nvmlDevice_st instances[SIM_MAX_GPUS][SIM_PARTS * SIM_INSTANCES]; /* MIG devices, by their numbers */
} library;

extern library nvml;

/* Return NVML_SUCCESS for a live device of this library. */
nvmlReturn_t device_check(nvmlDevice_t device);
/* Whether a handle is that of a MIG instance, and what it has. */
bool is_instance(nvmlDevice_t device, sim_instance *found);
nvmlReturn_t instance_name(nvmlDevice_t instance, const sim_instance *of, char *name, unsigned length);
nvmlReturn_t instance_uuid(nvmlDevice_t instance, char *uuid, unsigned length);
/* Its place among the GPU's MIG devices. */
nvmlReturn_t instance_index(nvmlDevice_t instance, const sim_instance *of, unsigned *index);
nvmlReturn_t instance_by_uuid(const char *uuid, nvmlDevice_t *instance);
/* The kind of a GPU instance; NULL: the handle is none of one that there is. */
const sim_mig_kind *part_check(nvmlGpuInstance_t instance);
/* The name of a kind of GPU instances, or of compute instances of so many slices in one: "MIG 1c.3g.20gb". */
void part_name(nvmlDevice_t device, const sim_mig_kind *kind, unsigned slices, char name[96]);
/* The time of day in microseconds. */
unsigned long long wall_us(void);
/* Branch of the driver: 535, 550, … */
int driver_branch(void);
/* Whether any process has a context on the GPU. */
bool device_in_use(nvmlDevice_t device);
/* Whether only a reset makes the GPU usable; whether one is due as soon as its programs have ended. */
bool reset_needed(nvmlDevice_t device);
bool reset_advised(nvmlDevice_t device);
/* Degrees from a threshold, or from the GPU's temperature, to the highest at which it works. */
nvmlReturn_t margin_of_threshold(nvmlDevice_t device, unsigned threshold, int *celsius);
nvmlReturn_t margin_now(nvmlDevice_t device, int *celsius);
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
