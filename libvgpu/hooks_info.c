/* What a program is told about its memory: its share's figures in place of the card's. */
#include "cards.h"
#include "hooks.h"
#include "reserves.h"

static uint64_t least(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* A card of which nothing may be had stays as big as it is, and full: programs divide by the total. */
static uint64_t shown(uint64_t limit, uint64_t total)
{
    return limit != 0 ? least(limit, total) : total;
}

CUresult hook_cuMemGetInfo_v2(__typeof__(&cuMemGetInfo_v2) driver, size_t *free_bytes, size_t *total)
{
    CUcontext context;
    int card;
    CUresult result = driver(free_bytes, total);
    if (result != CUDA_SUCCESS || free_bytes == NULL || total == NULL || !cards_of_current(&context, &card))
        return result;
    uint64_t limit = quota_limit(card);
    if (limit < *total) {
        reserves_look(card);
        uint64_t used = quota_used(card);
        *total = shown(limit, *total);
        *free_bytes = least(*free_bytes, limit > used ? limit - used : 0);
    }
    return result;
}

CUresult hook_cuDeviceTotalMem_v2(__typeof__(&cuDeviceTotalMem_v2) driver, size_t *bytes, CUdevice device)
{
    CUresult result = driver(bytes, device);
    if (result == CUDA_SUCCESS && bytes != NULL)
        *bytes = shown(quota_limit(cards_of_device(device)), *bytes);
    return result;
}

nvmlReturn_t hook_nvmlDeviceGetMemoryInfo(__typeof__(&nvmlDeviceGetMemoryInfo) driver, nvmlDevice_t device,
    nvmlMemory_t *memory)
{
    nvmlReturn_t result = driver(device, memory);
    if (result != NVML_SUCCESS)
        return result;
    int card = cards_of_nvml(device);
    uint64_t limit = quota_limit(card);
    if (limit < memory->total) {
        memory->total = shown(limit, memory->total);
        memory->used = limit != 0 ? least(quota_used(card), limit) : memory->total;
        memory->free = memory->total - memory->used;
    }
    return result;
}

nvmlReturn_t hook_nvmlDeviceGetMemoryInfo_v2(__typeof__(&nvmlDeviceGetMemoryInfo_v2) driver, nvmlDevice_t device,
    nvmlMemory_v2_t *memory)
{
    nvmlReturn_t result = driver(device, memory);
    if (result != NVML_SUCCESS)
        return result;
    int card = cards_of_nvml(device);
    uint64_t limit = quota_limit(card);
    if (limit < memory->total) {
        memory->total = shown(limit, memory->total);
        memory->reserved = 0;
        memory->used = limit != 0 ? least(quota_used(card), limit) : memory->total;
        memory->free = memory->total - memory->used;
    }
    return result;
}
