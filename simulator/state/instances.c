/* MIG instances: parts of a GPU that NVML tells of. Each is one GPU instance with one compute instance that fills it. */
#include "simulator/state/state.h"

enum { FEW_SLICES = 4 };

/* Slices of memory that come with slices of multiprocessors; a GPU of seven has eight of memory. */
static unsigned memory_slices(const sim_profile *profile, unsigned slices) {
    if (profile->mig_slices <= FEW_SLICES) {
        return slices;
    }
    return slices == 3 ? 4 : slices == 7 ? 8 : slices;
}

static unsigned all_memory_slices(const sim_profile *profile) {
    return memory_slices(profile, (unsigned)profile->mig_slices);
}

static bool is_size(const sim_profile *profile, unsigned slices) {
    bool usual = slices == 1 || slices == 2 || slices == 4 || (slices == 3 && profile->mig_slices > FEW_SLICES);
    return usual || slices == (unsigned)profile->mig_slices;
}

/* The first number of instances of a size; a GPU has those of each size in a row. */
static unsigned first_id(const sim_profile *profile, unsigned slices) {
    return slices == (unsigned)profile->mig_slices ? 0 : slices >= 3 ? 1 : slices == 2 ? 3 : 7;
}

bool sim_instance_at(const sim_gpu *gpu, unsigned place, sim_instance *found) {
    enum { KEPT_MIB = 256, KEPT_MORE_MIB = 128 };
    const sim_profile *profile = &sim_profiles[gpu->profile];
    const uint32_t *sizes = gpu->settings.instances;
    if (place >= SIM_INSTANCES || !sizes[place] || !gpu->settings.mig) {
        return false;
    }
    unsigned memory = memory_slices(profile, sizes[place]), id = first_id(profile, sizes[place]);
    for (unsigned i = 0; i < place; i++) {
        id += first_id(profile, sizes[i]) == first_id(profile, sizes[place]);
    }
    uint64_t kept = KEPT_MIB + KEPT_MORE_MIB * (uint64_t)(31 - __builtin_clz(memory));
    *found = (sim_instance){
        .slices = sizes[place],
        .multiprocessors = sizes[place] * (unsigned)profile->mig_multiprocessors,
        .id = id,
        .memory = (gpu->total_memory >> 20) * memory / all_memory_slices(profile) - kept,
    };
    return true;
}

bool sim_instances_set(sim_gpu *gpu, const unsigned *sizes, unsigned count) {
    const sim_profile *profile = &sim_profiles[gpu->profile];
    unsigned slices = 0, memory = 0;
    for (unsigned i = 0; i < count && i < SIM_INSTANCES; i++) {
        if (!is_size(profile, sizes[i])) {
            return false;
        }
        slices += sizes[i];
        memory += memory_slices(profile, sizes[i]);
    }
    if (count > SIM_INSTANCES || slices > (unsigned)profile->mig_slices || memory > all_memory_slices(profile) ||
        (count && !gpu->settings.mig)) {
        return false;
    }
    for (unsigned i = 0; i < SIM_INSTANCES; i++) {
        __atomic_store_n(&gpu->settings.instances[i], i < count ? sizes[i] : 0, __ATOMIC_RELEASE);
    }
    return true;
}
