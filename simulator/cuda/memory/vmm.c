/* Virtual memory: address ranges, and the mapping of physical memory into them. */
#include "simulator/cuda/memory/vmm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "simulator/cuda/memory/multicast.h"
#include "simulator/cuda/memory/physical.h"

/* A reserved range, and the mappings in it. */
typedef struct mapping {
    uintptr_t start;
    size_t bytes;
    physical *memory;
    bool accessible;
    struct mapping *next;
} mapping;

typedef struct reservation {
    uintptr_t start;
    size_t bytes;
    mapping *mappings;
    struct reservation *next;
} reservation;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static reservation *reservations;

/* Call the following with the lists locked. */
static reservation *reservation_of(uintptr_t start, size_t bytes) {
    for (reservation *each = reservations; each; each = each->next) {
        if (start >= each->start && bytes <= each->bytes && start - each->start <= each->bytes - bytes) {
            return each;
        }
    }
    return NULL;
}

static mapping *mapping_at(uintptr_t address) {
    reservation *range = reservation_of(address, 1);
    for (mapping *each = range ? range->mappings : NULL; each; each = each->next) {
        if (address - each->start < each->bytes) {
            return each;
        }
    }
    return NULL;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address) {
    NEED_DRIVER();
    NEED(handle, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&lock);
    mapping *found = mapping_at((uintptr_t)address);
    if (found) {
        physical_ref(found->memory);
        *handle = (CUmemGenericAllocationHandle)(uintptr_t)found->memory;
    }
    pthread_mutex_unlock(&lock);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- Address ranges. */

CUresult cuMemAddressReserve(CUdeviceptr *pointer, size_t bytes, size_t alignment, CUdeviceptr wanted,
                             unsigned long long flags) {
    NEED_DRIVER();
    NEED(pointer && bytes && bytes % GRANULE == 0 && flags == 0, CUDA_ERROR_INVALID_VALUE);
    NEED((alignment & (alignment - 1)) == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(bytes < (size_t)1 << 46, CUDA_ERROR_OUT_OF_MEMORY);
    size_t step = alignment > GRANULE ? alignment : GRANULE;
    char *area =
        mmap((void *)(uintptr_t)wanted, bytes + step, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(area != MAP_FAILED, CUDA_ERROR_OUT_OF_MEMORY);
    uintptr_t start = ROUND_UP((uintptr_t)area, step);
    if (start > (uintptr_t)area) {
        munmap(area, start - (uintptr_t)area);
    }
    munmap((void *)(start + bytes), (uintptr_t)area + step - start);
    reservation *made = calloc(1, sizeof *made);
    if (!made) {
        munmap((void *)start, bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    made->start = start;
    made->bytes = bytes;
    pthread_mutex_lock(&lock);
    made->next = reservations;
    reservations = made;
    pthread_mutex_unlock(&lock);
    *pointer = start;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr pointer, size_t bytes) {
    NEED_DRIVER();
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (reservation **link = &reservations; *link; link = &(*link)->next) {
        reservation *each = *link;
        if (each->start == (uintptr_t)pointer && each->bytes == bytes && !each->mappings) {
            *link = each->next;
            munmap((void *)each->start, each->bytes);
            free(each);
            result = CUDA_SUCCESS;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult cuMemMap(CUdeviceptr pointer, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
    NEED_DRIVER();
    physical *memory = physical_of(handle);
    uintptr_t start = (uintptr_t)pointer;
    NEED(memory && bytes && flags == 0 && offset == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(start % GRANULE == 0 && bytes % GRANULE == 0 && bytes <= memory->bytes, CUDA_ERROR_INVALID_VALUE);
    if (memory->multicast) {
        multicast_await(memory->multicast);
    }
    mapping *made = calloc(1, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    reservation *range = reservation_of(start, bytes);
    bool clear = range != NULL;
    for (mapping *each = range ? range->mappings : NULL; each; each = each->next) {
        clear = clear && (start + bytes <= each->start || each->start + each->bytes <= start);
    }
    if (clear &&
        mmap((void *)start, bytes, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, memory->file, 0) != MAP_FAILED) {
        *made = (mapping){start, bytes, memory, false, range->mappings};
        range->mappings = made;
        physical_ref(memory);
        made = NULL;
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    free(made);
    return result;
}

CUresult cuMemUnmap(CUdeviceptr pointer, size_t bytes) {
    NEED_DRIVER();
    uintptr_t start = (uintptr_t)pointer, end = start + bytes;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    reservation *range = reservation_of(start, bytes);
    size_t covered = 0;
    for (mapping *each = range ? range->mappings : NULL; each; each = each->next) {
        covered += each->start >= start && each->start + each->bytes <= end ? each->bytes : 0;
    }
    if (bytes && covered == bytes) {
        for (mapping **link = &range->mappings; *link;) {
            mapping *each = *link;
            if (each->start >= start && each->start + each->bytes <= end) {
                *link = each->next;
                physical_unref(each->memory);
                free(each);
            } else {
                link = &each->next;
            }
        }
        mmap((void *)start, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult cuMemSetAccess(CUdeviceptr pointer, size_t bytes, const CUmemAccessDesc *description, size_t count) {
    NEED_DRIVER();
    uintptr_t start = (uintptr_t)pointer, end = start + bytes;
    NEED(bytes && description && count, CUDA_ERROR_INVALID_VALUE);
    int protection = PROT_NONE;
    for (size_t i = 0; i < count; i++) {
        bool on_gpu = description[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE;
        NEED(!on_gpu || device_at(description[i].location.id), CUDA_ERROR_INVALID_DEVICE);
        NEED(description[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE ||
                 description[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READ ||
                 description[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
             CUDA_ERROR_INVALID_VALUE);
        protection |= description[i].flags ? PROT_READ | PROT_WRITE : PROT_NONE;
    }
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    reservation *range = reservation_of(start, bytes);
    size_t covered = 0;
    for (mapping *each = range ? range->mappings : NULL; each; each = each->next) {
        covered += each->start >= start && each->start + each->bytes <= end ? each->bytes : 0;
    }
    if (covered == bytes) {
        for (mapping *each = range->mappings; each; each = each->next) {
            if (each->start >= start && each->start + each->bytes <= end) {
                each->accessible = protection != PROT_NONE;
            }
        }
        result = mprotect((void *)start, bytes, protection) == 0 ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr pointer) {
    NEED_DRIVER();
    NEED(flags && location, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&lock);
    mapping *found = mapping_at((uintptr_t)pointer);
    if (found) {
        *flags = found->accessible ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE;
    }
    pthread_mutex_unlock(&lock);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

bool reserved_owns(CUdeviceptr address) {
    pthread_mutex_lock(&lock);
    bool found = reservation_of((uintptr_t)address, 1) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

/* For copies and questions about pointers: the accessible mappings around an address, joined to one. */
bool mapped_find(CUdeviceptr address, extent *found) {
    bool known = false;
    pthread_mutex_lock(&lock);
    mapping *first = mapping_at((uintptr_t)address);
    if (first && first->accessible) {
        uintptr_t end = first->start + first->bytes;
        for (mapping *next = mapping_at(end); next && next->accessible; next = mapping_at(end)) {
            end = next->start + next->bytes;
        }
        *found = (extent){.base = first->start, .bytes = end - first->start, .device = first->memory->device};
        known = true;
    }
    pthread_mutex_unlock(&lock);
    return known;
}
