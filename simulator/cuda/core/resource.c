/* Splitting a GPU's multiprocessors into parts, and descriptors of what a green context gets. */
#include "simulator/cuda/core/resource.h"

#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/core/later.h"

enum { MAGIC = 0x53494d52, QUEUES_SINCE = 13010, LARGEST_CLUSTER = 16, MOST_COSCHEDULED = 32 };

static unsigned last_split;

/* The fewest multiprocessors of a part, and of what it is a multiple: by NVIDIA's table of architectures. */
static unsigned step_of(const sim_profile *profile, unsigned *least) {
    *least = profile->major >= 9 ? 8 : profile->major == 8 ? 4 : 2;
    return profile->major >= 9 ? 8 : 2;
}

static CUdevResource multiprocessors_of(int ordinal, unsigned count) {
    CUdevResource made = {.type = count ? CU_DEV_RESOURCE_TYPE_SM : CU_DEV_RESOURCE_TYPE_INVALID};
    made.origin.magic = MAGIC;
    made.origin.device = ordinal;
    made.as.sm.count = count;
    made.as.sm.alignment = step_of(sim_driver.devices[ordinal].profile, &made.as.sm.least);
    return made;
}

static unsigned queue_count(void) {
    const char *wanted = getenv("CUDA_DEVICE_MAX_CONNECTIONS");
    long count = wanted ? strtol(wanted, NULL, 10) : 8;
    return count >= 1 && count <= 32 ? (unsigned)count : 8;
}

