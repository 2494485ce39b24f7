/* Utilisation per process, samples and energy. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simulator/nvml/library.h"

unsigned long long wall_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (unsigned long long)now.tv_sec * 1000000U + (unsigned long long)now.tv_nsec / 1000;
}

/* Visits the processes with a context on the GPU that this reader can see. */
static unsigned visit(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples, unsigned room) {
    sim_state *state = nvml.machine->state;
    sim_process_reap(nvml.machine);
    unsigned found = 0;
    uint32_t high = __atomic_load_n(&state->process_high, __ATOMIC_ACQUIRE);
    for (uint32_t slot = 0; slot < high; slot++) {
        if (!state->processes[slot].use[device->gpu].context_count) {
            continue;
        }
        pid_t pid = sim_process_pid(nvml.machine, (int)slot);
        if (pid <= 0) {
            continue;
        }
        if (found < room) {
            unsigned percent = (unsigned)(sim_process_load(nvml.machine, (int)slot, device->gpu) * 100 + 0.5);
            samples[found] = (nvmlProcessUtilizationSample_t){
                .pid = (unsigned)pid, .time_us = wall_us(), .sm = percent, .memory = percent / 2};
        }
        found++;
    }
    return found;
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples,
                                             unsigned int *count, unsigned long long since_us) {
    NEED_DEVICE(device, count);
    NEED(!device->card->settings.mig, NVML_ERROR_NOT_SUPPORTED);
    NEED(since_us <= wall_us(), NVML_ERROR_NOT_FOUND);
    unsigned room = samples ? *count : 0;
    *count = visit(device, samples, room);
    NEED(*count, NVML_ERROR_NOT_FOUND);
    return *count <= room ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device, nvmlProcessesUtilizationInfo_v1_t *info) {
    NEED_DEVICE(device, info);
    NEED(info->version == NVML_VERSION(*info, 1), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    unsigned room = info->processes ? info->count : 0;
    room = room < SIM_MAX_PROCESSES ? room : SIM_MAX_PROCESSES;
    nvmlProcessUtilizationSample_t *samples = calloc(room + 1, sizeof *samples);
    NEED(samples, NVML_ERROR_MEMORY);
    info->count = visit(device, samples, room);
    for (unsigned i = 0; i < info->count && info->count <= room; i++) {
        info->processes[i] = (nvmlProcessUtilizationInfo_v1_t){
            .time_us = samples[i].time_us, .pid = samples[i].pid, .sm = samples[i].sm, .memory = samples[i].memory};
    }
    free(samples);
    return info->count <= room ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, nvmlSamplingType_t type, unsigned long long since_us,
                                  nvmlValueType_t *value_type, unsigned int *count, nvmlSample_t *samples) {
    NEED_DEVICE(device, count);
    NEED(value_type, NVML_ERROR_INVALID_ARGUMENT);
    NEED(since_us <= wall_us(), NVML_ERROR_NOT_FOUND);
    *value_type = NVML_VALUE_UNSIGNED_INT;
    if (!samples) {
        *count = 1;
        return NVML_SUCCESS;
    }
    NEED(*count, NVML_ERROR_INSUFFICIENT_SIZE);
    nvmlUtilization_t rates;
    unsigned value = 0;
    switch (type) {
    case NVML_TOTAL_POWER_SAMPLES: nvmlDeviceGetPowerUsage(device, &value); break;
    case NVML_GPU_UTILIZATION_SAMPLES:
    case NVML_MEMORY_UTILIZATION_SAMPLES:
        nvmlDeviceGetUtilizationRates(device, &rates);
        value = type == NVML_GPU_UTILIZATION_SAMPLES ? rates.gpu : rates.memory;
        break;
    default: return NVML_ERROR_NOT_SUPPORTED;
    }
    *count = 1;
    samples[0] = (nvmlSample_t){wall_us(), {.ui = value}};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *millijoules) {
    NEED_DEVICE(device, millijoules);
    const sim_profile *profile = device->profile;
    double busy = sim_busy_seconds(nvml.machine, device->gpu);
    double age = (double)(sim_now_ns() - device->card->created_ns) / 1e9;
    double idle = age > busy ? age - busy : 0;
    *millijoules = (unsigned long long)(1000 * (busy * profile->power_w * 0.9 + idle * profile->idle_w));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, unsigned int counter, unsigned int *kilobytes) {
    NEED_DEVICE(device, kilobytes);
    NEED(counter <= 2, NVML_ERROR_INVALID_ARGUMENT); /* sent, received, and the number of counters */
    *kilobytes = 0; /* copies are made by the processor here: nothing crosses the bus */
    return NVML_SUCCESS;
}
