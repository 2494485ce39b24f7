/* Reports the share's memory in place of the GPU's. */
#include "libvgpu/driver/devices.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/implicit.h"
#include "libvgpu/memory/pools.h"
#include "libvgpu/memory/reported.h"

CUresult hook_cuMemGetInfo_v2(__typeof__(&cuMemGetInfo_v2) driver, size_t *free_bytes, size_t *total) {
    CUcontext context;
    size_t own_free, own_total;
    int gpu;
    if (free_bytes == NULL && total == NULL) {
        return driver(free_bytes, total);
    }
    /* A program may ask for one of the two. */
    free_bytes = free_bytes != NULL ? free_bytes : &own_free;
    total = total != NULL ? total : &own_total;
    CUresult result = driver(free_bytes, total);
    if (result != CUDA_SUCCESS || !devices_current(&context, &gpu)) {
        return result;
    }
    uint64_t limit = quota_limit(gpu);
    if (limit < *total) {
        pools_refresh(gpu);
        implicit_refresh(gpu);
        uint64_t used = quota_used(gpu);
        *total = reported_total(limit, *total);
        *free_bytes = reported_min(*free_bytes, limit > used ? limit - used : 0);
    }
    return result;
}

CUresult hook_cuDeviceTotalMem_v2(__typeof__(&cuDeviceTotalMem_v2) driver, size_t *bytes, CUdevice device) {
    CUresult result = driver(bytes, device);
    if (result == CUDA_SUCCESS && bytes != NULL) {
        *bytes = reported_total(quota_limit(devices_gpu(device)), *bytes);
    }
    return result;
}

nvmlReturn_t hook_nvmlDeviceGetMemoryInfo(__typeof__(&nvmlDeviceGetMemoryInfo) driver, nvmlDevice_t device,
                                          nvmlMemory_t *memory) {
    nvmlReturn_t result = driver(device, memory);
    if (result != NVML_SUCCESS || memory == NULL) {
        return result;
    }
    int gpu = devices_gpu_of_nvml(device);
    uint64_t limit = quota_limit(gpu);
    if (limit < memory->total) {
        implicit_refresh(gpu);
        memory->total = reported_total(limit, memory->total);
        memory->used = limit != 0 ? reported_min(quota_used(gpu), limit) : memory->total;
        memory->free = reported_min(memory->free, memory->total - memory->used);
    }
    return result;
}

nvmlReturn_t hook_nvmlDeviceGetMemoryInfo_v2(__typeof__(&nvmlDeviceGetMemoryInfo_v2) driver, nvmlDevice_t device,
                                             nvmlMemory_v2_t *memory) {
    nvmlReturn_t result = driver(device, memory);
    if (result != NVML_SUCCESS || memory == NULL) {
        return result;
    }
    int gpu = devices_gpu_of_nvml(device);
    uint64_t limit = quota_limit(gpu);
    if (limit < memory->total) {
        implicit_refresh(gpu);
        memory->total = reported_total(limit, memory->total);
        memory->reserved = 0;
        memory->used = limit != 0 ? reported_min(quota_used(gpu), limit) : memory->total;
        memory->free = reported_min(memory->free, memory->total - memory->used);
    }
    return result;
}
