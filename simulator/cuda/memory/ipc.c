/* Memory of one process, opened in another of the same pid namespace: the handle names the owner's file. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/memory/heap_share.h"
#include "simulator/cuda/memory/ipc.h"
#include "simulator/cuda/memory/physical.h"
#include "simulator/cuda/memory/pool.h"

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
    bool pooled;
    memory_handle from;
    struct opened *next;
} opened;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static opened *all;
static unsigned pooled_count; /* lets frees of other memory go without the lock */

/* Writes what another process needs to find the allocation. */
static CUresult name_memory(const extent *named, memory_handle *handle) {
    memory_handle made = {
        .magic = MAGIC, .pid = getpid(), .gpu = named->device ? named->device->gpu : UINT32_MAX, .bytes = named->bytes};
    int file;
    size_t offset;
    NEED_OK(heap_share(named->base, &file, &offset));
    made.file = file;
    made.offset = offset;
    *handle = made;
    return CUDA_SUCCESS;
}

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr pointer) {
    NEED_CONTEXT(current);
    extent found;
    NEED(handle && heap_find(pointer, &found) && found.device && !found.managed && !found.pool,
         CUDA_ERROR_INVALID_VALUE);
    memory_handle made;
    NEED_OK(name_memory(&found, &made));
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

static CUresult open_memory(const memory_handle *from, bool pooled, CUdeviceptr *pointer) {
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&lock);
    opened *found = all;
    while (found && (found->pooled != pooled || memcmp(&found->from, from, sizeof *from) != 0)) {
        found = found->next;
    }
    if (!found) {
        result = open_new(from, &found);
        if (result == CUDA_SUCCESS && pooled) {
            found->pooled = true;
            __atomic_add_fetch(&pooled_count, 1, __ATOMIC_RELEASE);
        }
    }
    if (result == CUDA_SUCCESS) {
        found->refs++;
        *pointer = found->pointer;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *pointer, CUipcMemHandle handle, unsigned int flags) {
    NEED_CONTEXT(current);
    memory_handle from;
    memcpy(&from, &handle, sizeof from);
    NEED(pointer && flags == CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS && from.magic == MAGIC, CUDA_ERROR_INVALID_VALUE);
    NEED(from.pid != getpid(), CUDA_ERROR_INVALID_CONTEXT); /* a process cannot open its own */
    return open_memory(&from, false, pointer);
}

CUresult cuIpcOpenMemHandle(CUdeviceptr *pointer, CUipcMemHandle handle, unsigned int flags) {
    return cuIpcOpenMemHandle_v2(pointer, handle, flags);
}

static CUresult close_memory(CUdeviceptr pointer, bool pooled) {
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (opened **link = &all; *link; link = &(*link)->next) {
        opened *each = *link;
        if (each->pointer == pointer && each->pooled == pooled) {
            result = CUDA_SUCCESS;
            if (--each->refs == 0) {
                *link = each->next;
                __atomic_sub_fetch(&pooled_count, pooled, __ATOMIC_RELEASE);
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

CUresult cuIpcCloseMemHandle(CUdeviceptr pointer) {
    NEED_CONTEXT(current);
    return close_memory(pointer, false);
}

/* ---- Memory of pools. The importer frees it as it frees memory of its own. */

bool ipc_is_pooled(CUdeviceptr pointer) {
    if (!__atomic_load_n(&pooled_count, __ATOMIC_ACQUIRE)) {
        return false;
    }
    pthread_mutex_lock(&lock);
    const opened *each = all;
    while (each && !(each->pooled && each->pointer == pointer)) {
        each = each->next;
    }
    pthread_mutex_unlock(&lock);
    return each != NULL;
}

CUresult ipc_free(CUdeviceptr pointer) {
    return close_memory(pointer, true);
}

CUresult ipc_map(int file, size_t offset, CUdeviceptr *pointer) {
    opened *made = calloc(1, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    CUresult result = map_file(file, made);
    if (result != CUDA_SUCCESS) {
        free(made);
        return result;
    }
    made->pooled = true;
    made->refs = 1;
    *pointer = made->pointer = made->start + offset;
    pthread_mutex_lock(&lock);
    made->next = all;
    all = made;
    pthread_mutex_unlock(&lock);
    __atomic_add_fetch(&pooled_count, 1, __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
}

_Static_assert(sizeof(memory_handle) <= sizeof(CUmemPoolPtrExportData), "the data holds it");

CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData *share_data_out, CUdeviceptr pointer) {
    NEED_DRIVER();
    extent found;
    NEED(share_data_out && heap_find(pointer, &found) && found.pool, CUDA_ERROR_INVALID_VALUE);
    NEED(found.base == pointer, CUDA_ERROR_INVALID_VALUE);
    NEED(pool_properties(found.pool)->handle_types & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
         CUDA_ERROR_INVALID_VALUE);
    memory_handle made;
    NEED_OK(name_memory(&found, &made));
    memset(share_data_out, 0, sizeof *share_data_out);
    memcpy(share_data_out, &made, sizeof made);
    return CUDA_SUCCESS;
}

CUresult cuMemPoolImportPointer(CUdeviceptr *ptr_out, CUmemoryPool pool, CUmemPoolPtrExportData *share_data) {
    NEED_DRIVER();
    NEED_POOL(pool);
    memory_handle from;
    NEED(ptr_out && share_data && pool_source(pool), CUDA_ERROR_INVALID_VALUE);
    memcpy(&from, share_data, sizeof from);
    NEED(from.magic == MAGIC && from.pid == pool_source(pool), CUDA_ERROR_INVALID_VALUE);
    return open_memory(&from, true, ptr_out);
}
