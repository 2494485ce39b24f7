#include "libvgpu/memory/linear.h"

#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/pools.h"
#include "libvgpu/memory/quota.h"

bool linear_begin_on(struct reservation *reservation, CUcontext context, int gpu, uint64_t bytes) {
    uint64_t whole = 0;
    if (pages_have_room(context, bytes)) {
        *reservation = (struct reservation){.context = context, .gpu = gpu};
        return true;
    }
    return pages_whole(bytes, &whole) && reservation_take(reservation, context, gpu, whole);
}

bool linear_begin(struct reservation *reservation, uint64_t bytes) {
    CUcontext context;
    int gpu;
    if (devices_current(&context, &gpu)) {
        return linear_begin_on(reservation, context, gpu, bytes);
    }
    *reservation = (struct reservation){.gpu = NO_GPU};
    return true;
}

CUresult linear_end(struct reservation *reservation, CUresult result, CUdeviceptr *pointer, uint64_t bytes) {
    if (reservation->gpu == NO_GPU) {
        return result;
    }
    if (result != CUDA_SUCCESS) {
        reservation_cancel(reservation);
        return result;
    }
    bool small = pages_is_small(*pointer, bytes);
    uint64_t taken = small ? pages_add_small(reservation->context, reservation->gpu, *pointer, bytes)
                           : pages_add(reservation->context, reservation->gpu, *pointer, bytes);
    if (taken != reservation->bytes && !reservation_adjust(reservation, taken)) {
        int gpu;
        if (small) {
            pages_remove_small(*pointer, &gpu);
        } else {
            pages_remove(*pointer, bytes);
        }
        bool entered = devices_enter(reservation->context);
        DRIVER(cuMemFree_v2)(*pointer);
        if (entered) {
            devices_leave();
        }
        reservation_cancel(reservation);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    /* Without a note the bytes stay counted until the process ends: rather too much than too little. */
    if (!small) {
        allocations_add((struct allocation){.handle = *pointer,
                                            .bytes = bytes,
                                            .context = reservation->context,
                                            .gpu = (int16_t)reservation->gpu,
                                            .kind = ALLOCATION_LINEAR});
    }
    return CUDA_SUCCESS;
}

bool linear_take_out(CUdeviceptr pointer, struct allocation *entry) {
    return allocations_remove_memory(pointer, entry);
}

void linear_freed(bool noted, CUresult result, CUdeviceptr pointer, const struct allocation *entry) {
    int gpu = NO_GPU;
    if (noted && result == CUDA_SUCCESS) {
        reservation_release(entry);
        if (entry->kind == ALLOCATION_POOLED) {
            pool_freed(entry->pool);
        }
    } else if (noted) {
        allocations_add(*entry);
    } else if (result == CUDA_SUCCESS) {
        uint64_t bytes = pages_remove_small(pointer, &gpu);
        if (bytes > 0) {
            quota_give(gpu, bytes);
        }
    }
}
