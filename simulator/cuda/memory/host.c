/* Host memory that the driver knows: allocated by it, or registered by the program. */
#include "simulator/cuda/memory/host.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "simulator/cuda/core/capture_guard.h"
#include "simulator/cuda/memory/heap.h"

typedef struct range {
    uintptr_t base;
    size_t bytes;
    CUcontext context;
    unsigned flags;
    bool registered;
    struct range *next;
} range;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static range *ranges;

/* Call with the list locked. */
static range *find(uintptr_t address) {
    for (range *each = ranges; each; each = each->next) {
        if (address - each->base < each->bytes) {
            return each;
        }
    }
    return NULL;
}

bool host_find(CUdeviceptr pointer, extent *found) {
    pthread_mutex_lock(&lock);
    range *holder = find((uintptr_t)pointer);
    if (holder) {
        *found = (extent){.base = holder->base, .bytes = holder->bytes, .context = holder->context};
        if (object_is(holder->context, KIND_CONTEXT)) {
            found->device = holder->context->device;
        }
    }
    pthread_mutex_unlock(&lock);
    return holder != NULL;
}

bool host_holds(CUdeviceptr pointer, size_t bytes) {
    extent found;
    return host_find(pointer, &found) && bytes <= found.bytes - (size_t)(pointer - found.base);
}

static CUresult add(CUcontext context, void *base, size_t bytes, unsigned flags, bool registered) {
    range *added = malloc(sizeof *added);
    NEED(added, CUDA_ERROR_OUT_OF_MEMORY);
    *added = (range){(uintptr_t)base, bytes, context, flags, registered, NULL};
    pthread_mutex_lock(&lock);
    added->next = ranges;
    ranges = added;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

static CUresult take(void *pointer, bool registered, CUresult error, range *taken) {
    CUresult result = error;
    pthread_mutex_lock(&lock);
    for (range **link = &ranges; *link; link = &(*link)->next) {
        range *each = *link;
        if (each->base == (uintptr_t)pointer && each->registered == registered) {
            *link = each->next;
            *taken = *each;
            free(each);
            result = CUDA_SUCCESS;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned int flags) {
    NEED_CONTEXT(current);
    unsigned known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
    NEED(pointer && bytes && !(flags & ~known), CUDA_ERROR_INVALID_VALUE);
    NEED_OK(capture_forbids_unsafe());
    NEED(bytes < (size_t)1 << 46, CUDA_ERROR_OUT_OF_MEMORY);
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(base != MAP_FAILED, CUDA_ERROR_OUT_OF_MEMORY);
    CUresult result = add(current, base, bytes, flags | CU_MEMHOSTALLOC_DEVICEMAP, false);
    if (result != CUDA_SUCCESS) {
        munmap(base, bytes);
        return result;
    }
    *pointer = base;
    return CUDA_SUCCESS;
}

CUresult cuMemAllocHost_v2(void **pointer, size_t bytes) {
    return cuMemHostAlloc(pointer, bytes, CU_MEMHOSTALLOC_PORTABLE);
}

CUresult cuMemFreeHost(void *pointer) {
    NEED_DRIVER();
    NEED_OK(capture_forbids_unsafe());
    range taken;
    extent found;
    if (host_find((CUdeviceptr)(uintptr_t)pointer, &found) && object_is(found.context, KIND_CONTEXT)) {
        context_wait(found.context);
    }
    NEED_OK(take(pointer, false, CUDA_ERROR_INVALID_VALUE, &taken));
    munmap(pointer, taken.bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void *pointer, size_t bytes, unsigned int flags) {
    NEED_CONTEXT(current);
    unsigned known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
    NEED(pointer && bytes, CUDA_ERROR_INVALID_VALUE);
    NEED(!(flags & CU_MEMHOSTREGISTER_IOMEMORY), CUDA_ERROR_NOT_SUPPORTED);
    NEED(!(flags & ~known), CUDA_ERROR_INVALID_VALUE);
    NEED(!heap_owns((CUdeviceptr)(uintptr_t)pointer), CUDA_ERROR_INVALID_VALUE);
    uintptr_t start = (uintptr_t)pointer, end = start + bytes;
    bool overlaps = false;
    pthread_mutex_lock(&lock);
    for (range *each = ranges; each; each = each->next) {
        overlaps = overlaps || (start < each->base + each->bytes && each->base < end);
    }
    pthread_mutex_unlock(&lock);
    NEED(!overlaps, CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    return add(current, pointer, bytes, flags | CU_MEMHOSTREGISTER_DEVICEMAP, true);
}

CUresult cuMemHostRegister(void *pointer, size_t bytes, unsigned int flags) {
    return cuMemHostRegister_v2(pointer, bytes, flags);
}

CUresult cuMemHostUnregister(void *pointer) {
    NEED_DRIVER();
    NEED(pointer, CUDA_ERROR_INVALID_VALUE);
    range taken;
    return take(pointer, true, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, &taken);
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *device_pointer, void *pointer, unsigned int flags) {
    NEED_CONTEXT(current);
    NEED(device_pointer && pointer && flags == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(host_holds((CUdeviceptr)(uintptr_t)pointer, 1), CUDA_ERROR_INVALID_VALUE);
    *device_pointer = (CUdeviceptr)(uintptr_t)pointer;
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *pointer) {
    NEED_DRIVER();
    NEED(flags && pointer, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&lock);
    range *holder = find((uintptr_t)pointer);
    if (holder) {
        *flags = holder->flags;
    }
    pthread_mutex_unlock(&lock);
    return holder ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
