/* Limits of contexts. The heap of device-side malloc, the buffer of device-side printf and the stacks of all threads
 * that the GPU can hold are GPU memory. A driver takes it when the limit is set, or when a launch first needs it.
 * libvgpu counts it from when the limit is set until the context ends: no driver promises to release it earlier. */
#include "libvgpu/base/lock.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/nvml_delta.h"
#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/quota.h"
#include "libvgpu/memory/reservation.h"

/* Held for the notes, not while the driver sets a limit: it may wait for the GPU. */
MUTEX(setting);

static struct allocation_key key_of(enum allocation_kind kind, CUcontext context, CUlimit limit) {
    return (struct allocation_key){.handle = (uintptr_t)context, .limit = (uint32_t)limit, .kind = (uint8_t)kind};
}

/* Returns how many times the GPU holds memory of the limit's size; 0: the limit isn't one of memory. */
static uint64_t times(CUlimit limit) {
    CUdevice device;
    int processors = 0, threads = 0;
    if (limit == CU_LIMIT_PRINTF_FIFO_SIZE || limit == CU_LIMIT_MALLOC_HEAP_SIZE) {
        return 1;
    }
    if (limit != CU_LIMIT_STACK_SIZE || DRIVER(cuCtxGetDevice)(&device) != CUDA_SUCCESS ||
        DRIVER(cuDeviceGetAttribute)(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device) != CUDA_SUCCESS ||
        DRIVER(cuDeviceGetAttribute)(&threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, device) !=
            CUDA_SUCCESS) {
        return 0;
    }
    return (uint64_t)processors * (uint64_t)threads;
}

/* Returns the limit's size when the context began. That is part of the context's cost. */
static uint64_t first_size(CUcontext context, CUlimit limit, size_t now) {
    struct allocation entry;
    if (allocations_find(key_of(ALLOCATION_FIRST_SIZE, context, limit), &entry)) {
        return entry.bytes;
    }
    allocations_add((struct allocation){.handle = (uintptr_t)context,
                                        .limit = (uint32_t)limit,
                                        .bytes = now,
                                        .context = context,
                                        .gpu = NO_GPU,
                                        .kind = ALLOCATION_FIRST_SIZE});
    return now;
}

/* Notes what the limit takes now: the note that there was grows to `whole`, and the rest of the reservation is given
 * back. Another thread may have set the limit in the same time. */
static CUresult note(struct reservation *reservation, CUcontext context, CUlimit limit, uint64_t whole) {
    struct allocation has = {.bytes = 0};
    mutex_lock(&setting);
    bool noted = allocations_remove(key_of(ALLOCATION_LIMIT, context, limit), &has);
    uint64_t more = whole > has.bytes ? whole - has.bytes : 0;
    reservation_adjust(reservation, more < reservation->bytes ? more : reservation->bytes);
    if (noted) {
        /* It is noted again with the rest. */
        quota_note_kind(has.gpu, ACCOUNT_CONTEXT, -(int64_t)has.bytes);
        reservation->bytes += has.bytes;
        reservation->counted = true;
    }
    CUresult result = reservation_finish(reservation, CUDA_SUCCESS, key_of(ALLOCATION_LIMIT, context, limit));
    mutex_unlock(&setting);
    return result;
}

static CUresult set(__typeof__(&cuCtxSetLimit) driver, CUcontext context, int gpu, CUlimit limit, size_t value) {
    struct nvml_delta delta;
    struct reservation reservation;
    struct allocation has = {.bytes = 0};
    size_t now;
    uint64_t need, whole;
    if (DRIVER(cuCtxGetLimit) == NULL || DRIVER(cuCtxGetLimit)(&now, limit) != CUDA_SUCCESS) {
        return driver(limit, value);
    }
    mutex_lock(&setting);
    uint64_t first = first_size(context, limit, now);
    allocations_find(key_of(ALLOCATION_LIMIT, context, limit), &has);
    mutex_unlock(&setting);
    if (__builtin_mul_overflow(value > first ? value - first : 0, times(limit), &need) || !pages_whole(need, &whole) ||
        !reservation_take(&reservation, context, gpu, whole > has.bytes ? whole - has.bytes : 0)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    nvml_delta_begin(&delta, gpu);
    CUresult result = driver(limit, value);
    uint64_t beyond = nvml_delta_end(&delta, 0);
    if (result != CUDA_SUCCESS) {
        reservation_cancel(&reservation);
        return result;
    }
    if (beyond > reservation.bytes && !reservation_adjust(&reservation, beyond)) {
        driver(limit, now);
        note(&reservation, context, limit, has.bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return note(&reservation, context, limit, has.bytes + reservation.bytes);
}

CUresult hook_cuCtxSetLimit(__typeof__(&cuCtxSetLimit) driver, CUlimit limit, size_t value) {
    CUcontext context;
    int gpu;
    bool of_caches = limit == CU_LIMIT_MAX_L2_FETCH_GRANULARITY || limit == CU_LIMIT_PERSISTING_L2_CACHE_SIZE;
    if (of_caches || !devices_current(&context, &gpu) || gpu == NO_GPU) {
        return driver(limit, value);
    }
    return set(driver, context, gpu, limit, value);
}
