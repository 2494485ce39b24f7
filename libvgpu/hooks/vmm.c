/* Virtual memory management: physical memory counts on the GPU that its location names, until the last handle is
 * released and the last mapping removed. */
#include <search.h>
#include <stdlib.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/location.h"
#include "libvgpu/memory/quota.h"
#include "libvgpu/memory/reservation.h"

struct physical {
    uint64_t bytes;
    uint64_t holders; /* handles and mappings */
    int gpu;
    bool counted;
    bool imported; /* its size isn't known before it is mapped */
};

/* A mapping holds its memory by the addresses that it covers: programs name it by any of them. Mappings of host memory
 * are not noted. */
struct mapping {
    uint64_t begin, end;
    struct physical *physical;
    struct mapping *next; /* of those that one call removes */
};

/* Held for the notes, never across a driver call. What a call is about to use is held before it. */
MUTEX(lock);
static void *mappings; /* a tree of tsearch */

/* Addresses that overlap are equal: mappings never do. */
static int by_address(const void *left, const void *right) {
    const struct mapping *one = left, *other = right;
    return one->end <= other->begin ? -1 : one->begin >= other->end;
}

static struct mapping *mapping_in(uint64_t begin, uint64_t end) {
    const struct mapping wanted = {.begin = begin, .end = end};
    void *const *found = tfind(&wanted, &mappings, by_address);
    return found != NULL ? *found : NULL;
}

static void add_mapping(struct mapping *mapping) {
    mapping->next = NULL;
    tsearch(mapping, &mappings, by_address);
}

/* Notes a handle, which holds the memory from now on. */
static void hold(CUmemGenericAllocationHandle handle, uint64_t bytes, struct physical *physical) {
    struct allocation entry = {.handle = handle, .bytes = bytes, .physical = physical, .kind = ALLOCATION_HANDLE};
    if (allocations_add(entry)) {
        physical->holders++;
    }
}

static void let_go(struct physical *physical) {
    if (--physical->holders > 0) {
        return;
    }
    if (physical->counted) {
        quota_give(physical->gpu, physical->bytes);
    }
    free(physical);
}

static void let_go_locked(struct physical *physical) {
    if (physical != NULL) {
        mutex_lock(&lock);
        let_go(physical);
        mutex_unlock(&lock);
    }
}

static bool on_device(const CUmemAllocationProp *properties, int *gpu) {
    CUdevice device;
    if (properties == NULL || !location_on_device(properties->location, &device)) {
        return false;
    }
    *gpu = devices_gpu(device);
    return true;
}

