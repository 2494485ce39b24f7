/* Memory of a GPU and the processes that hold it. Pids are those of the reader's namespace; owners that it cannot
 * see have no pid to show and are left out, while their memory counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulator/nvml/library.h"

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    sim_instance part;
    NEED(memory, NVML_ERROR_INVALID_ARGUMENT);
    NEED(memory->version == NVML_VERSION(*memory, 2), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    if (is_instance(device, &part)) {
        memory->total = memory->free = part.memory << 20;
        memory->reserved = memory->used = 0;
        return NVML_SUCCESS;
    }
    NEED_DEVICE(device, memory);
    const sim_gpu *card = device->card;
    memory->total = card->total_memory;
    memory->reserved = card->reserved_memory;
    memory->free = sim_memory_free_bytes(nvml.machine, device->gpu);
    memory->used = memory->total - memory->reserved - memory->free;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    sim_instance part;
    if (memory && is_instance(device, &part)) {
        *memory = (nvmlMemory_t){.total = part.memory << 20, .free = part.memory << 20};
        return NVML_SUCCESS;
    }
    NEED_DEVICE(device, memory);
    memory->total = device->card->total_memory;
    memory->free = sim_memory_free_bytes(nvml.machine, device->gpu);
    memory->used = memory->total - memory->free; /* the driver's own part included, as the first version has it */
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *memory) {
    sim_instance part;
    if (memory && is_instance(device, &part)) { /* its part of the window is as large as its memory, rounded up */
        memory->total = (part.memory + 1024) / 1024 * 1024 << 20;
        memory->used = 0;
        memory->free = memory->total;
        return NVML_SUCCESS;
    }
    NEED_DEVICE(device, memory);
    /* The window is the next power of two that holds the GPU's memory; consumer boards show 256 MiB of it. */
    unsigned long long window = 256ULL << 20;
    while (!device->profile->fan && window < device->card->total_memory) {
        window *= 2;
    }
    memory->total = window;
    memory->used = 2ULL << 20;
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

/* Lists of processes. Clients of MPS are in both, so that nvidia-smi shows them as M+C, as it does on real GPUs. */
typedef enum kind { COMPUTE, MPS } kind;

/* Visits every process with a context on the GPU: fills up to `room` entries and returns how many there are. */
static unsigned list(nvmlDevice_t device, kind wanted, unsigned room, nvmlProcessInfo_t *processes) {
    sim_state *state = nvml.machine->state;
    sim_process_reap(nvml.machine);
    const sim_settings *settings = &device->card->settings;
    unsigned found = 0;
    if (wanted == MPS && !settings->mps) {
        return 0;
    }
    uint32_t high = __atomic_load_n(&state->process_high, __ATOMIC_ACQUIRE);
    for (uint32_t slot = 0; slot < high; slot++) {
        const sim_use *use = &state->processes[slot].use[device->gpu];
        if (!use->context_count) {
            continue;
        }
        pid_t pid = sim_process_pid(nvml.machine, (int)slot);
        if (pid <= 0) {
            continue;
        }
        unsigned long long bytes =
            settings->memory_hidden ? (uint64_t)NVML_VALUE_NOT_AVAILABLE : use->memory + use->contexts;
        for (unsigned times = settings->listed_twice ? 2 : 1; times; times--) {
            if (found < room) {
                processes[found] = (nvmlProcessInfo_t){(unsigned)pid, bytes, NVML_NO_INSTANCE, NVML_NO_INSTANCE};
            }
            found++;
        }
    }
    return found;
}

static nvmlReturn_t give_list(nvmlDevice_t device, kind wanted, unsigned *count, nvmlProcessInfo_t *processes) {
    NEED_DEVICE(device, count);
    NEED(*count == 0 || processes, NVML_ERROR_INVALID_ARGUMENT);
    unsigned room = *count;
    *count = list(device, wanted, room, processes);
    return *count <= room ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

/* The first version's entries tell less. */
static nvmlReturn_t give_old_list(nvmlDevice_t device, kind wanted, unsigned *count, nvmlProcessInfo_v1_t *processes) {
    NEED_DEVICE(device, count);
    NEED(*count == 0 || processes, NVML_ERROR_INVALID_ARGUMENT);
    unsigned room = *count < SIM_MAX_PROCESSES ? *count : SIM_MAX_PROCESSES;
    nvmlProcessInfo_t *full = calloc(room + 1, sizeof *full);
    NEED(full, NVML_ERROR_MEMORY);
    *count = list(device, wanted, room, full);
    for (unsigned i = 0; i < room && i < *count; i++) {
        processes[i] = (nvmlProcessInfo_v1_t){full[i].pid, full[i].used};
    }
    free(full);
    return *count <= room ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

#define LISTS(name, kind)                                                                            \
    nvmlReturn_t name##_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *processes) { \
        return give_list(device, kind, count, processes);                                            \
    }                                                                                                \
    nvmlReturn_t name##_v2(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *processes) { \
        return give_list(device, kind, count, processes);                                            \
    }                                                                                                \
    nvmlReturn_t name(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_v1_t *processes) {   \
        return give_old_list(device, kind, count, processes);                                        \
    }
LISTS(nvmlDeviceGetComputeRunningProcesses, COMPUTE)
LISTS(nvmlDeviceGetMPSComputeRunningProcesses, MPS)

/* No process draws. */
static nvmlReturn_t none(nvmlDevice_t device, unsigned *count) {
    NEED_DEVICE(device, count);
    *count = 0;
    return NVML_SUCCESS;
}

#define NONE(symbol, type)                                                           \
    nvmlReturn_t symbol(nvmlDevice_t device, unsigned int *count, type *processes) { \
        (void)processes;                                                             \
        return none(device, count);                                                  \
    }
NONE(nvmlDeviceGetGraphicsRunningProcesses, nvmlProcessInfo_v1_t)
NONE(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_t)
NONE(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlProcessInfo_t)

bool device_in_use(nvmlDevice_t device) {
    return list(device, COMPUTE, 0, NULL) > 0;
}

nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t *list) {
    enum { LIST_COMPUTE = 0, LIST_MPS = 2 };
    NEED_DEVICE(device, list);
    NEED(list->version == NVML_VERSION(*list, 1), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    NEED(list->mode <= LIST_MPS, NVML_ERROR_INVALID_ARGUMENT);
    unsigned room = list->processes ? list->count : 0;
    room = room < SIM_MAX_PROCESSES ? room : SIM_MAX_PROCESSES;
    nvmlProcessInfo_t *found = calloc(room + 1, sizeof *found);
    NEED(found, NVML_ERROR_MEMORY);
    unsigned count = room;
    nvmlReturn_t result = NVML_SUCCESS;
    if (list->mode == LIST_COMPUTE) {
        result = nvmlDeviceGetComputeRunningProcesses_v3(device, &count, found);
    } else if (list->mode == LIST_MPS) {
        result = nvmlDeviceGetMPSComputeRunningProcesses_v3(device, &count, found);
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

nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length) {
    NEED_LIBRARY();
    NEED(name && length, NVML_ERROR_INVALID_ARGUMENT);
    char path[64], command[4096];
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *file = fopen(path, "re");
    NEED(file, NVML_ERROR_NOT_FOUND);
    size_t size = fread(command, 1, sizeof command - 1, file);
    fclose(file);
    command[size] = 0;
    snprintf(name, length, "%s", command);
    return NVML_SUCCESS;
}
