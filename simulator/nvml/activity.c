/* Utilisation per process, and values that are queried by field number. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simulator/nvml/library.h"

static unsigned long long wall_us(void) {
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
    NEED(counter <= 1, NVML_ERROR_INVALID_ARGUMENT);
    *kilobytes = 0; /* copies are made by the processor here: nothing crosses the bus */
    return NVML_SUCCESS;
}

/* ---- Fields: figures by number, those that the tools ask. */

enum {
    FIELD_ECC_CURRENT = 1,
    FIELD_MEMORY_TEMPERATURE = 82,
    FIELD_ENERGY = 83,
    FIELD_LINK_COUNT = 91,
    FIELD_LINK_ERRORS_FIRST = 32, /* to 59: four kinds, each of links 0 to 5 and in all */
    FIELD_LINK_ERRORS_LAST = 59,
    FIELD_LINK_ERRORS_SIXTH = 96, /* to 119: the same of links 6 to 11 */
    FIELD_LINK_ERRORS_ELEVENTH = 119,
    FIELD_LINK_SPEED_FIRST = 84, /* to 89: of links 0 to 5 */
    FIELD_LINK_SPEED_COMMON = 90,
    FIELD_LINK_SPEED_SIXTH = 132, /* to 137: of links 6 to 11 */
    FIELD_LINK_SPEED = 164,       /* of the link that the scope names, as the next two */
    FIELD_LINK_STATE = 165,
    FIELD_LINK_VERSION = 166,
    FIELD_POWER_AVERAGE = 185,
    FIELD_POWER_INSTANT = 186,
    FIELD_RECOVERY_ACTION = 230,
    FIRST_BRANCH_WITH_RECOVERY = 570,
};

/* MB/s of a link that leads somewhere. */
static nvmlReturn_t link_speed(nvmlDevice_t device, unsigned link, unsigned *speed) {
    nvmlEnableState_t active;
    unsigned version;
    nvmlReturn_t result = nvmlDeviceGetNvLinkState(device, link, &active);
    NEED(result == NVML_SUCCESS, result);
    NEED(active == NVML_FEATURE_ENABLED, NVML_ERROR_NOT_SUPPORTED);
    nvmlDeviceGetNvLinkVersion(device, link, &version);
    *speed = version >= 4 ? 26562 : 25781;
    return NVML_SUCCESS;
}

/* What heals the GPU. */
static nvmlReturn_t recovery_action(nvmlDevice_t device, unsigned *action) {
    enum { NONE = 0, RESET = 1 };
    NEED(atoi(nvml.machine->state->driver_version) >= FIRST_BRANCH_WITH_RECOVERY, NVML_ERROR_NOT_SUPPORTED);
    *action = sim_gpu_usable(device->card) ? NONE : RESET;
    return NVML_SUCCESS;
}

/* The link that a field's number is about, of those that count errors or tell a speed; -1: none. */
static int link_of(unsigned field) {
    enum { LOW_LINKS = 6 };
    if (field >= FIELD_LINK_ERRORS_FIRST && field <= FIELD_LINK_ERRORS_LAST) {
        unsigned place = (field - FIELD_LINK_ERRORS_FIRST) % (LOW_LINKS + 1);
        return place == LOW_LINKS ? 0 : (int)place;
    }
    if (field >= FIELD_LINK_ERRORS_SIXTH && field <= FIELD_LINK_ERRORS_ELEVENTH) {
        return (int)((field - FIELD_LINK_ERRORS_SIXTH) % LOW_LINKS) + LOW_LINKS;
    }
    if (field >= FIELD_LINK_SPEED_FIRST && field < FIELD_LINK_SPEED_COMMON) {
        return (int)(field - FIELD_LINK_SPEED_FIRST);
    }
    bool high = field >= FIELD_LINK_SPEED_SIXTH && field < FIELD_LINK_SPEED_SIXTH + LOW_LINKS;
    return high ? (int)(field - FIELD_LINK_SPEED_SIXTH) + LOW_LINKS : -1;
}