CUresult hook_cuMemCreate(__typeof__(&cuMemCreate) driver, CUmemGenericAllocationHandle *handle, size_t size,
                          const CUmemAllocationProp *properties, unsigned long long flags) {
    struct reservation reservation;
    int gpu;
    if (handle == NULL || !on_device(properties, &gpu)) {
        return driver(handle, size, properties, flags);
    }
    struct physical *physical = calloc(1, sizeof *physical);
    if (physical == NULL || !reservation_take(&reservation, NULL, gpu, size)) {
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
    hold(*handle, size, physical);
    mutex_unlock(&lock);
    return result;
}

/* The driver may return the same handle several times, and each has to be released. */
CUresult hook_cuMemRelease(__typeof__(&cuMemRelease) driver, CUmemGenericAllocationHandle handle) {
    struct allocation entry;
    bool noted = allocations_remove(ALLOCATION_KEY(HANDLE, handle), &entry);
    CUresult result = driver(handle);
    if (noted && result == CUDA_SUCCESS) {
        let_go_locked(entry.physical);
    } else if (noted) {
        allocations_add(entry);
    }
    return result;
}

CUresult hook_cuMemImportFromShareableHandle(__typeof__(&cuMemImportFromShareableHandle) driver,
                                             CUmemGenericAllocationHandle *handle, void *os_handle,
                                             CUmemAllocationHandleType sh_handle_type) {
    CUmemAllocationProp properties;
    int gpu;
    CUresult result = driver(handle, os_handle, sh_handle_type);
    if (result != CUDA_SUCCESS || handle == NULL || DRIVER(cuMemGetAllocationPropertiesFromHandle) == NULL ||
        DRIVER(cuMemGetAllocationPropertiesFromHandle)(&properties, *handle) != CUDA_SUCCESS ||
        !on_device(&properties, &gpu)) {
        return result;
    }
    struct physical *physical = calloc(1, sizeof *physical);
    if (physical != NULL) {
        *physical = (struct physical){.gpu = gpu, .imported = true};
        mutex_lock(&lock);
        hold(*handle, 0, physical);
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
    physical->counted = quota_counted(answer);
    physical->bytes = bytes;
    return answer != QUOTA_REFUSED;
}

/* Finds the memory of a handle, and holds it during a driver call. */
static struct physical *held_by_handle(CUmemGenericAllocationHandle handle, uint64_t size, bool *refused) {
    struct allocation entry;
    struct physical *physical = NULL;
    mutex_lock(&lock);
    if (allocations_find(ALLOCATION_KEY(HANDLE, handle), &entry)) {
        *refused = !count_import(entry.physical, size);
        physical = entry.physical;
        physical->holders++;
    }
    mutex_unlock(&lock);
    return physical;
}

CUresult hook_cuMemMap(__typeof__(&cuMemMap) driver, CUdeviceptr ptr, size_t size, size_t offset,
                       CUmemGenericAllocationHandle handle, unsigned long long flags) {
    bool refused = false;
    struct physical *physical = held_by_handle(handle, size, &refused);
    CUresult result = refused ? CUDA_ERROR_OUT_OF_MEMORY : driver(ptr, size, offset, handle, flags);
    if (physical == NULL) {
        return result;
    }
    struct mapping *mapping = result == CUDA_SUCCESS ? calloc(1, sizeof *mapping) : NULL;
    mutex_lock(&lock);
    if (mapping != NULL) {
        *mapping = (struct mapping){.begin = ptr, .end = ptr + size, .physical = physical};
        add_mapping(mapping);
    } else if (result != CUDA_SUCCESS) {
        let_go(physical);
    }
    mutex_unlock(&lock);
    return result;
}

/* Takes out the notes of all mappings in a range. */
static struct mapping *take_out(uint64_t begin, uint64_t end) {
    struct mapping *taken = NULL, *each;
    mutex_lock(&lock);
    while (begin < end && (each = mapping_in(begin, end)) != NULL) {
        tdelete(each, &mappings, by_address);
        each->next = taken;
        taken = each;
    }
    mutex_unlock(&lock);
    return taken;
}

/* One call may remove several mappings, also of host memory. Their notes go first: once the driver is done, the addresses
 * may be mapped by another thread. */
CUresult hook_cuMemUnmap(__typeof__(&cuMemUnmap) driver, CUdeviceptr ptr, size_t size) {
    struct mapping *taken = take_out(ptr, ptr + size), *next;
    CUresult result = driver(ptr, size);
    mutex_lock(&lock);
    for (struct mapping *each = taken; each != NULL; each = next) {
        next = each->next;
        if (result == CUDA_SUCCESS) {
            let_go(each->physical);
            free(each);
        } else {
            add_mapping(each);
        }
    }
    mutex_unlock(&lock);
    return result;
}

CUresult hook_cuMemRetainAllocationHandle(__typeof__(&cuMemRetainAllocationHandle) driver,
                                          CUmemGenericAllocationHandle *handle, void *addr) {
    uint64_t address = (uintptr_t)addr;
    mutex_lock(&lock);
    struct mapping *mapping = address + 1 > address ? mapping_in(address, address + 1) : NULL;
    struct physical *physical = mapping != NULL ? mapping->physical : NULL;
    if (physical != NULL) {
        physical->holders++;
    }
    mutex_unlock(&lock);
    CUresult result = driver(handle, addr);
    if (physical != NULL) {
        mutex_lock(&lock);
        if (result == CUDA_SUCCESS && handle != NULL) {
            hold(*handle, physical->bytes, physical);
        }
        let_go(physical);
        mutex_unlock(&lock);
    }
    return result;
}
