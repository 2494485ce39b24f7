/* NVML's lists of processes: the container's own, numbered as in the container, with what the account says of them. */
#include "account.h"
#include "cards.h"
#include "hooks.h"

/* Whether the lists are ours to answer: a card of the container that is held to a share. */
static bool answers(nvmlDevice_t device, int *card)
{
    *card = cards_of_nvml(device);
    return *card != NO_CARD && quota_limit(*card) != QUOTA_UNLIMITED;
}

/* As NVML does it: `count` is the room on the way in, and the number of processes on the way out. */
#define ANSWER(fill)                                                               \
    do {                                                                           \
        struct account_process found[VGPU_SLOTS];                                  \
        int card;                                                                  \
        if (count == NULL || !answers(device, &card))                              \
            return driver(device, count, processes);                               \
        unsigned room = *count;                                                    \
        *count = account_processes((unsigned)card, found, VGPU_SLOTS);             \
        if (*count > room)                                                         \
            return NVML_ERROR_INSUFFICIENT_SIZE;                                   \
        if (*count > 0 && processes == NULL)                                       \
            return NVML_ERROR_INVALID_ARGUMENT;                                    \
        for (unsigned place = 0; place < *count; place++)                          \
            processes[place] = (__typeof__(*processes)) fill;                      \
        return NVML_SUCCESS;                                                       \
    } while (0)

#define FIRST_FORM {.pid = found[place].pid, .used = found[place].used}
#define LATER_FORM                                                     \
    {                                                                  \
        .pid = found[place].pid, .used = found[place].used,            \
        .gpu_instance = NVML_NO_INSTANCE, .compute_instance = NVML_NO_INSTANCE \
    }

nvmlReturn_t hook_nvmlDeviceGetComputeRunningProcesses(__typeof__(&nvmlDeviceGetComputeRunningProcesses) driver,
    nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_v1_t *processes)
{
    ANSWER(FIRST_FORM);
}

nvmlReturn_t hook_nvmlDeviceGetComputeRunningProcesses_v2(
    __typeof__(&nvmlDeviceGetComputeRunningProcesses_v2) driver, nvmlDevice_t device, unsigned int *count,
    nvmlProcessInfo_t *processes)
{
    ANSWER(LATER_FORM);
}

nvmlReturn_t hook_nvmlDeviceGetComputeRunningProcesses_v3(
    __typeof__(&nvmlDeviceGetComputeRunningProcesses_v3) driver, nvmlDevice_t device, unsigned int *count,
    nvmlProcessInfo_t *processes)
{
    ANSWER(LATER_FORM);
}

/* The account doesn't know what a process does with its memory: all of them compute. */
#define NOBODY()                                     \
    do {                                             \
        int card;                                    \
        if (count == NULL || !answers(device, &card)) \
            return driver(device, count, processes); \
        *count = 0;                                  \
        return NVML_SUCCESS;                         \
    } while (0)

nvmlReturn_t hook_nvmlDeviceGetGraphicsRunningProcesses(__typeof__(&nvmlDeviceGetGraphicsRunningProcesses) driver,
    nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_v1_t *processes)
{
    NOBODY();
}

nvmlReturn_t hook_nvmlDeviceGetGraphicsRunningProcesses_v2(
    __typeof__(&nvmlDeviceGetGraphicsRunningProcesses_v2) driver, nvmlDevice_t device, unsigned int *count,
    nvmlProcessInfo_t *processes)
{
    NOBODY();
}

nvmlReturn_t hook_nvmlDeviceGetGraphicsRunningProcesses_v3(
    __typeof__(&nvmlDeviceGetGraphicsRunningProcesses_v3) driver, nvmlDevice_t device, unsigned int *count,
    nvmlProcessInfo_t *processes)
{
    NOBODY();
}

nvmlReturn_t hook_nvmlDeviceGetMPSComputeRunningProcesses(
    __typeof__(&nvmlDeviceGetMPSComputeRunningProcesses) driver, nvmlDevice_t device, unsigned int *count,
    nvmlProcessInfo_v1_t *processes)
{
    NOBODY();
}

nvmlReturn_t hook_nvmlDeviceGetMPSComputeRunningProcesses_v2(
    __typeof__(&nvmlDeviceGetMPSComputeRunningProcesses_v2) driver, nvmlDevice_t device, unsigned int *count,
    nvmlProcessInfo_t *processes)
{
    NOBODY();
}

nvmlReturn_t hook_nvmlDeviceGetMPSComputeRunningProcesses_v3(
    __typeof__(&nvmlDeviceGetMPSComputeRunningProcesses_v3) driver, nvmlDevice_t device, unsigned int *count,
    nvmlProcessInfo_t *processes)
{
    NOBODY();
}
