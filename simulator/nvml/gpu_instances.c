/* GPU instances of MIG: their kinds, where they can lie, making and ending them. Most of it only root may do. */
#include <string.h>
#include <unistd.h>

#include "simulator/nvml/library.h"

static struct nvmlGpuInstance_st handles[SIM_MAX_GPUS][SIM_PARTS];

const sim_mig_kind *part_check(nvmlGpuInstance_t instance) {
    nvmlGpuInstance_t first = &handles[0][0];
    bool ours = instance >= first && instance < first + sizeof handles / sizeof *first && instance->device;
    return ours ? sim_part_at(instance->device->card, instance->id) : NULL;
}

static nvmlGpuInstance_t handle_of(nvmlDevice_t device, unsigned id) {
    nvmlGpuInstance_t handle = &handles[device->gpu][id];
    *handle = (struct nvmlGpuInstance_st){device, id};
    return handle;
}

/* Finds a kind by the driver's number for it, or, with `by_number`, by NVML's. */
static const sim_mig_kind *find_kind(nvmlDevice_t device, bool by_number, unsigned wanted, unsigned *place) {
    const sim_mig_kind *kind;
    for (*place = 0; (kind = sim_mig_kind_at(device->profile, *place)); ++*place) {
        if ((by_number ? kind->number : kind->id) == wanted) {
            return kind;
        }
    }
    return NULL;
}

#define NEED_KIND(device, profile_id, missing)                                   \
    unsigned place;                                                              \
    const sim_mig_kind *kind = find_kind((device), false, (profile_id), &place); \
    NEED(kind, (missing))

#define NEED_MIG(device, answer)                                  \
    NEED_DEVICE(device, answer);                                  \
    NEED((device)->card->settings.mig, NVML_ERROR_NOT_SUPPORTED); \
    NEED(geteuid() == 0, NVML_ERROR_NO_PERMISSION)

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t device, unsigned int number,
                                                 nvmlGpuInstanceProfileInfo_t *info) {
    unsigned place;
    NEED_DEVICE(device, info);
    NEED(number < NVML_GPU_INSTANCE_PROFILE_COUNT, NVML_ERROR_INVALID_ARGUMENT);
    const sim_mig_kind *kind = find_kind(device, true, number, &place);
    NEED(kind, NVML_ERROR_NOT_SUPPORTED);
    *info = (nvmlGpuInstanceProfileInfo_t){
        .id = kind->id,
        .slices = kind->slices,
        .instances = kind->most,
        .multiprocessors = kind->multiprocessors,
        .copy_engines = kind->copy,
        .decoders = kind->decode,
        .encoders = kind->encode,
        .jpeg_engines = kind->jpeg,
        .flow_engines = kind->flow,
        .memory_mib = sim_mig_memory(device->profile, kind),
    };
    return NVML_SUCCESS;
}

