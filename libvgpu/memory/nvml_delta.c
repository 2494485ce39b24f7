#include "libvgpu/memory/nvml_delta.h"

#include <unistd.h>

static unsigned list(nvmlDevice_t device, nvmlProcessInfo_t *processes) {
    unsigned count = NVML_DELTA_PROCESSES;
    if (device == NULL || NVML(nvmlDeviceGetComputeRunningProcesses_v3) == NULL ||
        NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, &count, processes) != NVML_SUCCESS) {
        return 0;
    }
    return count;
}

static unsigned long long used(nvmlDevice_t device) {
    nvmlMemory_t memory;
    if (device == NULL || NVML(nvmlDeviceGetMemoryInfo) == NULL ||
        NVML(nvmlDeviceGetMemoryInfo)(device, &memory) != NVML_SUCCESS) {
        return 0;
    }
    return memory.used;
}

void nvml_delta_begin(struct nvml_delta *delta, int gpu) {
    delta->nvml = devices_nvml(gpu);
    delta->count = list(delta->nvml, delta->before);
    delta->device_used = used(delta->nvml);
}

/* Returns how much more memory the process has than before. */
static unsigned long long more_of(const struct nvml_delta *delta, const nvmlProcessInfo_t *after) {
    for (unsigned place = 0; place < delta->count; place++) {
        const nvmlProcessInfo_t *before = &delta->before[place];
        if (before->pid == after->pid) {
            return after->used > before->used ? after->used - before->used : 0;
        }
    }
    return after->used;
}

uint64_t nvml_delta_end(const struct nvml_delta *delta, uint64_t most) {
    nvmlProcessInfo_t after[NVML_DELTA_PROCESSES];
    unsigned long long least = 0;
    unsigned count = list(delta->nvml, after);
    for (unsigned place = 0; place < count; place++) {
        unsigned long long more = more_of(delta, &after[place]);
        if (after[place].pid == (unsigned)getpid() && more < INT64_MAX) {
            return more;
        }
        /* NVML may use process numbers of another pid namespace. Then this process is one of those that grew; of
         * several, take the one that grew least, since others may have allocated in the same time. */
        if (more > 0 && more < INT64_MAX && (least == 0 || more < least)) {
            least = more;
        }
    }
    if (count > 0) {
        return least;
    }
    /* NVML lists no processes here, so take the whole GPU's memory, with other processes' changes in it. */
    unsigned long long now = used(delta->nvml);
    uint64_t grown = delta->device_used > 0 && now > delta->device_used ? now - delta->device_used : most;
    return grown < most ? grown : most;
}
