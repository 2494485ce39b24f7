/* NVML's lists of processes. libvgpu lists the container's own processes, by their numbers in the container, with the
 * memory that the account has for each. */
#include <stdlib.h>

#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/reported.h"
#include "libvgpu/shared/account.h"

/* As in NVML, `count` is the room before the call, and the number of processes after it. */
#define ANSWER(fill)                                                                           \
    do {                                                                                       \
        int gpu;                                                                               \
        if (count == NULL || !reported_gpu(device, &gpu))                                      \
            return driver(device, count, processes);                                           \
        unsigned room = *count;                                                                \
        struct account_process *found = account_processes((unsigned)gpu, count);               \
        nvmlReturn_t result = *count > room                     ? NVML_ERROR_INSUFFICIENT_SIZE \
                              : *count > 0 && processes == NULL ? NVML_ERROR_INVALID_ARGUMENT  \
                                                                : NVML_SUCCESS;                \
        for (unsigned place = 0; result == NVML_SUCCESS && place < *count; place++)            \
            processes[place] = (__typeof__(*processes))fill;                                   \
        free(found);                                                                           \
        return result;                                                                         \
    } while (0)

#define FIRST_FORM {.pid = found[place].pid, .used = found[place].used}
#define LATER_FORM                     \
    {.pid = found[place].pid,          \
     .used = found[place].used,        \
     .gpu_instance = NVML_NO_INSTANCE, \
     .compute_instance = NVML_NO_INSTANCE}

nvmlReturn_t hook_nvmlDeviceGetComputeRunningProcesses(__typeof__(&nvmlDeviceGetComputeRunningProcesses) driver,
                                                       nvmlDevice_t device, unsigned int *count,
                                                       nvmlProcessInfo_v1_t *processes) {
    ANSWER(FIRST_FORM);
}

nvmlReturn_t hook_nvmlDeviceGetComputeRunningProcesses_v2(__typeof__(&nvmlDeviceGetComputeRunningProcesses_v2) driver,
                                                          nvmlDevice_t device, unsigned int *count,
                                                          nvmlProcessInfo_t *processes) {
    ANSWER(LATER_FORM);
}

nvmlReturn_t hook_nvmlDeviceGetComputeRunningProcesses_v3(__typeof__(&nvmlDeviceGetComputeRunningProcesses_v3) driver,
                                                          nvmlDevice_t device, unsigned int *count,
                                                          nvmlProcessInfo_t *processes) {
    ANSWER(LATER_FORM);
}

/* The account doesn't know for what a process uses its memory, so each process is reported as a compute process. */
#define NO_PROCESSES()                                    \
    do {                                                  \
        int gpu;                                          \
        if (count == NULL || !reported_gpu(device, &gpu)) \
            return driver(device, count, processes);      \
        *count = 0;                                       \
        return NVML_SUCCESS;                              \
    } while (0)

nvmlReturn_t hook_nvmlDeviceGetGraphicsRunningProcesses(__typeof__(&nvmlDeviceGetGraphicsRunningProcesses) driver,
                                                        nvmlDevice_t device, unsigned int *count,
                                                        nvmlProcessInfo_v1_t *processes) {
    NO_PROCESSES();
}

nvmlReturn_t hook_nvmlDeviceGetGraphicsRunningProcesses_v2(__typeof__(&nvmlDeviceGetGraphicsRunningProcesses_v2) driver,
                                                           nvmlDevice_t device, unsigned int *count,
                                                           nvmlProcessInfo_t *processes) {
    NO_PROCESSES();
}

nvmlReturn_t hook_nvmlDeviceGetGraphicsRunningProcesses_v3(__typeof__(&nvmlDeviceGetGraphicsRunningProcesses_v3) driver,
                                                           nvmlDevice_t device, unsigned int *count,
                                                           nvmlProcessInfo_t *processes) {
    NO_PROCESSES();
}

