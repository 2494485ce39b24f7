/* Virtual memory: address ranges, physical memory of its own, and the mapping of one into the other. Physical memory is
 * a file in memory, so that several ranges, and several processes, can show the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "simulator/cuda/op.h"

#define GRANULE (2 * MIB)
#define MEMORY_NAME "unigpu-memory-gpu"

/* Physical memory. Handles are the addresses of these; a mapping holds its memory as a handle does. */
typedef struct physical {
    object object;
    device *device; /* NULL: the host's */
    size_t bytes;
    uint64_t charged;
    int file;
    unsigned holders;
    CUmemAllocationProp properties;
} physical;

/* A reserved range, and what is mapped where in it. */
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

/* Call with the lists locked: the last one to hold the memory gives it back. */
static void drop(physical *memory) {
    if (--memory->holders) {
        return;
    }
    if (memory->charged) {
        sim_use_give(sim_driver.machine, memory->device->gpu, memory->charged);
    }
    close(memory->file);
    object_end(memory);
}

/* The file's name tells an importer whose memory it is. */
int memory_file(const device *device, size_t bytes) {
    char name[64];
    snprintf(name, sizeof name, device ? MEMORY_NAME "%u" : MEMORY_NAME "host", device ? device->gpu : 0);
    int file = memfd_create(name, MFD_CLOEXEC);
    if (file >= 0 && ftruncate(file, (off_t)bytes) != 0) {
        close(file);
        return -1;
    }
    return file;
}

/* The device of a file made by `memory_file`; false: it is none. */
static bool device_of(int file, device **found) {
    char link[64], name[128];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name - 1);
    name[length > 0 ? length : 0] = 0;
    const char *number = strstr(name, MEMORY_NAME);
    *found = NULL;
    for (int i = 0; number && i < sim_driver.device_count; i++) {
        if (sim_driver.devices[i].gpu == strtoul(number + strlen(MEMORY_NAME), NULL, 10)) {
            *found = &sim_driver.devices[i];
        }
    }
    return number && (*found || strncmp(number + strlen(MEMORY_NAME), "host", 4) == 0);
}