static void read_field(nvmlDevice_t device, nvmlFieldValue_t *field) {
    unsigned number = 0;
    nvmlEnableState_t pending;
    field->value_type = NVML_VALUE_UNSIGNED_INT;
    switch (field->field) {
    case FIELD_ECC_CURRENT: field->status = nvmlDeviceGetEccMode(device, &number, &pending); break;
    case FIELD_POWER_AVERAGE:
    case FIELD_POWER_INSTANT: field->status = nvmlDeviceGetPowerUsage(device, &number); break;
    case FIELD_LINK_COUNT:
        while (nvmlDeviceGetNvLinkState(device, number, &pending) == NVML_SUCCESS) {
            number++;
        }
        field->status = number ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
        break;
    case FIELD_LINK_SPEED_COMMON: field->status = link_speed(device, 0, &number); break;
    case FIELD_LINK_SPEED: field->status = link_speed(device, field->scope, &number); break;
    case FIELD_LINK_STATE:
        field->status = nvmlDeviceGetNvLinkState(device, field->scope, &pending);
        number = field->status == NVML_SUCCESS && pending == NVML_FEATURE_ENABLED;
        break;
    case FIELD_LINK_VERSION: field->status = nvmlDeviceGetNvLinkVersion(device, field->scope, &number); break;
    case FIELD_RECOVERY_ACTION: field->status = recovery_action(device, &number); break;
    case FIELD_ENERGY:
        field->value_type = NVML_VALUE_UNSIGNED_LONG_LONG;
        field->status = nvmlDeviceGetTotalEnergyConsumption(device, &field->value.ull);
        return;
    default:
        field->status = NVML_ERROR_NOT_SUPPORTED;
        if (link_of(field->field) >= 0) {
            bool speed = field->field >= FIELD_LINK_SPEED_FIRST && field->field < FIELD_LINK_SPEED_COMMON;
            speed = speed || field->field >= FIELD_LINK_SPEED_SIXTH;
            field->status = link_speed(device, (unsigned)link_of(field->field), &number);
            number = speed ? number : 0; /* no link ever fails */
        }
        break;
    }
    field->value.ull = number;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
    NEED_DEVICE(device, values);
    NEED(count > 0, NVML_ERROR_INVALID_ARGUMENT);
    for (int i = 0; i < count; i++) {
        values[i].time_us = (long long)wall_us();
        values[i].latency_us = 0;
        read_field(device, &values[i]);
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetTopologyGpuSet(unsigned int cpu, unsigned int *count, nvmlDevice_t *devices) {
    (void)cpu; /* every processor is near every GPU */
    NEED_LIBRARY();
    NEED(count, NVML_ERROR_INVALID_ARGUMENT);
    for (unsigned i = 0; devices && i < nvml.count && i < *count; i++) {
        devices[i] = &nvml.devices[i];
    }
    *count = nvml.count;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t *list) {
    enum { COMPUTE = 0, GRAPHICS = 1, MPS = 2 };
    NEED_DEVICE(device, list);
    NEED(list->version == NVML_VERSION(*list, 1), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    NEED(list->mode <= MPS, NVML_ERROR_INVALID_ARGUMENT);
    unsigned room = list->processes ? list->count : 0;
    room = room < SIM_MAX_PROCESSES ? room : SIM_MAX_PROCESSES;
    nvmlProcessInfo_t *found = calloc(room + 1, sizeof *found);
    NEED(found, NVML_ERROR_MEMORY);
    unsigned count = room;
    nvmlReturn_t result = NVML_SUCCESS;
    if (list->mode == COMPUTE) {
        result = nvmlDeviceGetComputeRunningProcesses_v3(device, &count, found);
    } else {
        count = 0;
    }
    list->count = count;
    for (unsigned i = 0; i < count && i < room; i++) {
        list->processes[i] =
            (nvmlProcessDetail_v1_t){found[i].pid, found[i].used, NVML_NO_INSTANCE, NVML_NO_INSTANCE, 0};
    }
    free(found);
    return result;
}
