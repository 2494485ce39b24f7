#include "libvgpu/memory/reservation.h"

#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/pools.h"
#include "libvgpu/memory/quota.h"

bool reservation_take(struct reservation *reservation, CUcontext context, int gpu, uint64_t bytes) {
    *reservation = (struct reservation){.context = context, .bytes = bytes, .gpu = gpu};
    enum quota_answer answer = quota_try(gpu, bytes);
    if (answer == QUOTA_REFUSED) {
        /* Pools and graphs may have released idle memory. */
        pools_refresh(gpu);
        answer = quota_take(gpu, bytes);
    }
    reservation->counted = answer == QUOTA_TAKEN;
    return answer != QUOTA_REFUSED;
}

bool reservation_take_current(struct reservation *reservation, uint64_t bytes) {
    CUcontext context;
    int gpu;
    if (devices_current(&context, &gpu)) {
        return reservation_take(reservation, context, gpu, bytes);
    }
    *reservation = (struct reservation){.gpu = NO_GPU};
    return true;
}

bool reservation_adjust(struct reservation *reservation, uint64_t bytes) {
    if (reservation->counted && bytes < reservation->bytes) {
        quota_give(reservation->gpu, reservation->bytes - bytes);
    }
    if (bytes > reservation->bytes) {
        /* The reservation was uncounted so far because it was empty, or because this GPU isn't counted. */
        enum quota_answer answer = quota_take(reservation->gpu, bytes - reservation->bytes);
        if (answer == QUOTA_REFUSED) {
            return false;
        }
        reservation->counted |= answer == QUOTA_TAKEN;
    }
    reservation->bytes = bytes;
    return true;
}

void reservation_cancel(struct reservation *reservation) {
    if (reservation->counted) {
        quota_give(reservation->gpu, reservation->bytes);
    }
}

CUresult reservation_finish(struct reservation *reservation, CUresult result, struct allocation_key key) {
    if (result != CUDA_SUCCESS) {
        reservation_cancel(reservation);
    }
    if (result != CUDA_SUCCESS || !reservation->counted) {
        return result;
    }
    /* Without a note the bytes stay counted until the process ends: rather too much than too little. */
    allocations_add((struct allocation){.handle = key.handle,
                                        .limit = key.limit,
                                        .bytes = reservation->bytes,
                                        .context = reservation->context,
                                        .gpu = (int16_t)reservation->gpu,
                                        .kind = key.kind});
    return result;
}

void reservation_release(const struct allocation *entry) {
    uint64_t bytes = entry->bytes;
    if (entry->kind == ALLOCATION_LINEAR) {
        bytes = pages_remove(entry->handle, entry->bytes);
    } else if (entry->kind == ALLOCATION_ARRAY) {
        bytes = pages_remove_hidden(entry->context, entry->bytes);
    }
    quota_give(entry->gpu, bytes);
}