CUresult resource_query(int ordinal, unsigned multiprocessors, CUdevResourceType type, CUdevResource *resource) {
    NEED(resource, CUDA_ERROR_INVALID_VALUE);
    bool knows_queues = sim_driver.machine->state->cuda_version >= QUEUES_SINCE;
    if (type == CU_DEV_RESOURCE_TYPE_SM) {
        unsigned all = (unsigned)sim_driver.devices[ordinal].profile->multiprocessors;
        *resource = multiprocessors_of(ordinal, multiprocessors ? multiprocessors : all);
        return CUDA_SUCCESS;
    }
    NEED(knows_queues && (type == CU_DEV_RESOURCE_TYPE_WORKQUEUE_CONFIG || type == CU_DEV_RESOURCE_TYPE_WORKQUEUE),
         CUDA_ERROR_INVALID_RESOURCE_TYPE);
    *resource = (CUdevResource){.type = type};
    resource->origin.magic = MAGIC;
    resource->origin.device = ordinal;
    if (type == CU_DEV_RESOURCE_TYPE_WORKQUEUE_CONFIG) {
        resource->as.queues.device = ordinal;
        resource->as.queues.limit = queue_count();
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetDevResource(CUdevice ordinal, CUdevResource *resource, CUdevResourceType type) {
    NEED_DEVICE(chosen, ordinal);
    NEED(type != CU_DEV_RESOURCE_TYPE_WORKQUEUE, CUDA_ERROR_INVALID_RESOURCE_TYPE); /* contexts have those */
    return resource_query(ordinal, 0, type, resource);
}

/* ---- Splitting. */

static CUresult check_input(const CUdevResource *input) {
    NEED(input && input->origin.magic == MAGIC, CUDA_ERROR_INVALID_VALUE);
    NEED(input->type == CU_DEV_RESOURCE_TYPE_SM, CUDA_ERROR_INVALID_RESOURCE_TYPE);
    NEED(!input->origin.final, CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
    return CUDA_SUCCESS;
}

/* The lanes in which a part lies: one at least. */
static unsigned lanes_of(unsigned first, unsigned count, unsigned all) {
    unsigned begin = first * SIM_LANES / all, end = (first + count) * SIM_LANES / all;
    begin = begin < SIM_LANES ? begin : SIM_LANES - 1;
    end = end > begin ? end : begin + 1;
    return (1U << end) - (1U << begin);
}

static CUdevResource part_of(const CUdevResource *input, unsigned first, unsigned count, unsigned alignment,
                             unsigned split, bool final) {
    CUdevResource part = multiprocessors_of(input->origin.device, count);
    part.as.sm.alignment = alignment;
    part.as.sm.least = part.as.sm.least < alignment ? part.as.sm.least : alignment;
    part.origin.split = split;
    part.origin.final = final;
    part.origin.first = first;
    part.origin.lanes =
        lanes_of(first, count, (unsigned)sim_driver.devices[input->origin.device].profile->multiprocessors);
    return part;
}

CUresult cuDevSmResourceSplitByCount(CUdevResource *result, unsigned int *group_count, const CUdevResource *input,
                                     CUdevResource *remaining, unsigned int flags, unsigned int min_count) {
    NEED_DRIVER();
    NEED(group_count, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check_input(input));
    unsigned known =
        CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING | CU_DEV_SM_RESOURCE_SPLIT_MAX_POTENTIAL_CLUSTER_SIZE;
    NEED(!(flags & ~known) && flags != known && min_count <= input->as.sm.count, CUDA_ERROR_INVALID_VALUE);
    const sim_profile *profile = sim_driver.devices[input->origin.device].profile;
    bool large = flags & CU_DEV_SM_RESOURCE_SPLIT_MAX_POTENTIAL_CLUSTER_SIZE;
    NEED(!large || profile->major >= 9, CUDA_ERROR_INVALID_VALUE);
    unsigned least, alignment = step_of(profile, &least);
    if (flags & CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING) {
        least = alignment = 2;
    } else if (large) {
        least = alignment = LARGEST_CLUSTER;
    }
    unsigned size = (unsigned)ROUND_UP(min_count > least ? min_count : least, alignment);
    unsigned count = input->as.sm.count / size;
    NEED(count, CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
    unsigned split = __atomic_add_fetch(&last_split, 1, __ATOMIC_RELAXED);
    if (result) {
        count = *group_count < count ? *group_count : count;
        for (unsigned i = 0; i < count; i++) {
            result[i] = part_of(input, input->origin.first + i * size, size, alignment, split, true);
        }
    }
    *group_count = count;
    if (remaining) {
        *remaining = part_of(input, input->origin.first + count * size, input->as.sm.count - count * size, alignment,
                             split, false);
    }
    return CUDA_SUCCESS;
}

/* How many multiprocessors a group gets of those that are left; 0: its wishes can't be met. */
static unsigned grant(const CU_DEV_SM_RESOURCE_GROUP_PARAMS *wanted, unsigned left, unsigned together) {
    bool fill = wanted->flags & CU_DEV_SM_RESOURCE_GROUP_BACKFILL;
    if (!wanted->count) { /* all there is */
        unsigned whole = left / together * together;
        return fill && whole ? left : whole;
    }
    bool whole = wanted->count % together == 0 || (fill && wanted->count >= together);
    return whole && wanted->count <= left ? wanted->count : 0;
}

CUresult cuDevSmResourceSplit(CUdevResource *result, unsigned int group_count, const CUdevResource *input,
                              CUdevResource *remainder, unsigned int flags, CU_DEV_SM_RESOURCE_GROUP_PARAMS *groups) {
    NEED_DRIVER();
    NEED(group_count && groups && flags == 0, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check_input(input));
    const sim_profile *profile = sim_driver.devices[input->origin.device].profile;
    unsigned least, alignment = step_of(profile, &least), left = input->as.sm.count;
    unsigned most = profile->major >= 9 ? MOST_COSCHEDULED : 2;
    unsigned split = __atomic_add_fetch(&last_split, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < group_count; i++) {
        CU_DEV_SM_RESOURCE_GROUP_PARAMS *each = &groups[i];
        unsigned together = each->coscheduled ? each->coscheduled : alignment;
        bool even = each->count % 2 == 0 && together % 2 == 0 && each->preferred % together == 0;
        NEED(even && together <= most && each->count <= input->as.sm.count &&
                 !(each->flags & ~(unsigned)CU_DEV_SM_RESOURCE_GROUP_BACKFILL),
             CUDA_ERROR_INVALID_VALUE);
        unsigned count = grant(each, left, together);
        bool discovers = !result && !each->count;
        NEED(count || discovers, CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
        each->count = count;
        unsigned first = input->origin.first + input->as.sm.count - left;
        left -= count;
        if (result) {
            result[i] = part_of(input, first, count, together, split, true);
            result[i].as.sm.flags = each->flags;
        }
    }
    if (remainder) {
        *remainder = part_of(input, input->origin.first + input->as.sm.count - left, left, alignment, split, false);
    }
    return CUDA_SUCCESS;
}

/* ---- Descriptors. */

static CUresult add(CUdevResourceDesc to, const CUdevResource *added) {
    NEED(added->type != CU_DEV_RESOURCE_TYPE_INVALID, CUDA_ERROR_INVALID_RESOURCE_TYPE);
    NEED(added->origin.magic == MAGIC, CUDA_ERROR_INVALID_VALUE);
    NEED(added->origin.device == to->ordinal, CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
    if (added->type != CU_DEV_RESOURCE_TYPE_SM) {
        NEED(!to->queues.type, CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
        to->queues = *added;
        return CUDA_SUCCESS;
    }
    CUdevResource *has = &to->multiprocessors;
    if (!has->type) {
        *has = *added;
        return CUDA_SUCCESS;
    }
    bool together =
        has->origin.split && has->origin.split == added->origin.split && has->as.sm.alignment == added->as.sm.alignment;
    NEED(together, CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
    has->as.sm.count += added->as.sm.count;
    has->origin.lanes |= added->origin.lanes;
    return CUDA_SUCCESS;
}

CUresult cuDevResourceGenerateDesc(CUdevResourceDesc *desc, CUdevResource *resources, unsigned int resource_count) {
    NEED_DRIVER();
    NEED(desc && resources && resource_count, CUDA_ERROR_INVALID_VALUE);
    CUdevResourceDesc made = object_new(KIND_RESOURCES, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->ordinal = resources->origin.device;
    for (unsigned i = 0; i < resource_count; i++) {
        CUresult added = add(made, &resources[i]);
        if (added != CUDA_SUCCESS) {
            object_end(made);
            return added;
        }
    }
    *desc = made;
    return CUDA_SUCCESS;
}
