#include "measure.h"

#include <unistd.h>

static unsigned list(nvmlDevice_t device, nvmlProcessInfo_t *processes) {
    unsigned count = MEASURE_PROCESSES;
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

void measure_begin(struct measure *measure, int card) {
    measure->nvml = cards_nvml(card);
    measure->count = list(measure->nvml, measure->before);
    measure->device_used = used(measure->nvml);
}

/* What a process has more than before. */
static unsigned long long more_of(const struct measure *measure, const nvmlProcessInfo_t *after) {
    for (unsigned place = 0; place < measure->count; place++) {
        const nvmlProcessInfo_t *before = &measure->before[place];
        if (before->pid == after->pid) {
            return after->used > before->used ? after->used - before->used : 0;
        }
    }
    return after->used;
}

uint64_t measure_end(const struct measure *measure, uint64_t most) {
    nvmlProcessInfo_t after[MEASURE_PROCESSES];
    unsigned long long least = 0;
    unsigned count = list(measure->nvml, after);
    for (unsigned place = 0; place < count; place++) {
        unsigned long long more = more_of(measure, &after[place]);
        if (after[place].pid == (unsigned)getpid() && more < INT64_MAX) {
            return more;
        }
        /* NVML may number processes as another pid namespace does: then it is one of those that grew, and of several
         * the one that grew least, since others may have allocated meanwhile. */
        if (more > 0 && more < INT64_MAX && (least == 0 || more < least)) {
            least = more;
        }
    }
    if (count > 0) {
        return least;
    }
    /* NVML names no processes here: the card as a whole, others' changes included. */
    unsigned long long now = used(measure->nvml);
    uint64_t grown = measure->device_used > 0 && now > measure->device_used ? now - measure->device_used : most;
    return grown < most ? grown : most;
}
