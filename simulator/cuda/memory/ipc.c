/* Memory of one process, opened in another of the same pid namespace: the handle names the owner's file. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/memory/heap_share.h"
#include "simulator/cuda/memory/physical.h"

#define MAGIC 0x554e4947U

typedef struct memory_handle {
    uint32_t magic;
    int32_t pid, file;
    uint32_t gpu;
    uint64_t offset, bytes;
} memory_handle;

_Static_assert(sizeof(memory_handle) <= CU_IPC_HANDLE_SIZE, "a handle holds it");

typedef struct opened {
    CUdeviceptr start, pointer;
    size_t bytes;
    unsigned refs;
    memory_handle from;
    struct opened *next;
} opened;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static opened *all;

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr pointer) {
    NEED_CONTEXT(current);
    extent found;
    NEED(handle && heap_find(pointer, &found) && found.device && !found.managed && !found.pool,
         CUDA_ERROR_INVALID_VALUE);
    memory_handle made = {.magic = MAGIC, .pid = getpid(), .gpu = found.device->gpu, .bytes = found.bytes};
    int file;
    size_t offset;
    NEED_OK(heap_share(found.base, &file, &offset));
    made.file = file;
    made.offset = offset;
    memset(handle, 0, sizeof *handle);
    memcpy(handle, &made, sizeof made);
    return CUDA_SUCCESS;
}

/* Maps all of the file somewhere: the ordinary steps of virtual memory, taken for the caller. */
static CUresult map_file(int file, opened *made) {
    CUmemGenericAllocationHandle memory;
    CUmemAllocationProp properties;
    NEED_OK(memory_import(file, &memory));
    off_t size = lseek(file, 0, SEEK_END);
    made->bytes = (size_t)size;
    cuMemGetAllocationPropertiesFromHandle(&properties, memory);
    CUmemAccessDesc access = {properties.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUresult result = cuMemAddressReserve(&made->start, made->bytes, 0, 0, 0);
    if (result == CUDA_SUCCESS) {
        result = cuMemMap(made->start, made->bytes, 0, memory, 0);
        if (result == CUDA_SUCCESS) {
            result = cuMemSetAccess(made->start, made->bytes, &access, 1);
        }
        if (result != CUDA_SUCCESS) {
            cuMemAddressFree(made->start, made->bytes);
        }
    }
    cuMemRelease(memory); /* the mapping holds it from here on */
    return result;
}

static CUresult open_new(const memory_handle *from, opened **added) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", from->pid, from->file);
    int file = open(path, O_RDWR | O_CLOEXEC);
    NEED(file >= 0, CUDA_ERROR_INVALID_VALUE); /* the owner is gone, or out of sight */
    opened *made = calloc(1, sizeof *made);
    CUresult result = made ? map_file(file, made) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) {
        free(made);
        return result;
    }
    made->from = *from;
    made->pointer = made->start + from->offset;
    made->next = all;
    all = made;
    *added = made;
    return CUDA_SUCCESS;
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *pointer, CUipcMemHandle handle, unsigned int flags) {
    NEED_CONTEXT(current);
    memory_handle from;
    memcpy(&from, &handle, sizeof from);
    NEED(pointer && flags == CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS && from.magic == MAGIC, CUDA_ERROR_INVALID_VALUE);
    NEED(from.pid != getpid(), CUDA_ERROR_INVALID_CONTEXT); /* a process cannot open its own */
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&lock);
    opened *found = all;
    while (found && memcmp(&found->from, &from, sizeof from) != 0) {
        found = found->next;
    }
    if (!found) {
        result = open_new(&from, &found);
    }
    if (result == CUDA_SUCCESS) {
        found->refs++;
        *pointer = found->pointer;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult cuIpcOpenMemHandle(CUdeviceptr *pointer, CUipcMemHandle handle, unsigned int flags) {
    return cuIpcOpenMemHandle_v2(pointer, handle, flags);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr pointer) {
    NEED_CONTEXT(current);
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (opened **link = &all; *link; link = &(*link)->next) {
        opened *each = *link;
        if (each->pointer == pointer) {
            result = CUDA_SUCCESS;
            if (--each->refs == 0) {
                *link = each->next;
                cuMemUnmap(each->start, each->bytes);
                cuMemAddressFree(each->start, each->bytes);
                free(each);
            }
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}
