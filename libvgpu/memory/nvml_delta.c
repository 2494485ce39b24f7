#include "libvgpu/memory/nvml_delta.h"

#include <stdlib.h>
#include <unistd.h>

#include "libvgpu/memory/quota.h"

/* As many as a container has at most, and as many others. A thread's stack may be too small for the list. */
#define PROCESSES 600

bool nvml_processes_list(nvmlDevice_t device, struct nvml_processes *found) {
    *found = (struct nvml_processes){.count = PROCESSES};
    if (NVML(nvmlDeviceGetComputeRunningProcesses_v3) == NULL) {
        return false;
    }
    found->list = calloc(PROCESSES, sizeof *found->list);
    if (found->list != NULL &&
        NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, &found->count, found->list) == NVML_SUCCESS) {
        return true;
    }
    free(found->list);
    return false;
}

static struct nvml_processes list(nvmlDevice_t device) {
    struct nvml_processes found;
    return device != NULL && nvml_processes_list(device, &found) ? found : (struct nvml_processes){0};
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
    delta->gpu = gpu;
    delta->exact = false;
    delta->nvml = devices_nvml(gpu);
    delta->before = list(delta->nvml);
    delta->device_used = used(delta->nvml);
    delta->counted = quota_own(gpu);
}

/* Returns how much more memory the process has than before. */
static unsigned long long more_of(const struct nvml_processes *then, const nvmlProcessInfo_t *after) {
    for (unsigned place = 0; place < then->count; place++) {
        const nvmlProcessInfo_t *before = &then->list[place];
        if (before->pid == after->pid) {
            return after->used > before->used ? after->used - before->used : 0;
        }
    }
    return after->used;
}

static unsigned long long beyond(unsigned long long grown, uint64_t counted) {
    return grown > counted ? grown - counted : 0;
}

/* Returns how much this process has grown. */
static uint64_t of_this_process(const struct nvml_processes *before, const struct nvml_processes *after,
                                uint64_t counted, bool *exact) {
    unsigned long long least = 0;
    for (unsigned place = 0; place < after->count; place++) {
        unsigned long long more = more_of(before, &after->list[place]);
        if (after->list[place].pid == (unsigned)getpid() && more < INT64_MAX) {
            *exact = true;
            return beyond(more, counted);
        }
        /* NVML may use process numbers of another pid namespace. Then this process is one of those that grew; of
         * several, take the one that grew least, since others may have allocated in the same time. */
        if (more > 0 && more < INT64_MAX && (least == 0 || more < least)) {
            least = more;
        }
    }
    return least;
}

uint64_t nvml_delta_end(struct nvml_delta *delta, uint64_t most) {
    struct nvml_processes after = list(delta->nvml);
    uint64_t counted = beyond(quota_own(delta->gpu), delta->counted), grown;
    if (after.count > 0) {
        grown = of_this_process(&delta->before, &after, counted, &delta->exact);
    } else {
        /* NVML lists no processes here, so take the whole GPU's memory, with other processes' changes in it. */
        unsigned long long now = used(delta->nvml);
        grown = delta->device_used > 0 && now > delta->device_used ? beyond(now - delta->device_used, counted) : most;
        grown = grown < most ? grown : most;
    }
    free(after.list);
    free(delta->before.list);
    return grown;
}
