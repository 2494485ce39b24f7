/* Event sets: waiting for XIDs and memory errors. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simulator/nvml/library.h"

struct nvmlEventSet_st {
    unsigned long long types[SIM_MAX_GPUS]; /* by the machine's number */
    uint64_t seen;                          /* the last event handed out or older than the set */
};

enum { LOOK_EVERY_NS = 5000000 };

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    NEED_LIBRARY();
    NEED(set, NVML_ERROR_INVALID_ARGUMENT);
    nvmlEventSet_t made = calloc(1, sizeof *made);
    NEED(made, NVML_ERROR_MEMORY);
    made->seen = __atomic_load_n(&nvml.machine->state->event_sequence, __ATOMIC_ACQUIRE);
    *set = made;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    NEED_LIBRARY();
    NEED(set, NVML_ERROR_INVALID_ARGUMENT);
    free(set);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types) {
    NEED_DEVICE(device, types);
    *types = NVML_EVENT_XID | NVML_EVENT_PSTATE | NVML_EVENT_CLOCK;
    if (device->profile->ecc) {
        *types |= NVML_EVENT_SINGLE_BIT_ECC | NVML_EVENT_DOUBLE_BIT_ECC;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set) {
    NEED_DEVICE(device, set);
    unsigned long long known;
    nvmlDeviceGetSupportedEventTypes(device, &known);
    NEED(!(types & ~known), NVML_ERROR_NOT_SUPPORTED);
    set->types[device->gpu] |= types;
    return NVML_SUCCESS;
}

/* The oldest event that the set waits for and has not handed out. */
static bool take_event(nvmlEventSet_t set, nvmlEventData_t *data) {
    sim_state *state = nvml.machine->state;
    bool found = false;
    sim_mutex_lock(nvml.machine, &state->lock);
    while (!found && set->seen < state->event_sequence) {
        uint64_t next = set->seen + 1;
        if (next + SIM_MAX_EVENTS <= state->event_sequence) {
            next = state->event_sequence - SIM_MAX_EVENTS + 1; /* the ring has lost the older ones */
        }
        const sim_event *event = &state->events[next % SIM_MAX_EVENTS];
        set->seen = next;
        for (unsigned i = 0; i < nvml.count; i++) {
            if (nvml.devices[i].gpu == event->gpu && set->types[event->gpu] & event->type) {
                *data =
                    (nvmlEventData_t){&nvml.devices[i], event->type, event->data, NVML_NO_INSTANCE, NVML_NO_INSTANCE};
                found = true;
            }
        }
    }
    sim_mutex_unlock(nvml.machine, &state->lock);
    return found;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms) {
    NEED_LIBRARY();
    NEED(set && data, NVML_ERROR_INVALID_ARGUMENT);
    uint64_t until = sim_now_ns() + timeout_ms * 1000000ULL;
    while (!take_event(set, data)) {
        if (sim_now_ns() >= until) {
            memset(data, 0, sizeof *data);
            return NVML_ERROR_TIMEOUT;
        }
        struct timespec pause = {.tv_nsec = LOOK_EVERY_NS};
        nanosleep(&pause, NULL);
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms) {
    return nvmlEventSetWait_v2(set, data, timeout_ms);
}

/* Rows of memory that spare ones replace, or will after a reset. */
bool reset_needed(nvmlDevice_t device) {
    return !sim_gpu_usable(device->card);
}

bool reset_advised(nvmlDevice_t device) {
    return sim_gpu_usable(device->card) && device->card->faults.rows_pending;
}

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *corrected, unsigned int *uncorrected,
                                       unsigned int *pending, unsigned int *failed) {
    enum { AMPERE = 7 };
    NEED_DEVICE(device, corrected);
    NEED(uncorrected && pending && failed, NVML_ERROR_INVALID_ARGUMENT);
    NEED(device->profile->ecc && device->profile->architecture >= AMPERE, NVML_ERROR_NOT_SUPPORTED);
    const sim_faults *faults = &device->card->faults;
    *corrected = faults->rows_corrected;
    *uncorrected = faults->rows_uncorrected;
    *pending = faults->rows_pending;
    *failed = faults->rows_failed;
    return NVML_SUCCESS;
}

/* ---- Memory errors that the GPU corrects, or cannot. */

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *current, nvmlEnableState_t *pending) {
    NEED_DEVICE(device, current);
    NEED(pending, NVML_ERROR_INVALID_ARGUMENT);
    NEED(device->profile->ecc, NVML_ERROR_NOT_SUPPORTED);
    *current = *pending = NVML_FEATURE_ENABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t type, nvmlEccCounterType_t counter,
                                         unsigned long long *count) {
    sim_instance part;
    if (count && is_instance(device, &part)) {
        *count = 0; /* errors are the GPU's: none is in memory of an instance */
        return NVML_SUCCESS;
    }
    NEED_DEVICE(device, count);
    NEED(type <= NVML_MEMORY_ERROR_UNCORRECTED && counter <= NVML_AGGREGATE_ECC, NVML_ERROR_INVALID_ARGUMENT);
    NEED(device->profile->ecc, NVML_ERROR_NOT_SUPPORTED);
    const uint64_t *source =
        type == NVML_MEMORY_ERROR_CORRECTED ? &device->card->ecc_corrected : &device->card->ecc_uncorrected;
    *count = __atomic_load_n(source, __ATOMIC_RELAXED);
    return NVML_SUCCESS;
}

/* Every error of these GPUs is one of device memory. */
nvmlReturn_t nvmlDeviceGetMemoryErrorCounter(nvmlDevice_t device, nvmlMemoryErrorType_t type,
                                             nvmlEccCounterType_t counter, unsigned int location,
                                             unsigned long long *count) {
    enum { DEVICE_MEMORY = 2, LOCATIONS = 7 };
    NEED(location <= LOCATIONS, NVML_ERROR_INVALID_ARGUMENT);
    nvmlReturn_t result = nvmlDeviceGetTotalEccErrors(device, type, counter, count);
    if (result == NVML_SUCCESS && location != DEVICE_MEMORY) {
        *count = 0;
    }
    return result;
}

nvmlReturn_t nvmlDeviceGetDetailedEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t type,
                                            nvmlEccCounterType_t counter, nvmlEccErrorCounts_t *counts) {
    NEED_DEVICE(device, counts);
    unsigned long long total;
    nvmlReturn_t result = nvmlDeviceGetTotalEccErrors(device, type, counter, &total);
    NEED(result == NVML_SUCCESS, result);
    *counts = (nvmlEccErrorCounts_t){.device_memory = total};
    return NVML_SUCCESS;
}
