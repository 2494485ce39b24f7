/* Memory pools. Freed memory beyond a pool's release threshold goes back to the GPU at once. Pools in host memory take no
 * memory of any GPU. */
#include "simulator/cuda/memory/pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include "simulator/cuda/memory/heap.h"

/* Where pools may live, by location and type of allocation; each place has a default pool and a current one. */
typedef struct place {
    CUmemoryPool usual, current;
} place;

struct CUmemPoolHandle_st {
    object object;
    bool destroyed; /* its allocations live on */
    device *device; /* NULL: in host memory */
    place *place;
    struct heap *heap;
    unsigned access[SIM_MAX_GPUS]; /* CUmemAccess_flags of each device, by ordinal */
    CUmemPoolProps properties;
    int source; /* pid, of an imported one, which gives no memory */
    int reuse[4]; /* by attribute */
    uint64_t threshold;
    uint64_t used, used_high;
};

enum { NUMA_NODES = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the places */
static place on_device[2][SIM_MAX_GPUS], on_node[2][NUMA_NODES], on_host[2], anywhere;

static bool is_managed(CUmemAllocationType type) {
    return type == CU_MEM_ALLOCATION_TYPE_MANAGED;
}

/* Node 0 exists everywhere, and so do the nodes of the GPUs. */
static bool node_exists(int node) {
    bool found = node == 0;
    for (int i = 0; i < sim_driver.device_count; i++) {
        found = found || (int)sim_driver.devices[i].card->numa_node == node;
    }
    return found && node < NUMA_NODES;
}

static CUresult place_of(CUmemAllocationType type, CUmemLocation location, place **found) {
    NEED(type == CU_MEM_ALLOCATION_TYPE_PINNED || is_managed(type), CUDA_ERROR_INVALID_VALUE);
    bool managed = is_managed(type);
    switch ((int)location.type) {
    case CU_MEM_LOCATION_TYPE_DEVICE:
        NEED(device_at(location.id), CUDA_ERROR_INVALID_DEVICE);
        *found = &on_device[managed][location.id];
        return CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_HOST: *found = &on_host[managed]; return CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
        NEED(node_exists(location.id), CUDA_ERROR_INVALID_VALUE);
        *found = &on_node[managed][location.id];
        return CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_NONE: *found = &anywhere; return managed ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default: return CUDA_ERROR_INVALID_VALUE; /* HOST_NUMA_CURRENT too */
    }
}

static CUmemoryPool pool_new(place *home, const CUmemPoolProps *properties) {
    CUmemoryPool made = object_new(KIND_POOL, sizeof *made);
    if (made) {
        bool on_gpu = properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
        made->device = on_gpu ? device_at(properties->location.id) : NULL;
        made->place = home;
        made->properties = *properties;
        if (on_gpu) {
            made->access[properties->location.id] = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
        }
        made->heap = heap_new(made->device, NULL, made);
        for (int i = 0; i < 4; i++) {
            made->reuse[i] = 1;
        }
    }
    return made;
}

/* Makes the place's default pool at the first call. */
static CUmemoryPool default_pool(place *home, CUmemAllocationType type, CUmemLocation location) {
    pthread_mutex_lock(&lock);
    if (!home->usual) {
        CUmemPoolProps properties = {.type = type, .location = location};
        home->usual = pool_new(home, &properties);
        __atomic_store_n(&home->current, home->usual, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    return home->usual;
}

CUmemoryPool pool_current(device *chosen) {
    int ordinal = (int)(chosen - sim_driver.devices);
    place *home = &on_device[0][ordinal];
    CUmemoryPool current = __atomic_load_n(&home->current, __ATOMIC_ACQUIRE);
    return current ? current
                   : default_pool(home, CU_MEM_ALLOCATION_TYPE_PINNED,
                                  (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, ordinal});
}

bool pool_is_open(CUmemoryPool pool) {
    return object_is(pool, KIND_POOL) && !pool->destroyed;
}

int pool_source(CUmemoryPool pool) {
    return pool->source;
}

const CUmemPoolProps *pool_properties(CUmemoryPool pool) {
    return &pool->properties;
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *pool_props) {
    NEED_DRIVER();
    NEED(pool && pool_props, CUDA_ERROR_INVALID_VALUE);
    place *home;
    NEED_OK(place_of(pool_props->type, pool_props->location, &home));
    bool shareable = pool_props->location.type != CU_MEM_LOCATION_TYPE_HOST && !is_managed(pool_props->type);
    NEED(shareable || pool_props->handle_types == CU_MEM_HANDLE_TYPE_NONE, CUDA_ERROR_INVALID_VALUE);
    NEED(!is_managed(pool_props->type) || !pool_props->max_size, CUDA_ERROR_INVALID_VALUE);
    *pool = pool_new(home, pool_props);
    return *pool ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(pool != pool->place->usual, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&lock);
    if (pool->place->current == pool) {
        __atomic_store_n(&pool->place->current, pool->place->usual, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    pool->destroyed = true;
    heap_leave(pool->heap);
    return CUDA_SUCCESS;
}

/* ---- Default and current pools, by location and type; since CUDA 13 not only of devices. */

CUresult cuMemGetDefaultMemPool(CUmemoryPool *pool_out, CUmemLocation *location, CUmemAllocationType type) {
    NEED_DRIVER();
    NEED(pool_out && location, CUDA_ERROR_INVALID_VALUE);
    place *home;
    NEED_OK(place_of(type, *location, &home));
    *pool_out = default_pool(home, type, *location);
    return *pool_out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type) {
    NEED_DRIVER();
    NEED(pool && location, CUDA_ERROR_INVALID_VALUE);
    place *home;
    NEED_OK(place_of(type, *location, &home));
    NEED(default_pool(home, type, *location), CUDA_ERROR_OUT_OF_MEMORY);
    *pool = __atomic_load_n(&home->current, __ATOMIC_ACQUIRE);
    return CUDA_SUCCESS;
}

CUresult cuMemSetMemPool(CUmemLocation *location, CUmemAllocationType type, CUmemoryPool pool) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(location, CUDA_ERROR_INVALID_VALUE);
    place *home;
    NEED_OK(place_of(type, *location, &home));
    NEED(pool->place == home, CUDA_ERROR_INVALID_VALUE);
    NEED(default_pool(home, type, *location), CUDA_ERROR_OUT_OF_MEMORY);
    __atomic_store_n(&home->current, pool, __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool_out, CUdevice ordinal) {
    return cuMemGetDefaultMemPool(pool_out, &(CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, ordinal},
                                  CU_MEM_ALLOCATION_TYPE_PINNED);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice ordinal) {
    return cuMemGetMemPool(pool, &(CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, ordinal}, CU_MEM_ALLOCATION_TYPE_PINNED);
}

CUresult cuDeviceSetMemPool(CUdevice ordinal, CUmemoryPool pool) {
    return cuMemSetMemPool(&(CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, ordinal}, CU_MEM_ALLOCATION_TYPE_PINNED, pool);
}

/* ---- What a pool is like. */

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    switch ((int)attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: *(int *)value = pool->reuse[attribute]; break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: *(uint64_t *)value = pool->threshold; break;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: *(uint64_t *)value = pool->used; break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: *(uint64_t *)value = pool->used_high; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: *(uint64_t *)value = heap_charged_bytes(pool->heap, false); break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: *(uint64_t *)value = heap_charged_bytes(pool->heap, true); break;
    case CU_MEMPOOL_ATTR_ALLOCATION_TYPE: *(int *)value = (int)pool->properties.type; break;
    case CU_MEMPOOL_ATTR_EXPORT_HANDLE_TYPES: *(int *)value = (int)pool->properties.handle_types; break;
    case CU_MEMPOOL_ATTR_LOCATION_ID: *(int *)value = pool->properties.location.id; break;
    case CU_MEMPOOL_ATTR_LOCATION_TYPE: *(int *)value = (int)pool->properties.location.type; break;
    case CU_MEMPOOL_ATTR_MAX_POOL_SIZE: *(uint64_t *)value = pool->properties.max_size; break;
    case CU_MEMPOOL_ATTR_HW_DECOMPRESS_ENABLED: *(int *)value = 0; break;
    case CU_MEMPOOL_ATTR_LOCALITY_DOMAIN_ID: *(int *)value = -1; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    switch ((int)attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: pool->reuse[attribute] = *(int *)value != 0; break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        pool->threshold = *(uint64_t *)value;
        heap_hold(pool->heap, pool->threshold);
        break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        NEED(*(uint64_t *)value == 0, CUDA_ERROR_INVALID_VALUE);
        pool->used_high = pool->used;
        break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
        NEED(*(uint64_t *)value == 0, CUDA_ERROR_INVALID_VALUE);
        heap_forget_high(pool->heap);
        break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t min_bytes_to_keep) {
    NEED_DRIVER();
    NEED_POOL(pool);
    heap_trim(pool->heap, min_bytes_to_keep);
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t count) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(map && count, CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < count; i++) {
        NEED(map[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE && device_at(map[i].location.id),
             CUDA_ERROR_INVALID_DEVICE);
        bool own = device_at(map[i].location.id) == pool->device; /* never of a pool in host memory */
        NEED(!own || map[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE, CUDA_ERROR_INVALID_VALUE);
    }
    for (size_t i = 0; i < count; i++) {
        pool->access[map[i].location.id] = map[i].flags;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool mem_pool, CUmemLocation *location) {
    NEED_DRIVER();
    NEED_POOL(mem_pool);
    NEED(flags && location, CUDA_ERROR_INVALID_VALUE);
    if (!mem_pool->device && location->type != CU_MEM_LOCATION_TYPE_DEVICE) {
        *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE; /* the host's own access to its memory */
        return CUDA_SUCCESS;
    }
    NEED(location->type == CU_MEM_LOCATION_TYPE_DEVICE, CUDA_ERROR_INVALID_VALUE);
    NEED(device_at(location->id), CUDA_ERROR_INVALID_DEVICE);
    *flags = (CUmemAccess_flags)mem_pool->access[location->id];
    return CUDA_SUCCESS;
}

/* ---- Pools of other processes. The handle is a file that says whose pool it is; memory comes by pointers, see ipc.c. */

typedef struct pool_file {
    uint32_t magic;
    int32_t pid;
    uint32_t gpu;
    CUmemPoolProps properties;
} pool_file;

enum { POOL_MAGIC = 0x554e4950 };

#define NO_GPU UINT32_MAX /* of a pool in host memory */

CUresult cuMemPoolExportToShareableHandle(void *handle_out, CUmemoryPool pool, CUmemAllocationHandleType handle_type,
                                          unsigned long long flags) {
    NEED_DRIVER();
    NEED_POOL(pool);
    NEED(handle_out && flags == 0 && !pool->source, CUDA_ERROR_INVALID_VALUE);
    NEED(handle_type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR && pool->properties.handle_types & handle_type,
         CUDA_ERROR_INVALID_VALUE);
    pool_file content = {POOL_MAGIC, getpid(), pool->device ? pool->device->gpu : NO_GPU, pool->properties};
    int file = memfd_create("unigpu-sim-pool", MFD_CLOEXEC);
    NEED(file >= 0, CUDA_ERROR_OPERATING_SYSTEM);
    if (pwrite(file, &content, sizeof content, 0) != (ssize_t)sizeof content) {
        close(file);
        return CUDA_ERROR_OPERATING_SYSTEM;
    }
    *(int *)handle_out = file;
    return CUDA_SUCCESS;
}

static CUresult import_pool(place *home, const pool_file *content, CUmemoryPool *pool) {
    *pool = pool_new(home, &content->properties);
    NEED(*pool, CUDA_ERROR_OUT_OF_MEMORY);
    (*pool)->source = content->pid;
    return CUDA_SUCCESS;
}

CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool *pool_out, void *handle, CUmemAllocationHandleType handle_type,
                                            unsigned long long flags) {
    NEED_DRIVER();
    NEED(pool_out && flags == 0 && handle_type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, CUDA_ERROR_INVALID_VALUE);
    pool_file content;
    bool whole = pread((int)(intptr_t)handle, &content, sizeof content, 0) == (ssize_t)sizeof content;
    NEED(whole && content.magic == POOL_MAGIC, CUDA_ERROR_INVALID_VALUE);
    place *host;
    if (content.gpu == NO_GPU) {
        NEED_OK(place_of(content.properties.type, content.properties.location, &host));
        return import_pool(host, &content, pool_out);
    }
    for (int i = 0; i < sim_driver.device_count; i++) {
        if (sim_driver.devices[i].gpu == content.gpu) {
            content.properties.location.id = i;
            return import_pool(&on_device[0][i], &content, pool_out);
        }
    }
    return CUDA_ERROR_INVALID_DEVICE; /* the process doesn't see the pool's GPU */
}

/* ---- Memory out of a pool. */

CUresult pool_alloc(CUmemoryPool pool, size_t bytes, CUdeviceptr *pointer) {
    NEED(!pool->source, CUDA_ERROR_NOT_SUPPORTED);
    uint64_t in_use = __atomic_load_n(&pool->used, __ATOMIC_RELAXED);
    NEED(!pool->properties.max_size || in_use + bytes <= pool->properties.max_size, CUDA_ERROR_OUT_OF_MEMORY);
    NEED_OK(heap_alloc(pool->heap, bytes, is_managed(pool->properties.type), pointer));
    uint64_t used = __atomic_add_fetch(&pool->used, bytes, __ATOMIC_RELAXED);
    uint64_t high = __atomic_load_n(&pool->used_high, __ATOMIC_RELAXED);
    while (used > high &&
           !__atomic_compare_exchange_n(&pool->used_high, &high, used, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return CUDA_SUCCESS;
}

bool pool_reached(CUdeviceptr address, const device *from) {
    extent found;
    if (!heap_find(address, &found) || !found.pool || !found.device || found.device == from || found.managed) {
        return true;
    }
    return found.pool->access[from - sim_driver.devices] != CU_MEM_ACCESS_FLAGS_PROT_NONE;
}

void pool_freed(const extent *freed) {
    if (freed->pool) {
        __atomic_sub_fetch(&freed->pool->used, freed->bytes, __ATOMIC_RELAXED);
    }
}