static CUresult hold_new(int file, size_t bytes, device *device, uint64_t charged, const CUmemAllocationProp *properties,
                         CUmemGenericAllocationHandle *handle) {
    physical *made = object_new(KIND_PHYSICAL, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->device = device;
    made->bytes = bytes;
    made->charged = charged;
    made->file = file;
    made->holders = 1;
    made->properties = *properties;
    *handle = (CUmemGenericAllocationHandle)(uintptr_t)made;
    return CUDA_SUCCESS;
}

static physical *memory_of(CUmemGenericAllocationHandle handle) {
    physical *memory = (physical *)(uintptr_t)handle;
    return object_is(memory, KIND_PHYSICAL) ? memory : NULL;
}

static CUresult check_properties(const CUmemAllocationProp *wanted, device **chosen) {
    NEED(wanted && wanted->type == CU_MEM_ALLOCATION_TYPE_PINNED, CUDA_ERROR_INVALID_VALUE);
    *chosen = NULL;
    switch ((int)wanted->location.type) {
    case CU_MEM_LOCATION_TYPE_DEVICE:
        *chosen = device_at(wanted->location.id);
        NEED(*chosen, CUDA_ERROR_INVALID_DEVICE);
        break;
    case CU_MEM_LOCATION_TYPE_HOST:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT: break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    NEED(!((unsigned)wanted->handle_types & ~(unsigned)CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
         CUDA_ERROR_NOT_SUPPORTED);
    return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *properties,
                                       CUmemAllocationGranularity_flags option) {
    NEED_DRIVER();
    device *chosen;
    NEED(granularity && (unsigned)option <= CU_MEM_ALLOC_GRANULARITY_RECOMMENDED, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check_properties(properties, &chosen));
    *granularity = GRANULE;
    return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *properties,
                     unsigned long long flags) {
    NEED_DRIVER();
    device *chosen;
    NEED(handle && bytes && flags == 0, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check_properties(properties, &chosen));
    NEED(bytes % GRANULE == 0, CUDA_ERROR_INVALID_VALUE);
    uint64_t charged = chosen ? bytes : 0;
    NEED(!chosen || sim_use_take(sim_driver.machine, chosen->gpu, charged) == SIM_OK, CUDA_ERROR_OUT_OF_MEMORY);
    int file = memory_file(chosen, bytes);
    CUresult result = file >= 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS) {
        result = hold_new(file, bytes, chosen, charged, properties, handle);
    }
    if (result != CUDA_SUCCESS) {
        if (file >= 0) {
            close(file);
        }
        if (charged) {
            sim_use_give(sim_driver.machine, chosen->gpu, charged);
        }
    }
    return result;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    NEED_DRIVER();
    physical *memory = memory_of(handle);
    NEED(memory, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&lock);
    drop(memory);
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *properties, CUmemGenericAllocationHandle handle) {
    NEED_DRIVER();
    physical *memory = memory_of(handle);
    NEED(memory && properties, CUDA_ERROR_INVALID_VALUE);
    *properties = memory->properties;
    return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address) {
    NEED_DRIVER();
    NEED(handle, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&lock);
    mapping *found = mapping_at((uintptr_t)address);
    if (found) {
        found->memory->holders++;
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
    char *area = mmap((void *)(uintptr_t)wanted, bytes + step, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
    physical *memory = memory_of(handle);
    uintptr_t start = (uintptr_t)pointer;
    NEED(memory && bytes && flags == 0 && offset == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(start % GRANULE == 0 && bytes % GRANULE == 0 && bytes <= memory->bytes, CUDA_ERROR_INVALID_VALUE);
    mapping *made = calloc(1, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    reservation *range = reservation_of(start, bytes);
    bool clear = range != NULL;
    for (mapping *each = range ? range->mappings : NULL; each; each = each->next) {
        clear = clear && (start + bytes <= each->start || each->start + each->bytes <= start);
    }
    if (clear && mmap((void *)start, bytes, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, memory->file, 0) != MAP_FAILED) {
        *made = (mapping){start, bytes, memory, false, range->mappings};
        range->mappings = made;
        memory->holders++;
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
                drop(each->memory);
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
        bool device = description[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE;
        NEED(!device || device_at(description[i].location.id), CUDA_ERROR_INVALID_DEVICE);
        NEED(description[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE || description[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READ ||
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

/* ---- Sharing with other processes: the memory's file is the handle. */

CUresult cuMemExportToShareableHandle(void *shareable_handle, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType handle_type, unsigned long long flags) {
    NEED_DRIVER();
    physical *memory = memory_of(handle);
    NEED(shareable_handle && memory && flags == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(handle_type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, CUDA_ERROR_NOT_SUPPORTED);
    NEED(memory->properties.handle_types & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, CUDA_ERROR_INVALID_VALUE);
    int copy = fcntl(memory->file, F_DUPFD_CLOEXEC, 3);
    NEED(copy >= 0, CUDA_ERROR_OPERATING_SYSTEM);
    *(int *)shareable_handle = copy;
    return CUDA_SUCCESS;
}

CUresult memory_import(int file, CUmemGenericAllocationHandle *handle) {
    struct stat found;
    device *owner;
    NEED(fstat(file, &found) == 0 && found.st_size > 0 && found.st_size % (off_t)GRANULE == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(device_of(file, &owner), CUDA_ERROR_INVALID_DEVICE);
    CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                      .handle_types = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                      .location = {CU_MEM_LOCATION_TYPE_HOST, 0}};
    if (owner) {
        properties.location = (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, (int)(owner - sim_driver.devices)};
    }
    return hold_new(file, (size_t)found.st_size, owner, 0, &properties, handle);
}

/* Imported memory is the exporter's: it costs the importer nothing. */
CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *os_handle,
                                        CUmemAllocationHandleType sh_handle_type) {
    NEED_DRIVER();
    NEED(handle, CUDA_ERROR_INVALID_VALUE);
    NEED(sh_handle_type == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, CUDA_ERROR_NOT_SUPPORTED);
    int copy = fcntl((int)(intptr_t)os_handle, F_DUPFD_CLOEXEC, 3);
    NEED(copy >= 0, CUDA_ERROR_INVALID_VALUE);
    CUresult result = memory_import(copy, handle);
    if (result != CUDA_SUCCESS) {
        close(copy);
    }
    return result;
}
