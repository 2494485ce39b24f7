/* Finding a device, and its identity: name, UUID, serial number, architecture. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "simulator/nvml/library.h"

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    NEED_LIBRARY();
    NEED(count, NVML_ERROR_INVALID_ARGUMENT);
    *count = nvml.count;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount(unsigned int *count) {
    return nvmlDeviceGetCount_v2(count);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    NEED_LIBRARY();
    NEED(device && index < nvml.count, NVML_ERROR_INVALID_ARGUMENT);
    nvmlDevice_t found = &nvml.devices[index];
    NEED(!sim_gpu_lost(found->card), NVML_ERROR_GPU_IS_LOST);
    *device = found;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    NEED_LIBRARY();
    NEED(uuid && device, NVML_ERROR_INVALID_ARGUMENT);
    for (unsigned i = 0; i < nvml.count; i++) {
        if (strcasecmp(nvml.devices[i].card->uuid, uuid) == 0) {
            return nvmlDeviceGetHandleByIndex_v2(i, device);
        }
    }
    return instance_by_uuid(uuid, device);
}

nvmlReturn_t nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *device) {
    NEED_LIBRARY();
    NEED(serial && device, NVML_ERROR_INVALID_ARGUMENT);
    for (unsigned i = 0; i < nvml.count; i++) {
        if (!nvml.devices[i].profile->fan && strcmp(nvml.devices[i].card->serial, serial) == 0) {
            return nvmlDeviceGetHandleByIndex_v2(i, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device) {
    NEED_LIBRARY();
    NEED(bus_id && device, NVML_ERROR_INVALID_ARGUMENT);
    unsigned domain = 0, bus, slot, function = 0;
    if (sscanf(bus_id, "%x:%x:%x.%x", &domain, &bus, &slot, &function) < 3) {
        domain = 0;
        NEED(sscanf(bus_id, "%x:%x.%x", &bus, &slot, &function) >= 2, NVML_ERROR_INVALID_ARGUMENT);
    }
    for (unsigned i = 0; i < nvml.count; i++) {
        const sim_gpu *card = nvml.devices[i].card;
        if (card->pci_domain == domain && card->pci_bus == bus && card->pci_device == slot && function == 0) {
            return nvmlDeviceGetHandleByIndex_v2(i, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *bus_id, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByPciBusId_v2(bus_id, device);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    sim_instance part;
    if (is_instance(device, &part)) {
        return instance_name(device, &part, name, length);
    }
    NEED_DEVICE(device, name);
    return give_text(name, length, device->profile->name);
}

nvmlReturn_t nvmlDeviceGetBrand(nvmlDevice_t device, unsigned int *brand) {
    NEED_DEVICE(device, brand);
    *brand = (unsigned)device->profile->brand;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, unsigned int *architecture) {
    NEED_DEVICE(device, architecture);
    *architecture = (unsigned)device->profile->architecture;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    sim_instance part;
    if (is_instance(device, &part)) {
        return instance_uuid(device, uuid, length);
    }
    NEED_DEVICE(device, uuid);
    return give_text(uuid, length, device->card->uuid);
}

nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t device, char *serial, unsigned int length) {
    NEED_DEVICE(device, serial);
    NEED(!device->profile->fan, NVML_ERROR_NOT_SUPPORTED); /* consumer boards carry none */
    return give_text(serial, length, device->card->serial);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) {
    sim_instance part;
    if (index && is_instance(device, &part)) {
        return instance_index(device, &part, index);
    }
    NEED_DEVICE(device, index);
    *index = device->index;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minor) {
    NEED_DEVICE(device, minor);
    *minor = device->gpu;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetVbiosVersion(nvmlDevice_t device, char *version, unsigned int length) {
    NEED_DEVICE(device, version);
    char text[32];
    unsigned id = device->profile->device_id >> 16;
    snprintf(text, sizeof text, "%02X.%02X.%02X.00.01", 0x80 + device->profile->architecture, id >> 8, id & 0xFF);
    return give_text(version, length, text);
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    NEED_DEVICE(device, major);
    NEED(minor, NVML_ERROR_INVALID_ARGUMENT);
    *major = device->profile->major;
    *minor = device->profile->minor;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNumGpuCores(nvmlDevice_t device, unsigned int *cores) {
    NEED_DEVICE(device, cores);
    *cores = (unsigned)(device->profile->multiprocessors * device->profile->cores_per_multiprocessor);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryBusWidth(nvmlDevice_t device, unsigned int *bits) {
    NEED_DEVICE(device, bits);
    *bits = (unsigned)device->profile->bus_bits;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *info) {
    NEED_DEVICE(device, info);
    const sim_gpu *card = device->card;
    memset(info, 0, sizeof *info);
    info->domain = card->pci_domain;
    info->bus = card->pci_bus;
    info->device = card->pci_device;
    info->device_id = device->profile->device_id;
    info->subsystem_id = device->profile->subsystem_id;
    snprintf(info->bus_id, sizeof info->bus_id, "%08X:%02X:%02X.0", info->domain, info->bus, info->device);
    snprintf(info->bus_id_legacy, sizeof info->bus_id_legacy, "%04X:%02X:%02X.0", info->domain & 0xFFFFU,
             info->bus & 0xFFU, info->device & 0xFFU);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, nvmlPciInfo_v2_t *info) {
    NEED_DEVICE(device, info);
    nvmlPciInfo_t full;
    nvmlReturn_t result = nvmlDeviceGetPciInfo_v3(device, &full);
    memset(info, 0, sizeof *info);
    memcpy(info, &full, offsetof(nvmlPciInfo_v2_t, reserved));
    return result;
}

nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_v2_t *info) {
    return nvmlDeviceGetPciInfo_v2(device, info);
}

nvmlReturn_t nvmlDeviceGetPciInfoExt(nvmlDevice_t device, nvmlPciInfoExt_v1_t *info) {
    NEED_DEVICE(device, info);
    NEED(info->version == NVML_VERSION(*info, 1), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    nvmlPciInfo_t full;
    nvmlDeviceGetPciInfo_v3(device, &full);
    info->domain = full.domain;
    info->bus = full.bus;
    info->device = full.device;
    info->device_id = full.device_id;
    info->subsystem_id = full.subsystem_id;
    info->base_class = 3; /* display controller */
    info->sub_class = device->profile->fan ? 0 : 2;
    memcpy(info->bus_id, full.bus_id, sizeof info->bus_id);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t device, unsigned int *mode) {
    NEED_DEVICE(device, mode);
    *mode = device->card->settings.compute_mode;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceSetComputeMode(nvmlDevice_t device, unsigned int mode) {
    enum { EXCLUSIVE_THREAD = 1, EXCLUSIVE_PROCESS = 3 };
    NEED_DEVICE(device, device);
    NEED(mode <= EXCLUSIVE_PROCESS, NVML_ERROR_INVALID_ARGUMENT);
    NEED(mode != EXCLUSIVE_THREAD, NVML_ERROR_NOT_SUPPORTED);
    NEED(geteuid() == 0, NVML_ERROR_NO_PERMISSION);
    device->card->settings.compute_mode = mode;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, nvmlEnableState_t *mode) {
    NEED_DEVICE(device, mode);
    *mode = NVML_FEATURE_ENABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDisplayMode(nvmlDevice_t device, nvmlEnableState_t *mode) {
    NEED_DEVICE(device, mode);
    *mode = NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDisplayActive(nvmlDevice_t device, nvmlEnableState_t *active) {
    NEED_DEVICE(device, active);
    *active = NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetVirtualizationMode(nvmlDevice_t device, unsigned int *mode) {
    NEED_DEVICE(device, mode);
    *mode = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetBoardId(nvmlDevice_t device, unsigned int *board) {
    NEED_DEVICE(device, board);
    *board = device->card->pci_bus << 8;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMultiGpuBoard(nvmlDevice_t device, unsigned int *many) {
    NEED_DEVICE(device, many);
    *many = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceValidateInforom(nvmlDevice_t device) {
    NEED_DEVICE(device, device);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlUnitGetCount(unsigned int *count) {
    NEED_LIBRARY();
    NEED(count, NVML_ERROR_INVALID_ARGUMENT);
    *count = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGetExcludedDeviceCount(unsigned int *count) {
    return nvmlUnitGetCount(count);
}
