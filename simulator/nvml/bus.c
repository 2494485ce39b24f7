/* The GPU's place in the computer: bus, processors and memory near it. */
#include <string.h>
#include <unistd.h>

#include "simulator/nvml/library.h"

nvmlReturn_t nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t device, unsigned int *generation) {
    NEED_DEVICE(device, generation);
    *generation = (unsigned)device->profile->pcie_generation;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuMaxPcieLinkGeneration(nvmlDevice_t device, unsigned int *generation) {
    return nvmlDeviceGetMaxPcieLinkGeneration(device, generation);
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t device, unsigned int *generation) {
    return nvmlDeviceGetMaxPcieLinkGeneration(device, generation);
}

nvmlReturn_t nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice_t device, unsigned int *width) {
    NEED_DEVICE(device, width);
    *width = 16;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t device, unsigned int *width) {
    return nvmlDeviceGetMaxPcieLinkWidth(device, width);
}

nvmlReturn_t nvmlDeviceGetPcieReplayCounter(nvmlDevice_t device, unsigned int *count) {
    NEED_DEVICE(device, count);
    *count = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNumaNodeId(nvmlDevice_t device, unsigned int *node) {
    NEED_DEVICE(device, node);
    return NVML_ERROR_NOT_SUPPORTED; /* memory of these GPUs is no node of the computer's */
}

/* Every processor of this computer is near every simulated GPU. */
nvmlReturn_t nvmlDeviceGetCpuAffinityWithinScope(nvmlDevice_t device, unsigned int words, unsigned long *mask,
                                                 unsigned int scope) {
    NEED_DEVICE(device, mask);
    NEED(words && scope <= 1, NVML_ERROR_INVALID_ARGUMENT);
    enum { BITS = 8 * sizeof *mask };
    memset(mask, 0, words * sizeof *mask);
    long processors = sysconf(_SC_NPROCESSORS_CONF);
    for (unsigned long cpu = 0; (long)cpu < processors && cpu / BITS < words; cpu++) {
        mask[cpu / BITS] |= 1UL << cpu % BITS;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCpuAffinity(nvmlDevice_t device, unsigned int words, unsigned long *mask) {
    return nvmlDeviceGetCpuAffinityWithinScope(device, words, mask, 0);
}

nvmlReturn_t nvmlDeviceGetMemoryAffinity(nvmlDevice_t device, unsigned int words, unsigned long *mask,
                                         unsigned int scope) {
    NEED_DEVICE(device, mask);
    NEED(words && scope <= 1, NVML_ERROR_INVALID_ARGUMENT);
    memset(mask, 0, words * sizeof *mask);
    mask[0] = 1UL << device->card->numa_node;
    return NVML_SUCCESS;
}

/* The board's place on a baseboard, which boards with NVLink of their own have. */
nvmlReturn_t nvmlDeviceGetModuleId(nvmlDevice_t device, unsigned int *module) {
    NEED_DEVICE(device, module);
    NEED(device->profile->nvlinks, NVML_ERROR_NOT_SUPPORTED);
    *module = device->gpu + 1;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAddressingMode(nvmlDevice_t device, nvmlDeviceAddressingMode_t *mode) {
    NEED_DEVICE(device, mode);
    NEED(mode->version == NVML_VERSION(*mode, 1), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    mode->value = 0;
    return NVML_SUCCESS;
}
