/* Arrays and mipmapped arrays: memory with a shape. */
#include "simulator/cuda/memory/array.h"

#include "simulator/cuda/core/capture_guard.h"
#include "simulator/cuda/memory/heap.h"

enum { PITCH = 64, LEVEL_ALIGNMENT = 512 };

/* Bytes of one channel; 0: no plain format. */
static size_t channel_bytes(CUarray_format format) {
    switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8: return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF: return 2;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT: return 4;
    default: return 0;
    }
}

static CUresult check(const CUDA_ARRAY3D_DESCRIPTOR *wanted) {
    NEED(wanted->width && channel_bytes(wanted->format), CUDA_ERROR_INVALID_VALUE);
    NEED(wanted->channels == 1 || wanted->channels == 2 || wanted->channels == 4, CUDA_ERROR_INVALID_VALUE);
    unsigned known =
        CUDA_ARRAY3D_LAYERED | CUDA_ARRAY3D_SURFACE_LDST | CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_TEXTURE_GATHER;
    NEED(!(wanted->flags & ~known), CUDA_ERROR_INVALID_VALUE);
    bool layered = wanted->flags & CUDA_ARRAY3D_LAYERED;
    if (wanted->flags & CUDA_ARRAY3D_CUBEMAP) {
        NEED(wanted->width == wanted->height && wanted->depth && wanted->depth % 6 == 0, CUDA_ERROR_INVALID_VALUE);
        NEED(layered || wanted->depth == 6, CUDA_ERROR_INVALID_VALUE);
    }
    NEED(!layered || wanted->depth, CUDA_ERROR_INVALID_VALUE);
    NEED(layered || wanted->height || !wanted->depth, CUDA_ERROR_INVALID_VALUE);
    if (layered) {
        NEED(wanted->width <= 32768 && wanted->height <= 32768 && wanted->depth <= 2048, CUDA_ERROR_INVALID_VALUE);
    } else if (wanted->depth) {
        NEED(wanted->width <= 16384 && wanted->height <= 16384 && wanted->depth <= 16384, CUDA_ERROR_INVALID_VALUE);
    } else {
        NEED(wanted->width <= 131072 && wanted->height <= 65536, CUDA_ERROR_INVALID_VALUE);
    }
    return CUDA_SUCCESS;
}

static void shape(CUarray array, const CUDA_ARRAY3D_DESCRIPTOR *wanted) {
    array->description = *wanted;
    array->row_bytes = wanted->width * channel_bytes(wanted->format) * wanted->channels;
    array->pitch = ROUND_UP(array->row_bytes, PITCH);
    array->rows = wanted->height ? wanted->height : 1;
    array->slices = wanted->depth ? wanted->depth : 1;
}

static size_t bytes_of(const struct CUarray_st *array) {
    return array->pitch * array->rows * array->slices;
}

CUresult cuArray3DCreate_v2(CUarray *handle, const CUDA_ARRAY3D_DESCRIPTOR *wanted) {
    NEED_CONTEXT(current);
    NEED(handle && wanted, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(capture_forbids_unsafe());
    NEED_OK(check(wanted));
    CUarray made = object_new(KIND_ARRAY, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->context = current;
    shape(made, wanted);
    CUresult result = heap_alloc(current->heap, bytes_of(made), false, &made->base);
    if (result != CUDA_SUCCESS) {
        object_end(made);
        return result;
    }
    *handle = made;
    return CUDA_SUCCESS;
}

CUresult cuArrayCreate_v2(CUarray *handle, const CUDA_ARRAY_DESCRIPTOR *wanted) {
    NEED(wanted, CUDA_ERROR_INVALID_VALUE);
    CUDA_ARRAY3D_DESCRIPTOR full = {
        .width = wanted->width, .height = wanted->height, .format = wanted->format, .channels = wanted->channels};
    return cuArray3DCreate_v2(handle, &full);
}

CUresult cuArrayDestroy(CUarray array) {
    NEED_DRIVER();
    NEED(object_is(array, KIND_ARRAY) && !array->mipmap, CUDA_ERROR_INVALID_HANDLE);
    context_wait(array->context);
    heap_free(array->base);
    object_end(array);
    return CUDA_SUCCESS;
}

CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR *description, CUarray array) {
    NEED_DRIVER();
    NEED(object_is(array, KIND_ARRAY), CUDA_ERROR_INVALID_HANDLE);
    NEED(description, CUDA_ERROR_INVALID_VALUE);
    *description = array->description;
    return CUDA_SUCCESS;
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR *description, CUarray array) {
    NEED_DRIVER();
    NEED(object_is(array, KIND_ARRAY), CUDA_ERROR_INVALID_HANDLE);
    NEED(description, CUDA_ERROR_INVALID_VALUE);
    const CUDA_ARRAY3D_DESCRIPTOR *full = &array->description;
    *description = (CUDA_ARRAY_DESCRIPTOR){full->width, full->height, full->format, full->channels};
    return CUDA_SUCCESS;
}

CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *requirements, CUarray array, CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(object_is(array, KIND_ARRAY), CUDA_ERROR_INVALID_HANDLE);
    NEED(requirements, CUDA_ERROR_INVALID_VALUE);
    *requirements = (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = ROUND_UP(bytes_of(array), 65536), .alignment = 65536};
    return CUDA_SUCCESS;
}

