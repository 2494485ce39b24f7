/* Limits of control groups on a GPU's memory: drivers of branch 615 and later. */
#include <stdlib.h>
#include <unistd.h>

#include "simulator/nvml/library.h"

enum { FIRST_BRANCH = 615 };

static nvmlReturn_t check(nvmlDevice_t device, const void *limits, const char *group) {
    NEED_DEVICE(device, limits);
    NEED(group, NVML_ERROR_INVALID_ARGUMENT);
    NEED(driver_branch() >= FIRST_BRANCH, NVML_ERROR_NOT_SUPPORTED);
    NEED(!device->card->settings.mig, NVML_ERROR_NOT_SUPPORTED);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceSetMemoryLimits_v1(nvmlDevice_t device, nvmlSetMemoryLimits_v1_t *limits) {
    nvmlReturn_t checked = check(device, limits, limits ? limits->group : NULL);
    NEED(checked == NVML_SUCCESS, checked);
    NEED(geteuid() == 0, NVML_ERROR_NO_PERMISSION);
    unsigned long long total = device->card->total_memory;
    NEED(limits->soft <= limits->hard && limits->soft <= total, NVML_ERROR_INVALID_ARGUMENT);
    NEED(limits->hard <= total || limits->hard == SIM_UNLIMITED, NVML_ERROR_INVALID_ARGUMENT);
    switch (sim_limit_set(nvml.machine, device->gpu, limits->group, limits->soft, limits->hard)) {
    case SIM_OK: return NVML_SUCCESS;
    case SIM_NO_GROUP: return NVML_ERROR_OPERATING_SYSTEM;
    default: return NVML_ERROR_INSUFFICIENT_RESOURCES;
    }
}

nvmlReturn_t nvmlDeviceGetMemoryLimits_v1(nvmlDevice_t device, nvmlGetMemoryLimits_v1_t *limits) {
    nvmlReturn_t checked = check(device, limits, limits ? limits->group : NULL);
    NEED(checked == NVML_SUCCESS, checked);
    sim_limit found;
    uint64_t used;
    switch (sim_limit_get(nvml.machine, device->gpu, limits->group, &found, &used)) {
    case SIM_OK: break;
    case SIM_NO_GROUP: return NVML_ERROR_OPERATING_SYSTEM;
    default: return NVML_ERROR_NOT_FOUND;
    }
    limits->soft = found.soft;
    limits->hard = found.hard;
    limits->used = used;
    return NVML_SUCCESS;
}