/* The name of a kind as these calls give it, which is that of a MIG device without the GPU's. */
void part_name(nvmlDevice_t device, const sim_mig_kind *kind, unsigned slices, char name[96]) {
    memset(name, 0, 96);
    memcpy(name, "MIG ", 4);
    sim_mig_name(device->profile, kind, slices, name + 4);
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t device, unsigned int number,
                                                  nvmlGpuInstanceProfileInfo_v2_t *info) {
    nvmlGpuInstanceProfileInfo_t plain;
    unsigned place;
    NEED_DEVICE(device, info);
    nvmlGpuInstanceProfileInfo_v3_t *later = (nvmlGpuInstanceProfileInfo_v3_t *)info;
    bool second = info->version == NVML_VERSION(*info, 2), third = info->version == NVML_VERSION(*later, 3);
    NEED(second || third, NVML_ERROR_INVALID_ARGUMENT);
    nvmlReturn_t result = nvmlDeviceGetGpuInstanceProfileInfo(device, number, &plain);
    NEED(result == NVML_SUCCESS, result);
    if (second) {
        memcpy(&info->id, &plain.id, offsetof(nvmlGpuInstanceProfileInfo_t, memory_mib));
    } else {
        later->id = plain.id;
        memcpy(&later->slices, &plain.slices,
               offsetof(nvmlGpuInstanceProfileInfo_t, memory_mib) - offsetof(nvmlGpuInstanceProfileInfo_t, slices));
        later->capabilities = 0;
    }
    *(second ? &info->memory_mib : &later->memory_mib) = plain.memory_mib;
    const sim_mig_kind *kind = find_kind(device, true, number, &place);
    part_name(device, kind, kind->slices, second ? info->name : later->name);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoByIdV(nvmlDevice_t device, unsigned int profile_id,
                                                      nvmlGpuInstanceProfileInfo_v2_t *info) {
    NEED_DEVICE(device, info);
    NEED_KIND(device, profile_id, NVML_ERROR_NOT_SUPPORTED);
    return nvmlDeviceGetGpuInstanceProfileInfoV(device, kind->number, info);
}

nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvmlDevice_t device, unsigned int profile_id,
                                                           nvmlGpuInstancePlacement_t *placements,
                                                           unsigned int *count) {
    unsigned starts[SIM_PARTS];
    NEED_DEVICE(device, count);
    NEED(geteuid() == 0, NVML_ERROR_NO_PERMISSION);
    NEED_KIND(device, profile_id, NVML_ERROR_NOT_SUPPORTED);
    *count = sim_mig_starts(device->profile, kind, starts);
    for (unsigned i = 0; placements && i < *count; i++) {
        placements[i] = (nvmlGpuInstancePlacement_t){starts[i], kind->memory};
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements(nvmlDevice_t device, unsigned int profile_id,
                                                        nvmlGpuInstancePlacement_t *placements, unsigned int *count) {
    return nvmlDeviceGetGpuInstancePossiblePlacements_v2(device, profile_id, placements, count);
}

nvmlReturn_t nvmlDeviceGetGpuInstanceRemainingCapacity(nvmlDevice_t device, unsigned int profile_id,
                                                       unsigned int *count) {
    NEED_MIG(device, count);
    NEED_KIND(device, profile_id, NVML_ERROR_NOT_SUPPORTED);
    *count = sim_parts_left(device->card, place);
    return NVML_SUCCESS;
}

static nvmlReturn_t make(nvmlDevice_t device, unsigned profile_id, int start, nvmlGpuInstance_t *instance) {
    NEED_MIG(device, instance);
    NEED_KIND(device, profile_id, NVML_ERROR_INVALID_ARGUMENT);
    int id = sim_part_make(nvml.machine, device->gpu, place, start);
    NEED(id != SIM_NO_PART, NVML_ERROR_INSUFFICIENT_RESOURCES);
    *instance = handle_of(device, (unsigned)id);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceCreateGpuInstance(nvmlDevice_t device, unsigned int profile_id, nvmlGpuInstance_t *instance) {
    return make(device, profile_id, SIM_ANY_START, instance);
}

nvmlReturn_t nvmlDeviceCreateGpuInstanceWithPlacement(nvmlDevice_t device, unsigned int profile_id,
                                                      const nvmlGpuInstancePlacement_t *placement,
                                                      nvmlGpuInstance_t *instance) {
    unsigned starts[SIM_PARTS];
    NEED_DEVICE(device, placement);
    NEED_KIND(device, profile_id, NVML_ERROR_INVALID_ARGUMENT);
    bool possible = false;
    for (unsigned i = sim_mig_starts(device->profile, kind, starts); i-- > 0;) {
        possible = possible || (starts[i] == placement->start && placement->size == kind->memory);
    }
    NEED(possible, NVML_ERROR_INVALID_ARGUMENT);
    return make(device, profile_id, (int)placement->start, instance);
}

nvmlReturn_t nvmlGpuInstanceDestroy(nvmlGpuInstance_t instance) {
    NEED_LIBRARY();
    NEED(part_check(instance), NVML_ERROR_INVALID_ARGUMENT);
    NEED_MIG(instance->device, instance);
    NEED(sim_part_end(nvml.machine, instance->device->gpu, instance->id), NVML_ERROR_IN_USE);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t device, unsigned int profile_id, nvmlGpuInstance_t *instances,
                                       unsigned int *count) {
    NEED_MIG(device, instances);
    NEED(count, NVML_ERROR_INVALID_ARGUMENT);
    NEED_KIND(device, profile_id, NVML_ERROR_INVALID_ARGUMENT);
    *count = 0;
    for (unsigned id = 0; id < SIM_PARTS; id++) {
        if (sim_part_at(device->card, id) == kind) {
            instances[(*count)++] = handle_of(device, id);
        }
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t device, unsigned int id, nvmlGpuInstance_t *instance) {
    NEED_MIG(device, instance);
    NEED(sim_part_at(device->card, id), NVML_ERROR_NOT_FOUND);
    *instance = handle_of(device, id);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t instance, nvmlGpuInstanceInfo_t *info) {
    NEED_LIBRARY();
    const sim_mig_kind *kind = part_check(instance);
    NEED(kind && info, NVML_ERROR_INVALID_ARGUMENT);
    unsigned start = sim_part_start(instance->device->profile, kind, instance->id);
    *info = (nvmlGpuInstanceInfo_t){instance->device, instance->id, kind->id, {start, kind->memory}};
    return NVML_SUCCESS;
}
