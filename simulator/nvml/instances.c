/* MIG: the mode, and instances, which have handles of their own. An instance answers only what is asked here; no program runs
 * on one. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "simulator/nvml/library.h"

bool is_instance(nvmlDevice_t device, sim_instance *found) {
    nvmlDevice_t first = &nvml.instances[0][0];
    bool ours = nvml.refs && device >= first && device < first + sizeof nvml.instances / sizeof *first;
    return ours && device->card &&
           sim_instance_at(device->card, device->index / SIM_INSTANCES, device->index % SIM_INSTANCES, found);
}

static nvmlDevice_t handle_of(nvmlDevice_t parent, const sim_instance *part) {
    unsigned place = part->id * SIM_INSTANCES + part->compute_id;
    nvmlDevice_t handle = &nvml.instances[parent->gpu][place];
    *handle = (struct nvmlDevice_st){parent->gpu, place, parent->card, parent->profile};
    return handle;
}

nvmlReturn_t instance_index(nvmlDevice_t instance, const sim_instance *of, unsigned *index) {
    sim_instance found;
    for (*index = 0; sim_instance_nth(instance->card, *index, &found); ++*index) {
        if (found.id == of->id && found.compute_id == of->compute_id) {
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

/* The GPU's UUID, changed by the instance's numbers, in MIG's form. */
nvmlReturn_t instance_uuid(nvmlDevice_t instance, char *uuid, unsigned length) {
    char text[48];
    const unsigned char *bytes = instance->card->uuid_bytes;
    unsigned part = instance->index / SIM_INSTANCES, mark = (part + 1) * 0x11U;
    unsigned compute = instance->index % SIM_INSTANCES * 0x11U;
    snprintf(text, sizeof text, "MIG-%02x%02x%02x%02x-%02x%02x-5%01x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             bytes[0] ^ mark, bytes[1] ^ compute, bytes[2], bytes[3], bytes[4], bytes[5], bytes[6] & 15U, bytes[7],
             bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15] ^ mark);
    return give_text(uuid, length, text);
}

nvmlReturn_t instance_name(nvmlDevice_t instance, const sim_instance *of, char *name, unsigned length) {
    char text[96];
    snprintf(text, sizeof text, "%s MIG %s", instance->profile->name, of->name);
    return give_text(name, length, text);
}

nvmlReturn_t instance_by_uuid(const char *uuid, nvmlDevice_t *instance) {
    sim_instance part;
    for (unsigned i = 0; i < nvml.count; i++) {
        for (unsigned index = 0; sim_instance_nth(nvml.devices[i].card, index, &part); index++) {
            char own[64] = "";
            nvmlDevice_t handle = handle_of(&nvml.devices[i], &part);
            instance_uuid(handle, own, sizeof own);
            if (strcasecmp(own, uuid) == 0) {
                *instance = handle;
                return NVML_SUCCESS;
            }
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *is_mig) {
    sim_instance found;
    NEED(is_mig, NVML_ERROR_INVALID_ARGUMENT);
    *is_mig = is_instance(device, &found);
    if (*is_mig) {
        return NVML_SUCCESS;
    }
    NEED_DEVICE(device, is_mig);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending) {
    NEED_DEVICE(device, current);
    NEED(pending, NVML_ERROR_INVALID_ARGUMENT);
    NEED(device->profile->mig_slices, NVML_ERROR_NOT_SUPPORTED);
    *current = device->card->settings.mig;
    *pending = device->card->settings.mig_pending;
    return NVML_SUCCESS;
}

static bool has_parts(const sim_gpu *card) {
    bool found = false;
    for (unsigned id = 0; id < SIM_PARTS; id++) {
        found = found || sim_part_at(card, id);
    }
    return found;
}

nvmlReturn_t nvmlDeviceSetMigMode(nvmlDevice_t device, unsigned int mode, nvmlReturn_t *activation) {
    NEED_DEVICE(device, activation);
    NEED(mode <= NVML_DEVICE_MIG_ENABLE, NVML_ERROR_INVALID_ARGUMENT);
    NEED(device->profile->mig_slices, NVML_ERROR_NOT_SUPPORTED);
    NEED(geteuid() == 0, NVML_ERROR_NO_PERMISSION);
    NEED(mode || !has_parts(device->card), NVML_ERROR_IN_USE); /* instances have to be destroyed first */
    device->card->settings.mig_pending = mode;
    *activation = device->card->settings.mig != mode && device_in_use(device) ? NVML_ERROR_IN_USE : NVML_SUCCESS;
    if (*activation == NVML_SUCCESS) {
        device->card->settings.mig = mode;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count) {
    NEED_DEVICE(device, count);
    *count = (unsigned)device->profile->mig_slices;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *instance) {
    NEED_DEVICE(device, instance);
    NEED(device->profile->mig_slices, NVML_ERROR_NOT_SUPPORTED);
    NEED(index < (unsigned)device->profile->mig_slices, NVML_ERROR_INVALID_ARGUMENT);
    sim_instance part;
    NEED(sim_instance_nth(device->card, index, &part), NVML_ERROR_NOT_FOUND);
    *instance = handle_of(device, &part);
    return NVML_SUCCESS;
}

#define NEED_INSTANCE(name, device, answer)                            \
    sim_instance name;                                                 \
    do {                                                               \
        NEED_LIBRARY();                                                \
        NEED(answer, NVML_ERROR_INVALID_ARGUMENT);                     \
        NEED(is_instance(device, &name), NVML_ERROR_INVALID_ARGUMENT); \
    } while (0)

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t instance, nvmlDevice_t *device) {
    NEED_INSTANCE(of, instance, device);
    for (unsigned i = 0; i < nvml.count; i++) {
        if (nvml.devices[i].gpu == instance->gpu) {
            *device = &nvml.devices[i];
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t instance, unsigned int *id) {
    NEED_INSTANCE(of, instance, id);
    *id = of.id;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t instance, unsigned int *id) {
    NEED_INSTANCE(of, instance, id);
    *id = of.compute_id;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t instance, nvmlDeviceAttributes_t *attributes) {
    NEED_INSTANCE(of, instance, attributes);
    *attributes = (nvmlDeviceAttributes_t){
        .multiprocessors = of.multiprocessors,
        .copy_engines = of.kind->copy,
        .decoders = of.kind->decode,
        .encoders = of.kind->encode,
        .jpeg_engines = of.kind->jpeg,
        .flow_engines = of.kind->flow,
        .gpu_slices = of.kind->slices,
        .compute_slices = of.slices,
        .memory_mib = of.memory,
    };
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetAttributes(nvmlDevice_t instance, nvmlDeviceAttributes_t *attributes) {
    return nvmlDeviceGetAttributes_v2(instance, attributes);
}
