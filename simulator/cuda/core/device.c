/* Devices: names, sizes and attributes, all from the GPU's profile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/core/driver.h"

CUresult cuDeviceGetCount(int *count) {
    NEED_DRIVER();
    NEED(count, CUDA_ERROR_INVALID_VALUE);
    *count = sim_driver.device_count;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *handle, int ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(handle, CUDA_ERROR_INVALID_VALUE);
    *handle = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(name && len > 0, CUDA_ERROR_INVALID_VALUE);
    snprintf(name, (size_t)len, "%s", chosen->profile->name);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(uuid, CUDA_ERROR_INVALID_VALUE);
    memcpy(uuid->bytes, chosen->card->uuid_bytes, sizeof uuid->bytes);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice ordinal) {
    return cuDeviceGetUuid_v2(uuid, ordinal);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(bytes, CUDA_ERROR_INVALID_VALUE);
    *bytes = chosen->card->total_memory - chosen->card->reserved_memory;
    return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(major && minor, CUDA_ERROR_INVALID_VALUE);
    *major = chosen->profile->major;
    *minor = chosen->profile->minor;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *pci_bus_id, int len, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(pci_bus_id && len > 0, CUDA_ERROR_INVALID_VALUE);
    const sim_gpu *card = chosen->card;
    snprintf(pci_bus_id, (size_t)len, "%04x:%02x:%02x.0", card->pci_domain, card->pci_bus, card->pci_device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *handle, const char *pci_bus_id) {
    NEED_DRIVER();
    NEED(handle && pci_bus_id, CUDA_ERROR_INVALID_VALUE);
    unsigned domain = 0, bus, slot, function = 0;
    if (sscanf(pci_bus_id, "%x:%x:%x.%x", &domain, &bus, &slot, &function) < 3) {
        domain = 0;
        NEED(sscanf(pci_bus_id, "%x:%x.%x", &bus, &slot, &function) >= 2, CUDA_ERROR_INVALID_VALUE);
    }
    for (int i = 0; i < sim_driver.device_count; i++) {
        const sim_gpu *card = sim_driver.devices[i].card;
        if (card->pci_domain == domain && card->pci_bus == bus && card->pci_device == slot && function == 0) {
            *handle = i;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetProperties(CUdevprop *properties, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(properties, CUDA_ERROR_INVALID_VALUE);
    *properties = (CUdevprop){
        .max_threads_per_block = 1024,
        .max_threads_dim = {1024, 1024, 64},
        .max_grid_size = {2147483647, 65535, 65535},
        .shared_mem_per_block = 49152,
        .total_constant_memory = 65536,
        .simd_width = 32,
        .mem_pitch = 2147483647,
        .regs_per_block = 65536,
        .clock_rate = chosen->profile->sm_mhz * 1000,
        .texture_align = 512,
    };
    return CUDA_SUCCESS;
}

/* Attributes with the same value on every simulated GPU. */
static const struct {
    CUdevice_attribute attribute;
    int value;
} common[] = {
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
    {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 1024},
    {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
    {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
    {CU_DEVICE_ATTRIBUTE_MAX_PITCH, 2147483647},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
    {CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, 512},
    {CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT, 32},
    {CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT, 512},
    {CU_DEVICE_ATTRIBUTE_GPU_OVERLAP, 1},
    {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 2},
    {CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT, 0},
    {CU_DEVICE_ATTRIBUTE_INTEGRATED, 0},
    {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
    {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
    {CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 1},
    {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1},
    {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1},
    {CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR},
    {CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_HOST_NUMA_MEMORY_POOLS_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_HOST_MEMORY_POOLS_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS, 1},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_HEIGHT, 65536},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_HEIGHT, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_LAYERS, 2048},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_WIDTH, 32768},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_LAYERS, 2048},
};

bool device_spreads(const device *asked) {
    unsigned peers = 0;
    for (uint32_t other = 0; other < SIM_MAX_GPUS; other++) {
        peers += asked->card->links[other] > 0;
    }
    return asked->profile->major >= 9 && peers > 1; /* a bridge joins two, and can't spread */
}

enum { LAST_ATTRIBUTE = 144 }; /* of the newest driver known here */

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(value && attribute > 0 && (int)attribute <= LAST_ATTRIBUTE, CUDA_ERROR_INVALID_VALUE);
    const sim_profile *profile = chosen->profile;
    const sim_gpu *card = chosen->card;
    for (unsigned i = 0; i < sizeof common / sizeof *common; i++) {
        if (common[i].attribute == attribute) {
            *value = common[i].value;
            return CUDA_SUCCESS;
        }
    }
    int answer = 0; /* a feature that no simulated GPU has */
    switch ((int)attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: answer = profile->major; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: answer = profile->minor; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: answer = profile->multiprocessors; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: answer = profile->sm_mhz * 1000; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: answer = profile->memory_mhz * 1000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: answer = profile->bus_bits; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: answer = profile->l2_mib << 20; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: answer = profile->threads_per_multiprocessor; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
        answer = profile->threads_per_multiprocessor > 1536 ? 32 : profile->threads_per_multiprocessor > 1024 ? 24 : 16;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        answer = profile->shared_kib_per_multiprocessor << 10;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: answer = profile->shared_kib_optin << 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE: answer = (int)card->settings.compute_mode; break;
    case CU_DEVICE_ATTRIBUTE_ECC_ENABLED: answer = profile->ecc; break;
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: answer = (int)card->pci_domain; break;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: answer = (int)card->pci_bus; break;
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: answer = (int)card->pci_device; break;
    case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID: answer = (int)card->numa_node; break;
    case CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED: answer = device_spreads(chosen); break;
    case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH: answer = profile->major >= 9; break;
    case CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE:
        answer = profile->major >= 8 ? (profile->l2_mib << 20) / 4 * 3 : 0;
        break;
    case CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO: answer = profile->fan ? 64 : 2; break;
    default: break;
    }
    *value = answer;
    return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *can_access_peer, CUdevice ordinal, CUdevice peer) {
    NEED_DEVICE(first, ordinal);
    NEED_DEVICE(second, peer);
    NEED(can_access_peer, CUDA_ERROR_INVALID_VALUE);
    *can_access_peer = first != second && first->card->links[second->gpu] > 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int *value, CUdevice_P2PAttribute attribute, CUdevice source, CUdevice destination) {
    NEED_DEVICE(first, source);
    NEED_DEVICE(second, destination);
    NEED(value && first != second, CUDA_ERROR_INVALID_VALUE);
    int links = first->card->links[second->gpu];
    *value = attribute == CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK ? links == 0 : links > 0;
    return CUDA_SUCCESS;
}