nvmlReturn_t hook_nvmlDeviceGetMPSComputeRunningProcesses(__typeof__(&nvmlDeviceGetMPSComputeRunningProcesses) driver,
                                                          nvmlDevice_t device, unsigned int *count,
                                                          nvmlProcessInfo_v1_t *processes) {
    NO_PROCESSES();
}

nvmlReturn_t hook_nvmlDeviceGetMPSComputeRunningProcesses_v2(
    __typeof__(&nvmlDeviceGetMPSComputeRunningProcesses_v2) driver, nvmlDevice_t device, unsigned int *count,
    nvmlProcessInfo_t *processes) {
    NO_PROCESSES();
}

nvmlReturn_t hook_nvmlDeviceGetMPSComputeRunningProcesses_v3(
    __typeof__(&nvmlDeviceGetMPSComputeRunningProcesses_v3) driver, nvmlDevice_t device, unsigned int *count,
    nvmlProcessInfo_t *processes) {
    NO_PROCESSES();
}

nvmlReturn_t hook_nvmlDeviceGetRunningProcessDetailList(__typeof__(&nvmlDeviceGetRunningProcessDetailList) driver,
                                                        nvmlDevice_t device, nvmlProcessDetailList_v1_t *list) {
    int gpu;
    if (list == NULL || list->version != NVML_VERSION(nvmlProcessDetailList_v1_t, 1) || !reported_gpu(device, &gpu)) {
        return driver(device, list);
    }
    unsigned room = list->processes != NULL ? list->count : 0;
    struct account_process *found = account_processes((unsigned)gpu, &list->count);
    for (unsigned place = 0; list->count <= room && place < list->count; place++) {
        list->processes[place] = (nvmlProcessDetail_v1_t){.pid = found[place].pid,
                                                          .used = found[place].used,
                                                          .gpu_instance = NVML_NO_INSTANCE,
                                                          .compute_instance = NVML_NO_INSTANCE};
    }
    free(found);
    return list->count > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

/* Samples have NVML's process numbers. Those of processes outside the container are left out. */
struct own_processes {
    struct account_process *list;
    unsigned count;
};

static struct own_processes own_processes(int gpu) {
    struct own_processes own;
    own.list = account_processes((unsigned)gpu, &own.count);
    return own;
}

static bool is_ours(const struct own_processes *own, unsigned pid) {
    for (unsigned place = 0; place < own->count; place++) {
        if (own->list[place].pid == pid) {
            return true;
        }
    }
    return false;
}

nvmlReturn_t hook_nvmlDeviceGetProcessUtilization(__typeof__(&nvmlDeviceGetProcessUtilization) driver,
                                                  nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples,
                                                  unsigned int *count, unsigned long long since_us) {
    int gpu;
    nvmlReturn_t result = driver(device, samples, count, since_us);
    if (result != NVML_SUCCESS || samples == NULL || count == NULL || !reported_gpu(device, &gpu)) {
        return result;
    }
    unsigned kept = 0;
    struct own_processes own = own_processes(gpu);
    for (unsigned place = 0; place < *count; place++) {
        if (is_ours(&own, samples[place].pid)) {
            samples[kept++] = samples[place];
        }
    }
    free(own.list);
    *count = kept;
    return kept > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t hook_nvmlDeviceGetProcessesUtilizationInfo(__typeof__(&nvmlDeviceGetProcessesUtilizationInfo) driver,
                                                        nvmlDevice_t device, nvmlProcessesUtilizationInfo_v1_t *info) {
    int gpu;
    nvmlReturn_t result = driver(device, info);
    if (result != NVML_SUCCESS || info == NULL || info->processes == NULL || !reported_gpu(device, &gpu)) {
        return result;
    }
    unsigned kept = 0;
    struct own_processes own = own_processes(gpu);
    for (unsigned place = 0; place < info->count; place++) {
        if (is_ours(&own, info->processes[place].pid)) {
            info->processes[kept++] = info->processes[place];
        }
    }
    free(own.list);
    info->count = kept;
    return kept > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}
