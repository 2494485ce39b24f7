/* Virtual memory management: physical memory counts on the GPU that its location names, until the last handle is
 * released and the last mapping removed. */
#include <stdlib.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/quota.h"
#include "libvgpu/memory/reservation.h"

struct physical {
    uint64_t bytes;
    uint64_t holders; /* handles and mappings */
    int gpu;
    bool counted;
    bool imported; /* its size isn't known before it is mapped */
};

MUTEX(lock);

/* Notes a handle or a mapping. `physical` is NULL for memory of no GPU. */
static void hold(struct allocation_key key, uint64_t bytes, struct physical *physical) {
    struct allocation entry = {.handle = key.handle, .bytes = bytes, .physical = physical, .kind = key.kind};
    if (allocations_add(entry) && physical != NULL) {
        physical->holders++;
    }
}

static void let_go(struct physical *physical) {
    if (physical == NULL || --physical->holders > 0) {
        return;
    }
    if (physical->counted) {
        quota_give(physical->gpu, physical->bytes);
    }
    free(physical);
}

static int gpu_of(const CUmemAllocationProp *properties) {
    return properties != NULL && properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE
               ? devices_gpu(properties->location.id)
               : NO_GPU;
}

static bool on_a_device(const CUmemAllocationProp *properties) {
    return properties != NULL && properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
}

CUresult hook_cuMemCreate(__typeof__(&cuMemCreate) driver, CUmemGenericAllocationHandle *handle, size_t size,
                          const CUmemAllocationProp *properties, unsigned long long flags) {
    struct reservation reservation;
    if (handle == NULL || !on_a_device(properties)) {
        return driver(handle, size, properties, flags);
    }
    struct physical *physical = calloc(1, sizeof *physical);
    if (physical == NULL || !reservation_take(&reservation, NULL, gpu_of(properties), size)) {
        free(physical);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(handle, size, properties, flags);
    if (result != CUDA_SUCCESS) {
        reservation_cancel(&reservation);
        free(physical);
        return result;
    }
    *physical = (struct physical){.bytes = size, .gpu = reservation.gpu, .counted = reservation.counted};
    mutex_lock(&lock);
    hold(ALLOCATION_KEY(HANDLE, *handle), size, physical);
    mutex_unlock(&lock);
    return result;
}

/* The driver may return the same handle several times, and each has to be released. */
CUresult hook_cuMemRelease(__typeof__(&cuMemRelease) driver, CUmemGenericAllocationHandle handle) {
    struct allocation entry;
    mutex_lock(&lock);
    bool noted = allocations_remove(ALLOCATION_KEY(HANDLE, handle), &entry);
    CUresult result = driver(handle);
    if (noted && result == CUDA_SUCCESS) {
        let_go(entry.physical);
    } else if (noted) {
        allocations_add(entry);
    }
    mutex_unlock(&lock);
    return result;
}

CUresult hook_cuMemImportFromShareableHandle(__typeof__(&cuMemImportFromShareableHandle) driver,
                                             CUmemGenericAllocationHandle *handle, void *os_handle,
                                             CUmemAllocationHandleType sh_handle_type) {
    CUmemAllocationProp properties;
    CUresult result = driver(handle, os_handle, sh_handle_type);
    if (result != CUDA_SUCCESS || handle == NULL || DRIVER(cuMemGetAllocationPropertiesFromHandle) == NULL ||
        DRIVER(cuMemGetAllocationPropertiesFromHandle)(&properties, *handle) != CUDA_SUCCESS ||
        !on_a_device(&properties)) {
        return result;
    }
    struct physical *physical = calloc(1, sizeof *physical);
    if (physical != NULL) {
        *physical = (struct physical){.gpu = gpu_of(&properties), .imported = true};
        mutex_lock(&lock);
        hold(ALLOCATION_KEY(HANDLE, *handle), 0, physical);
        mutex_unlock(&lock);
    }
    return result;
}

/* Counts memory from another container when it is first mapped; false: refused. */
static bool count_import(struct physical *physical, uint64_t bytes) {
    if (!physical->imported || physical->counted || quota_counted_already(physical->gpu, bytes)) {
        return true;
    }
    enum quota_answer answer = quota_take(physical->gpu, bytes);
    physical->counted = answer == QUOTA_TAKEN;
    physical->bytes = bytes;
    return answer != QUOTA_REFUSED;
}

CUresult hook_cuMemMap(__typeof__(&cuMemMap) driver, CUdeviceptr ptr, size_t size, size_t offset,
                       CUmemGenericAllocationHandle handle, unsigned long long flags) {
    struct allocation entry;
    mutex_lock(&lock);
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    bool noted = allocations_find(ALLOCATION_KEY(HANDLE, handle), &entry);
    if (!noted || count_import(entry.physical, size)) {
        result = driver(ptr, size, offset, handle, flags);
        if (result == CUDA_SUCCESS) {
            hold(ALLOCATION_KEY(MAPPING, ptr), size, noted ? entry.physical : NULL);
        }
    }
    mutex_unlock(&lock);
    return result;
}

/* One call may remove several adjacent mappings, also of host memory. */
CUresult hook_cuMemUnmap(__typeof__(&cuMemUnmap) driver, CUdeviceptr ptr, size_t size) {
    struct allocation entry;
    mutex_lock(&lock);
    CUresult result = driver(ptr, size);
    uint64_t end = ptr + size;
    while (result == CUDA_SUCCESS && ptr < end && allocations_remove(ALLOCATION_KEY(MAPPING, ptr), &entry)) {
        let_go(entry.physical);
        ptr += entry.bytes;
    }
    mutex_unlock(&lock);
    return result;
}

/* Finds a mapping only by its first byte: programs retain a mapping by the address at which they made it. */
CUresult hook_cuMemRetainAllocationHandle(__typeof__(&cuMemRetainAllocationHandle) driver,
                                          CUmemGenericAllocationHandle *handle, void *addr) {
    struct allocation entry;
    mutex_lock(&lock);
    CUresult result = driver(handle, addr);
    if (result == CUDA_SUCCESS &&
        (allocations_find(ALLOCATION_KEY(MAPPING, addr), &entry) ||
         allocations_find(ALLOCATION_KEY(HANDLE, *handle), &entry)) &&
        entry.physical != NULL) {
        hold(ALLOCATION_KEY(HANDLE, *handle), entry.bytes, entry.physical);
    }
    mutex_unlock(&lock);
    return result;
}
