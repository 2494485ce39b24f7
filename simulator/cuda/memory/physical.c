/* Physical memory: a memory file, so that several ranges and several processes can map it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "simulator/cuda/memory/physical.h"

#define MEMORY_NAME "unigpu-memory-gpu"

void physical_ref(physical *memory) {
    __atomic_add_fetch(&memory->refs, 1, __ATOMIC_RELAXED);
}

void physical_unref(physical *memory) {
    if (__atomic_sub_fetch(&memory->refs, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    if (memory->end) {
        memory->end(memory);
    }
    if (memory->charged) {
        sim_memory_release(sim_driver.machine, memory->device->gpu, memory->charged);
    }
    close(memory->file);
    object_end(memory);
}

/* The file's name tells an importer whose memory it is. */
int memory_file(const device *owner, size_t bytes) {
    char name[64];
    snprintf(name, sizeof name, owner ? MEMORY_NAME "%u" : MEMORY_NAME "host", owner ? owner->gpu : 0);
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

bool memory_is_gpus(int file) {
    device *owner;
    return device_of(file, &owner) && owner;
}

static CUresult hold_new(int file, size_t bytes, device *owner, uint64_t charged, const CUmemAllocationProp *properties,
                         CUmemGenericAllocationHandle *handle) {
    physical *made = object_new(KIND_PHYSICAL, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->device = owner;
    made->bytes = bytes;
    made->charged = charged;
    made->file = file;
    made->refs = 1;
    made->properties = *properties;
    *handle = (CUmemGenericAllocationHandle)(uintptr_t)made;
    return CUDA_SUCCESS;
}

physical *physical_of(CUmemGenericAllocationHandle handle) {
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
    case CU_MEM_LOCATION_TYPE_HOST_NUMA: break;
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
    NEED(!chosen || sim_memory_reserve(sim_driver.machine, chosen->gpu, charged) == SIM_OK, CUDA_ERROR_OUT_OF_MEMORY);
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
            sim_memory_release(sim_driver.machine, chosen->gpu, charged);
        }
    }
    return result;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    NEED_DRIVER();
    physical *memory = physical_of(handle);
    NEED(memory, CUDA_ERROR_INVALID_VALUE);
    physical_unref(memory);
    return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *properties, CUmemGenericAllocationHandle handle) {
    NEED_DRIVER();
    physical *memory = physical_of(handle);
    NEED(memory && properties, CUDA_ERROR_INVALID_VALUE);
    *properties = memory->properties;
    return CUDA_SUCCESS;
}

/* ---- Sharing with other processes: the memory's file is the handle. */

CUresult cuMemExportToShareableHandle(void *shareable_handle, CUmemGenericAllocationHandle handle,
                                      CUmemAllocationHandleType handle_type, unsigned long long flags) {
    NEED_DRIVER();
    physical *memory = physical_of(handle);
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
    NEED(fstat(file, &found) == 0 && found.st_size > 0 && found.st_size % (off_t)GRANULE == 0,
         CUDA_ERROR_INVALID_VALUE);
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
