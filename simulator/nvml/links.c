/* How GPUs reach each other. */
#include <string.h>

#include "simulator/nvml/library.h"

nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t first, nvmlDevice_t second,
                                                 nvmlGpuTopologyLevel_t *level) {
    NEED_DEVICE(first, level);
    NEED_DEVICE(second, level);
    if (first == second) {
        *level = NVML_TOPOLOGY_INTERNAL;
    } else if (first->gpu / 2 == second->gpu / 2) {
        *level = first->profile->fan ? NVML_TOPOLOGY_HOSTBRIDGE : NVML_TOPOLOGY_SINGLE;
    } else {
        *level = first->card->numa_node == second->card->numa_node ? NVML_TOPOLOGY_NODE : NVML_TOPOLOGY_SYSTEM;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTopologyNearestGpus(nvmlDevice_t device, nvmlGpuTopologyLevel_t level, unsigned int *count,
                                              nvmlDevice_t *devices) {
    NEED_DEVICE(device, count);
    unsigned found = 0;
    for (unsigned i = 0; i < nvml.count; i++) {
        nvmlGpuTopologyLevel_t distance;
        nvmlDevice_t other = &nvml.devices[i];
        if (other != device && nvmlDeviceGetTopologyCommonAncestor(device, other, &distance) == NVML_SUCCESS &&
            distance == level) {
            if (devices && found < *count) {
                devices[found] = other;
            }
            found++;
        }
    }
    *count = found;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetP2PStatus(nvmlDevice_t first, nvmlDevice_t second, nvmlGpuP2PCapsIndex_t capability,
                                    nvmlGpuP2PStatus_t *status) {
    NEED_DEVICE(first, status);
    NEED_DEVICE(second, status);
    NEED((unsigned)capability <= NVML_P2P_CAPS_INDEX_UNKNOWN, NVML_ERROR_INVALID_ARGUMENT);
    if (capability == NVML_P2P_CAPS_INDEX_UNKNOWN) {
        *status = NVML_P2P_STATUS_UNKNOWN; /* NVIDIA's own test asks for it, and for a status */
        return NVML_SUCCESS;
    }
    bool linked = first->card->links[second->gpu] > 0;
    bool reached = capability == NVML_P2P_CAPS_INDEX_PCI ? !linked && !first->profile->fan : linked;
    *status = reached ? NVML_P2P_STATUS_OK : NVML_P2P_STATUS_NOT_SUPPORTED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceOnSameBoard(nvmlDevice_t first, nvmlDevice_t second, int *same) {
    NEED_DEVICE(first, same);
    NEED_DEVICE(second, same);
    *same = first == second;
    return NVML_SUCCESS;
}

/* A GPU's links, counted up over the GPUs that they lead to; joined by a switch each leads to all, so the count is
 * that of one neighbour. */
static unsigned link_count(nvmlDevice_t device) {
    unsigned most = 0;
    for (uint32_t other = 0; other < SIM_MAX_GPUS; other++) {
        if (device->card->links[other] > most) {
            most = device->card->links[other];
        }
    }
    return most;
}

static nvmlReturn_t check_link(nvmlDevice_t device, unsigned link, const void *answer) {
    NEED_DEVICE(device, answer);
    unsigned most = driver_branch() < 610 ? NVML_NVLINK_MAX_LINKS : 2 * NVML_NVLINK_MAX_LINKS;
    NEED(link < most, NVML_ERROR_INVALID_ARGUMENT);
    NEED(device->profile->nvlinks || link_count(device), NVML_ERROR_NOT_SUPPORTED);
    return NVML_SUCCESS;
}

#define NEED_LINK(device, link, answer)                          \
    do {                                                         \
        nvmlReturn_t linked_ = check_link(device, link, answer); \
        NEED(linked_ == NVML_SUCCESS, linked_);                  \
    } while (0)

nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned int link, nvmlEnableState_t *active) {
    NEED_LINK(device, link, active);
    NEED(link < link_count(device) || (int)link < device->profile->nvlinks, NVML_ERROR_INVALID_ARGUMENT);
    *active = link < link_count(device) ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkVersion(nvmlDevice_t device, unsigned int link, unsigned int *version) {
    NEED_LINK(device, link, version);
    NEED(link < link_count(device), NVML_ERROR_NOT_SUPPORTED);
    *version = device->profile->nvlink_version ? (unsigned)device->profile->nvlink_version : 3;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkCapability(nvmlDevice_t device, unsigned int link, unsigned int capability,
                                           unsigned int *result) {
    NEED_LINK(device, link, result);
    NEED(capability <= 5, NVML_ERROR_INVALID_ARGUMENT);
    *result = link < link_count(device);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkErrorCounter(nvmlDevice_t device, unsigned int link, unsigned int counter,
                                             unsigned long long *count) {
    enum { COUNTERS = 5 };
    NEED_LINK(device, link, count);
    NEED(counter < COUNTERS, NVML_ERROR_INVALID_ARGUMENT);
    NEED(link < link_count(device), NVML_ERROR_NOT_SUPPORTED);
    *count = 0;
    return NVML_SUCCESS;
}

/* The GPU at a link's other end: a bridge's other GPU; behind a switch, the switch. */
static nvmlReturn_t far_end(nvmlDevice_t device, unsigned link, nvmlPciInfo_t *info) {
    NEED_LINK(device, link, info);
    NEED(link < link_count(device), NVML_ERROR_NOT_SUPPORTED);
    nvmlDevice_t peer = NULL;
    unsigned peers = 0;
    for (unsigned i = 0; i < nvml.count; i++) {
        if (device->card->links[nvml.devices[i].gpu]) {
            peer = &nvml.devices[i];
            peers++;
        }
    }
    if (peers == 1) {
        return nvmlDeviceGetPciInfo_v3(peer, info);
    }
    memset(info, 0, sizeof *info);
    info->bus = 0xC0 + link / 2;
    info->device_id = 0x1AF110DE; /* a link switch */
    strcpy(info->bus_id_legacy, "0000:C0:00.0");
    strcpy(info->bus_id, "00000000:C0:00.0");
    info->bus_id_legacy[6] = info->bus_id[10] = (char)("0123456789ABCDEF"[link / 2]);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t device, unsigned int link, nvmlPciInfo_t *info) {
    return far_end(device, link, info);
}

nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo(nvmlDevice_t device, unsigned int link, nvmlPciInfo_v2_t *info) {
    nvmlPciInfo_t full;
    NEED(info, NVML_ERROR_INVALID_ARGUMENT);
    nvmlReturn_t result = far_end(device, link, &full);
    NEED(result == NVML_SUCCESS, result);
    memset(info, 0, sizeof *info);
    memcpy(info, &full, offsetof(nvmlPciInfo_v2_t, reserved));
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetNvLinkRemoteDeviceType(nvmlDevice_t device, unsigned int link, unsigned int *type) {
    nvmlPciInfo_t full;
    NEED(type, NVML_ERROR_INVALID_ARGUMENT);
    nvmlReturn_t result = far_end(device, link, &full);
    NEED(result == NVML_SUCCESS, result);
    enum { TO_GPU = 0, TO_SWITCH = 2 };
    *type = full.device_id == 0x1AF110DE ? TO_SWITCH : TO_GPU;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetTopologyGpuSet(unsigned int cpu, unsigned int *count, nvmlDevice_t *devices) {
    (void)cpu; /* every processor is near every GPU */
    NEED_LIBRARY();
    NEED(count, NVML_ERROR_INVALID_ARGUMENT);
    for (unsigned i = 0; devices && i < nvml.count && i < *count; i++) {
        devices[i] = &nvml.devices[i];
    }
    *count = nvml.count;
    return NVML_SUCCESS;
}
