/* Compute instances, which share a GPU instance of MIG: programs see each as a device. */
#include <string.h>
#include <unistd.h>

#include "simulator/nvml/library.h"

struct nvmlComputeInstance_st {
    nvmlGpuInstance_t within;
    unsigned id;
};

static struct nvmlComputeInstance_st handles[SIM_MAX_GPUS][SIM_PARTS][SIM_INSTANCES];

static bool check(nvmlComputeInstance_t instance, sim_instance *found) {
    nvmlComputeInstance_t first = &handles[0][0][0];
    bool ours = instance >= first && instance < first + sizeof handles / sizeof *first && instance->within;
    return ours && part_check(instance->within) &&
           sim_instance_at(instance->within->device->card, instance->within->id, instance->id, found);
}

static nvmlComputeInstance_t handle_of(nvmlGpuInstance_t within, unsigned id) {
    nvmlComputeInstance_t handle = &handles[within->device->gpu][within->id][id];
    *handle = (struct nvmlComputeInstance_st){within, id};
    return handle;
}

/* Kinds by their sizes: NVML's numbers, which are the driver's, too. */
static const unsigned sizes[] = {1, 2, 3, 4, 7};

static unsigned number_of(unsigned slices) {
    unsigned number = 0;
    while (sizes[number] != slices) {
        number++;
    }
    return number;
}

/* The slices of compute instances of a kind in a GPU instance; 0: there are none. */
static unsigned size_of(const sim_mig_kind *kind, unsigned number) {
    unsigned slices = number < sizeof sizes / sizeof *sizes ? sizes[number] : 0;
    return slices && sim_is_compute_size(kind, slices) ? slices : 0;
}

#define NEED_PART(kind, within, answer)            \
    NEED_LIBRARY();                                \
    const sim_mig_kind *kind = part_check(within); \
    NEED(kind && (answer), NVML_ERROR_INVALID_ARGUMENT)

