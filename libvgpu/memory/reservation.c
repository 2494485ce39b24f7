#include "libvgpu/memory/reservation.h"

#include "libvgpu/memory/implicit.h"
#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/pools.h"
#include "libvgpu/memory/quota.h"

static enum account_kind kind_of(enum allocation_kind kind) {
    switch (kind) {
    case ALLOCATION_CONTEXT:
    case ALLOCATION_LIMIT: return ACCOUNT_CONTEXT;
    case ALLOCATION_MODULE: return ACCOUNT_CODE;
    default: return ACCOUNT_DATA;
    }
}

/* Before a refusal, looks whether pools and graphs have released idle memory, or the driver what it took unasked. */
static bool reserved(struct reservation *reservation, enum quota_answer answer) {
    if (answer == QUOTA_REFUSED) {
        pools_refresh(reservation->gpu);
        implicit_refresh_before_refusal(reservation->gpu);
        answer = quota_take(reservation->gpu, reservation->bytes);
    }
    reservation->counted = quota_counted(answer);
    return answer != QUOTA_REFUSED;
}

bool reservation_take(struct reservation *reservation, CUcontext context, int gpu, uint64_t bytes) {
    *reservation = (struct reservation){.context = context, .bytes = bytes, .gpu = gpu};
    enum quota_answer answer = quota_try(gpu, bytes);
    if (answer == QUOTA_NEAR && !implicit_fits(gpu, bytes)) {
        quota_give(gpu, bytes);
        answer = QUOTA_REFUSED;
    }
    return reserved(reservation, answer);
}

bool reservation_count(struct reservation *reservation, CUcontext context, int gpu, uint64_t bytes) {
    *reservation = (struct reservation){.context = context, .bytes = bytes, .gpu = gpu};
    return reserved(reservation, quota_try(gpu, bytes));
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
        struct reservation more;
        if (!reservation_count(&more, reservation->context, reservation->gpu, bytes - reservation->bytes)) {
            return false;
        }
        reservation->counted |= more.counted;
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
    quota_note_kind(reservation->gpu, kind_of(key.kind), (int64_t)reservation->bytes);
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
    quota_note_kind(entry->gpu, kind_of(entry->kind), -(int64_t)bytes);
    quota_give(entry->gpu, bytes);
}
