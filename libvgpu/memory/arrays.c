#include "libvgpu/memory/arrays.h"

#include "libvgpu/memory/pages.h"

#define ROW_STEP 512
#define WITHOUT_MEMORY (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING)

static size_t at_least_one(size_t number) {
    return number > 0 ? number : 1;
}

static size_t channel_bytes(CUarray_format format) {
    switch ((unsigned)format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8: return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF: return 2;
    default: return 4; /* at least as much as unknown formats of several channels or blocks take */
    }
}

/* False on overflow. */
static bool level_bytes(const CUDA_ARRAY3D_DESCRIPTOR *form, uint64_t *bytes) {
    return !__builtin_mul_overflow(at_least_one(form->width), channel_bytes(form->format) * form->channels, bytes) &&
           !__builtin_add_overflow(*bytes, ROW_STEP - 1, bytes) &&
           !__builtin_mul_overflow(*bytes / ROW_STEP * ROW_STEP, at_least_one(form->height), bytes) &&
           !__builtin_mul_overflow(*bytes, at_least_one(form->depth), bytes);
}

static size_t halved(size_t number) {
    return number > 1 ? number / 2 : number;
}

static bool form_bytes(const CUDA_ARRAY3D_DESCRIPTOR *form, unsigned levels, uint64_t *bytes) {
    CUDA_ARRAY3D_DESCRIPTOR level = *form;
    uint64_t more;
    *bytes = 0;
    if (form->flags & WITHOUT_MEMORY) {
        return true;
    }
    for (unsigned index = 0; index < levels; index++) {
        if (!level_bytes(&level, &more) || __builtin_add_overflow(*bytes, more, bytes)) {
            return false;
        }
        if (level.width <= 1 && level.height <= 1 && level.depth <= 1) {
            break;
        }
        level.width = halved(level.width);
        level.height = halved(level.height);
        if ((form->flags & CUDA_ARRAY3D_LAYERED) == 0) {
            level.depth = halved(level.depth);
        }
    }
    return true;
}

bool array_begin(struct array_reservation *array, const CUDA_ARRAY3D_DESCRIPTOR *form, unsigned levels) {
    CUcontext context;
    int gpu;
    array->reservation = (struct reservation){.gpu = NO_GPU};
    if (!devices_current(&context, &gpu)) {
        return true;
    }
    if (!form_bytes(form, levels, &array->bytes)) {
        return false;
    }
    uint64_t taken = pages_add_hidden(context, array->bytes);
    if (reservation_take(&array->reservation, context, gpu, taken)) {
        return true;
    }
    pages_remove_hidden(context, array->bytes);
    return false;
}

CUresult array_end(struct array_reservation *array, CUresult result, const void *handle) {
    struct reservation *reservation = &array->reservation;
    if (reservation->gpu == NO_GPU) {
        return result;
    }
    if (result == CUDA_SUCCESS) {
        allocations_add((struct allocation){.handle = (uintptr_t)handle,
                                            .bytes = array->bytes,
                                            .context = reservation->context,
                                            .gpu = (int16_t)reservation->gpu,
                                            .kind = ALLOCATION_ARRAY});
    } else {
        reservation_cancel(reservation);
        pages_remove_hidden(reservation->context, array->bytes);
    }
    return result;
}