#define NEED_ROOT() NEED(geteuid() == 0, NVML_ERROR_NO_PERMISSION)

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlGpuInstance_t within, unsigned int number,
                                                          unsigned int engines,
                                                          nvmlComputeInstanceProfileInfo_t *info) {
    unsigned starts[SIM_INSTANCES];
    NEED_PART(kind, within, info);
    NEED(number < NVML_COMPUTE_INSTANCE_PROFILE_COUNT && engines == 0, NVML_ERROR_INVALID_ARGUMENT);
    unsigned slices = size_of(kind, number);
    NEED(slices, NVML_ERROR_NOT_SUPPORTED);
    *info = (nvmlComputeInstanceProfileInfo_t){
        .id = number,
        .slices = slices,
        .instances = sim_compute_starts(kind, slices, starts),
        .multiprocessors = sim_mig_compute_multiprocessors(within->device->profile, kind, slices),
        .copy_engines = kind->copy,
        .decoders = kind->decode,
        .encoders = kind->encode,
        .jpeg_engines = kind->jpeg,
        .flow_engines = kind->flow,
    };
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfoV(nvmlGpuInstance_t within, unsigned int number,
                                                           unsigned int engines,
                                                           nvmlComputeInstanceProfileInfo_v2_t *info) {
    nvmlComputeInstanceProfileInfo_t plain;
    NEED_PART(kind, within, info);
    nvmlComputeInstanceProfileInfo_v3_t *later = (nvmlComputeInstanceProfileInfo_v3_t *)info;
    bool third = info->version == NVML_VERSION(*later, 3);
    NEED(third || info->version == NVML_VERSION(*info, 2), NVML_ERROR_INVALID_ARGUMENT);
    nvmlReturn_t result = nvmlGpuInstanceGetComputeInstanceProfileInfo(within, number, engines, &plain);
    NEED(result == NVML_SUCCESS, result);
    _Static_assert(sizeof plain == sizeof info->numbers, "the second version has them all, after its own number");
    memcpy(info->numbers, &plain, sizeof plain);
    part_name(within->device, kind, plain.slices, info->name);
    if (third) {
        later->capabilities = 0;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceRemainingCapacity(nvmlGpuInstance_t within, unsigned int profile_id,
                                                                unsigned int *count) {
    NEED_PART(kind, within, count);
    NEED_ROOT();
    unsigned slices = size_of(kind, profile_id);
    NEED(slices, NVML_ERROR_NOT_SUPPORTED);
    *count = sim_compute_left(within->device->card, within->id, slices);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstancePossiblePlacements(nvmlGpuInstance_t within, unsigned int profile_id,
                                                                 nvmlComputeInstancePlacement_t *placements,
                                                                 unsigned int *count) {
    unsigned starts[SIM_INSTANCES];
    NEED_PART(kind, within, count);
    NEED_ROOT();
    unsigned slices = size_of(kind, profile_id);
    NEED(slices, NVML_ERROR_NOT_SUPPORTED);
    *count = sim_compute_starts(kind, slices, starts);
    for (unsigned i = 0; placements && i < *count; i++) {
        placements[i] = (nvmlComputeInstancePlacement_t){starts[i], slices};
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t make(nvmlGpuInstance_t within, unsigned profile_id, int start, nvmlComputeInstance_t *instance) {
    NEED_PART(kind, within, instance);
    NEED_ROOT();
    unsigned slices = size_of(kind, profile_id);
    NEED(slices, NVML_ERROR_NOT_SUPPORTED);
    int id = sim_compute_make(nvml.machine, within->device->gpu, within->id, slices, start);
    NEED(id != SIM_NO_PART, NVML_ERROR_INSUFFICIENT_RESOURCES);
    *instance = handle_of(within, (unsigned)id);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceCreateComputeInstance(nvmlGpuInstance_t within, unsigned int profile_id,
                                                  nvmlComputeInstance_t *instance) {
    return make(within, profile_id, SIM_ANY_START, instance);
}

nvmlReturn_t nvmlGpuInstanceCreateComputeInstanceWithPlacement(nvmlGpuInstance_t within, unsigned int profile_id,
                                                               const nvmlComputeInstancePlacement_t *placement,
                                                               nvmlComputeInstance_t *instance) {
    unsigned starts[SIM_INSTANCES];
    NEED_PART(kind, within, placement);
    unsigned slices = size_of(kind, profile_id);
    NEED(slices, NVML_ERROR_NOT_SUPPORTED);
    bool possible = false;
    for (unsigned i = sim_compute_starts(kind, slices, starts); i-- > 0;) {
        possible = possible || (starts[i] == placement->start && placement->size == slices);
    }
    NEED(possible, NVML_ERROR_INVALID_ARGUMENT);
    return make(within, profile_id, (int)placement->start, instance);
}

nvmlReturn_t nvmlComputeInstanceDestroy(nvmlComputeInstance_t instance) {
    sim_instance found;
    NEED_LIBRARY();
    NEED(check(instance, &found), NVML_ERROR_INVALID_ARGUMENT);
    NEED_ROOT();
    sim_compute_end(nvml.machine, instance->within->device->gpu, found.id, found.compute_id);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstances(nvmlGpuInstance_t within, unsigned int profile_id,
                                                nvmlComputeInstance_t *instances, unsigned int *count) {
    NEED_PART(kind, within, instances);
    NEED(count, NVML_ERROR_INVALID_ARGUMENT);
    NEED_ROOT();
    unsigned slices = size_of(kind, profile_id);
    NEED(slices, NVML_ERROR_NOT_SUPPORTED);
    *count = 0;
    sim_instance found;
    for (unsigned id = 0; id < SIM_INSTANCES; id++) {
        if (sim_instance_at(within->device->card, within->id, id, &found) && found.slices == slices) {
            instances[(*count)++] = handle_of(within, id);
        }
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(nvmlGpuInstance_t within, unsigned int id,
                                                   nvmlComputeInstance_t *instance) {
    sim_instance found;
    NEED_PART(kind, within, instance);
    NEED_ROOT();
    NEED(sim_instance_at(within->device->card, within->id, id, &found), NVML_ERROR_NOT_FOUND);
    *instance = handle_of(within, id);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t instance, nvmlComputeInstanceInfo_t *info) {
    sim_instance found;
    NEED_LIBRARY();
    NEED(check(instance, &found) && info, NVML_ERROR_INVALID_ARGUMENT);
    nvmlGpuInstance_t within = instance->within;
    *info = (nvmlComputeInstanceInfo_t){
        within->device, within, found.compute_id, number_of(found.slices), {found.start, found.slices}};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlComputeInstanceGetInfo(nvmlComputeInstance_t instance, nvmlComputeInstanceInfo_t *info) {
    return nvmlComputeInstanceGetInfo_v2(instance, info);
}
