/* What a program is told about its memory: its share's figures in place of the card's. */
#include "cards.h"
#include "hooks.h"
#include "reserves.h"
#include "shown.h"

CUresult hook_cuMemGetInfo_v2(__typeof__(&cuMemGetInfo_v2) driver, size_t *free_bytes, size_t *total) {
    CUcontext context;
    int card;
    CUresult result = driver(free_bytes, total);
    if (result != CUDA_SUCCESS || free_bytes == NULL || total == NULL || !cards_of_current(&context, &card)) {
        return result;
    }
    uint64_t limit = quota_limit(card);
    if (limit < *total) {
        reserves_look(card);
        uint64_t used = quota_used(card);
        *total = shown_total(limit, *total);
        *free_bytes = shown_least(*free_bytes, limit > used ? limit - used : 0);
    }
    return result;
}

CUresult hook_cuDeviceTotalMem_v2(__typeof__(&cuDeviceTotalMem_v2) driver, size_t *bytes, CUdevice device) {
    CUresult result = driver(bytes, device);
    if (result == CUDA_SUCCESS && bytes != NULL) {
        *bytes = shown_total(quota_limit(cards_of_device(device)), *bytes);
    }
    return result;
}

nvmlReturn_t hook_nvmlDeviceGetMemoryInfo(__typeof__(&nvmlDeviceGetMemoryInfo) driver, nvmlDevice_t device,
                                          nvmlMemory_t *memory) {
    nvmlReturn_t result = driver(device, memory);
    if (result != NVML_SUCCESS) {
        return result;
    }
    int card = cards_of_nvml(device);
    uint64_t limit = quota_limit(card);
    if (limit < memory->total) {
        memory->total = shown_total(limit, memory->total);
        memory->used = limit != 0 ? shown_least(quota_used(card), limit) : memory->total;
        memory->free = memory->total - memory->used;
    }
    return result;
}

nvmlReturn_t hook_nvmlDeviceGetMemoryInfo_v2(__typeof__(&nvmlDeviceGetMemoryInfo_v2) driver, nvmlDevice_t device,
                                             nvmlMemory_v2_t *memory) {
    nvmlReturn_t result = driver(device, memory);
    if (result != NVML_SUCCESS) {
        return result;
    }
    int card = cards_of_nvml(device);
    uint64_t limit = quota_limit(card);
    if (limit < memory->total) {
        memory->total = shown_total(limit, memory->total);
        memory->reserved = 0;
        memory->used = limit != 0 ? shown_least(quota_used(card), limit) : memory->total;
        memory->free = memory->total - memory->used;
    }
    return result;
}
