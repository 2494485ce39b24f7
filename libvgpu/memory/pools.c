#include "libvgpu/memory/pools.h"

#include "libvgpu/memory/location.h"
#include "libvgpu/memory/pool_table.h"

#define DEVICES 64

bool pools_note(CUmemoryPool handle, CUmemLocation location) {
    CUdevice device;
    if (!location_on_device(location, &device)) {
        if (!location_on_host((int)location.type)) {
            return true; /* managed memory without a place: each allocation counts as one of its stream's device */
        }
        device = CU_DEVICE_INVALID;
    }
    pool_table_lock();
    bool noted = pool_table_add(handle, device) != NULL;
    pool_table_unlock();
    return noted;
}

/* Where a pool is that the program didn't create. */
struct place {
    bool known;
    CUdevice device; /* CU_DEVICE_INVALID: in host memory */
    bool stays;
};

/* Asks the driver, as drivers of CUDA 13 can be asked: they have default pools of every kind in every place. */
static struct place by_attribute(CUmemoryPool handle) {
    CUmemLocation location;
    struct place place = {.device = CU_DEVICE_INVALID};
    __typeof__(&cuMemPoolGetAttribute) get = DRIVER(cuMemPoolGetAttribute);
    if (get == NULL || get(handle, CU_MEMPOOL_ATTR_LOCATION_TYPE, &location.type) != CUDA_SUCCESS ||
        get(handle, CU_MEMPOOL_ATTR_LOCATION_ID, &location.id) != CUDA_SUCCESS) {
        return place;
    }
    place.stays = location_on_host((int)location.type);
    place.known = place.stays || location_on_device(location, &place.device);
    return place;
}

static bool is_default(CUmemoryPool handle, CUdevice device) {
    CUmemoryPool own;
    return DRIVER(cuDeviceGetDefaultMemPool)(&own, device) == CUDA_SUCCESS && own == handle;
}

/* Compares with each device's default pool, the only kind that older drivers have. The calling thread's device comes first:
 * the others may be busy with a call that waits. */
static struct place by_default(CUmemoryPool handle) {
    struct place place = {.stays = true};
    int count = 0;
    CUdevice current = CU_DEVICE_INVALID;
    if (DRIVER(cuDeviceGetCount) == NULL || DRIVER(cuDeviceGetDefaultMemPool) == NULL) {
        return place;
    }
    place.known = DRIVER(cuCtxGetDevice)(&current) == CUDA_SUCCESS && is_default(handle, current);
    place.device = current;
    DRIVER(cuDeviceGetCount)(&count);
    for (CUdevice device = 0; !place.known && device < count && device < DEVICES; device++) {
        place.known = device != current && is_default(handle, device);
        place.device = device;
    }
    return place;
}

static struct pool *if_reported(struct pool *pool) {
    uint64_t reserved, used;
    return pool != NULL && pool->gpu != NO_GPU && pool_read_size(pool, &reserved, &used) ? pool : NULL;
}

enum pool_place pools_find(CUmemoryPool handle, struct pool **found, int *gpu) {
    *found = NULL;
    pool_table_lock();
    struct pool *pool = pool_table_find(handle, 0);
    pool_table_unlock();
    if (pool == NULL) {
        struct place place = by_attribute(handle);
        place = place.known ? place : by_default(handle);
        if (!place.known) {
            return POOL_UNKNOWN;
        }
        pool_table_lock();
        pool = pool_table_find(handle, 0);
        if (pool == NULL) {
            pool = pool_table_add(handle, place.device);
        }
        if (pool != NULL) {
            pool->stays |= place.stays;
        }
        pool_table_unlock();
    }
    if (pool != NULL && pool->device < 0) {
        return POOL_ELSEWHERE;
    }
    *found = if_reported(pool);
    if (*found == NULL) {
        return POOL_UNKNOWN;
    }
    *gpu = pool->gpu;
    return POOL_FOUND;
}

struct pool *pools_of_graphs(CUdevice device) {
    pool_table_lock();
    struct pool *pool = pool_table_find(NULL, device);
    if (pool == NULL) {
        pool = pool_table_add(NULL, device);
    }
    pool_table_unlock();
    return if_reported(pool);
}

void pools_refresh(int gpu) {
    pool_table_lock();
    pool_table_refresh(gpu);
    pool_table_unlock();
}

void pool_follow(struct pool *pool) {
    pool_table_lock();
    pool_count_size(pool);
    pool_table_unlock();
}
