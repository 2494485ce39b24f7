/* The tests' NVML, as it is on a node at rest: it waits for events without looking for them all the time, and lists the
 * processes that the file processes<i> in the folder UNIGPU_SIM_DIR names: pid and bytes. */
#define LOOK_MS 1000
#include "tests/integration/deviceplugin/nvml.c"

enum { INSUFFICIENT_SIZE = 7 };

struct process {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
};

static int listed(void *gpu, unsigned *count, struct process *found) {
    char name[32];
    snprintf(name, sizeof name, "processes%d", number(gpu));
    FILE *stream = fopen(file(name), "r");
    unsigned there = 0;
    struct process one = {0, 0, ~0u, ~0u};
    while (stream != NULL && fscanf(stream, "%u %llu", &one.pid, &one.memory) == 2) {
        if (there < *count) {
            found[there] = one;
        }
        there++;
    }
    if (stream != NULL) {
        fclose(stream);
    }
    int fits = there <= *count;
    *count = there;
    return fits ? SUCCESS : INSUFFICIENT_SIZE;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned *count, struct process *found) {
    return listed(gpu, count, found);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *gpu, unsigned *count, struct process *found) {
    (void)gpu, (void)found;
    *count = 0;
    return SUCCESS;
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *gpu, unsigned *count, struct process *found) {
    (void)gpu, (void)found;
    *count = 0;
    return SUCCESS;
}
