/* NVML's lists of processes. libvgpu lists the container's own processes, by their numbers in the container, with the
 * memory that the account has for each. */
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/reported.h"
#include "libvgpu/shared/account.h"

/* As in NVML, `count` is the room before the call, and the number of processes after it. */
#define ANSWER(fill)                                                  \
    do {                                                              \
        struct account_process found[VGPU_SLOTS];                     \
        int gpu;                                                      \
        if (count == NULL || !reported_gpu(device, &gpu))             \
            return driver(device, count, processes);                  \
        unsigned room = *count;                                       \
        *count = account_processes((unsigned)gpu, found, VGPU_SLOTS); \
        if (*count > room)                                            \
            return NVML_ERROR_INSUFFICIENT_SIZE;                      \
        if (*count > 0 && processes == NULL)                          \
            return NVML_ERROR_INVALID_ARGUMENT;                       \
        for (unsigned place = 0; place < *count; place++)             \
            processes[place] = (__typeof__(*processes))fill;          \
        return NVML_SUCCESS;                                          \
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
    struct account_process found[VGPU_SLOTS];
    int gpu;
    if (list == NULL || list->version != NVML_VERSION(nvmlProcessDetailList_v1_t, 1) || !reported_gpu(device, &gpu)) {
        return driver(device, list);
    }
    unsigned room = list->processes != NULL ? list->count : 0;
    list->count = account_processes((unsigned)gpu, found, VGPU_SLOTS);
    if (list->count > room) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned place = 0; place < list->count; place++) {
        list->processes[place] = (nvmlProcessDetail_v1_t){.pid = found[place].pid,
                                                          .used = found[place].used,
                                                          .gpu_instance = NVML_NO_INSTANCE,
                                                          .compute_instance = NVML_NO_INSTANCE};
    }
    return NVML_SUCCESS;
}

/* Samples have NVML's process numbers. Those of processes outside the container are left out. */
static bool is_ours(int gpu, unsigned pid) {
    struct account_process found[VGPU_SLOTS];
    unsigned count = account_processes((unsigned)gpu, found, VGPU_SLOTS);
    for (unsigned place = 0; place < count && place < VGPU_SLOTS; place++) {
        if (found[place].pid == pid) {
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
    for (unsigned place = 0; place < *count; place++) {
        if (is_ours(gpu, samples[place].pid)) {
            samples[kept++] = samples[place];
        }
    }
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
    for (unsigned place = 0; place < info->count; place++) {
        if (is_ours(gpu, info->processes[place].pid)) {
            info->processes[kept++] = info->processes[place];
        }
    }
    info->count = kept;
    return kept > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}