/* ---- Mipmaps: levels one after another in one allocation, each half of the one before. */

static size_t halved(size_t size, unsigned level) {
    return size ? (size >> level ? size >> level : 1) : 0;
}

static void end_levels(CUmipmappedArray mipmap) {
    for (unsigned level = 0; level < mipmap->level_count; level++) {
        if (mipmap->levels[level]) {
            object_end(mipmap->levels[level]);
        }
    }
    object_end(mipmap);
}

static CUresult add_levels(CUmipmappedArray mipmap, const CUDA_ARRAY3D_DESCRIPTOR *wanted, unsigned count) {
    for (unsigned level = 0; level < count; level++) {
        CUarray made = object_new(KIND_ARRAY, sizeof *made);
        NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
        mipmap->levels[mipmap->level_count++] = made;
        CUDA_ARRAY3D_DESCRIPTOR smaller = *wanted;
        smaller.width = halved(wanted->width, level);
        smaller.height = halved(wanted->height, level);
        smaller.depth = wanted->flags & CUDA_ARRAY3D_LAYERED ? wanted->depth : halved(wanted->depth, level);
        shape(made, &smaller);
        made->context = mipmap->context;
        made->mipmap = mipmap;
        made->base = mipmap->bytes; /* an offset until the memory is there */
        mipmap->bytes += ROUND_UP(bytes_of(made), LEVEL_ALIGNMENT);
    }
    return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray *handle, const CUDA_ARRAY3D_DESCRIPTOR *wanted,
                                unsigned int mipmap_level_count) {
    NEED_CONTEXT(current);
    NEED(handle && wanted && mipmap_level_count, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(capture_forbids_unsafe());
    NEED_OK(check(wanted));
    size_t largest = wanted->width > wanted->height ? wanted->width : wanted->height;
    largest = !(wanted->flags & CUDA_ARRAY3D_LAYERED) && wanted->depth > largest ? wanted->depth : largest;
    unsigned most = 64 - (unsigned)__builtin_clzll(largest); /* 1 + floor(log2) */
    unsigned count = mipmap_level_count < most ? mipmap_level_count : most;
    CUmipmappedArray made = object_new(KIND_MIPMAP, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->context = current;
    CUresult result = add_levels(made, wanted, count);
    if (result == CUDA_SUCCESS) {
        result = heap_alloc(current->heap, made->bytes, false, &made->base);
    }
    if (result != CUDA_SUCCESS) {
        end_levels(made);
        return result;
    }
    for (unsigned level = 0; level < count; level++) {
        made->levels[level]->base += made->base;
    }
    *handle = made;
    return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetLevel(CUarray *level_array, CUmipmappedArray mipmap, unsigned int level) {
    NEED_DRIVER();
    NEED(object_is(mipmap, KIND_MIPMAP), CUDA_ERROR_INVALID_HANDLE);
    NEED(level_array && level < mipmap->level_count, CUDA_ERROR_INVALID_VALUE);
    *level_array = mipmap->levels[level];
    return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray mipmap) {
    NEED_DRIVER();
    NEED(object_is(mipmap, KIND_MIPMAP), CUDA_ERROR_INVALID_HANDLE);
    context_wait(mipmap->context);
    heap_free(mipmap->base);
    end_levels(mipmap);
    return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS *requirements, CUmipmappedArray mipmap,
                                               CUdevice ordinal) {
    NEED_DEVICE(chosen, ordinal);
    NEED(object_is(mipmap, KIND_MIPMAP), CUDA_ERROR_INVALID_HANDLE);
    NEED(requirements, CUDA_ERROR_INVALID_VALUE);
    *requirements = (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = ROUND_UP(mipmap->bytes, 65536), .alignment = 65536};
    return CUDA_SUCCESS;
}
