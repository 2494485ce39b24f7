/* Arrays and mipmapped arrays. */
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/arrays.h"

CUresult hook_cuArrayCreate_v2(__typeof__(&cuArrayCreate_v2) driver, CUarray *handle,
                               const CUDA_ARRAY_DESCRIPTOR *allocate_array) {
    struct array_reservation array;
    if (handle == NULL || allocate_array == NULL) {
        return driver(handle, allocate_array);
    }
    CUDA_ARRAY3D_DESCRIPTOR form = {.width = allocate_array->width,
                                    .height = allocate_array->height,
                                    .format = allocate_array->format,
                                    .channels = allocate_array->channels};
    if (!array_begin(&array, &form, 1)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(handle, allocate_array);
    return array_end(&array, result, *handle);
}

CUresult hook_cuArray3DCreate_v2(__typeof__(&cuArray3DCreate_v2) driver, CUarray *handle,
                                 const CUDA_ARRAY3D_DESCRIPTOR *allocate_array) {
    struct array_reservation array;
    if (handle == NULL || allocate_array == NULL) {
        return driver(handle, allocate_array);
    }
    if (!array_begin(&array, allocate_array, 1)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(handle, allocate_array);
    return array_end(&array, result, *handle);
}

CUresult hook_cuMipmappedArrayCreate(__typeof__(&cuMipmappedArrayCreate) driver, CUmipmappedArray *handle,
                                     const CUDA_ARRAY3D_DESCRIPTOR *mipmapped_array_desc,
                                     unsigned int mipmap_level_count) {
    struct array_reservation array;
    if (handle == NULL || mipmapped_array_desc == NULL) {
        return driver(handle, mipmapped_array_desc, mipmap_level_count);
    }
    if (!array_begin(&array, mipmapped_array_desc, mipmap_level_count)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(handle, mipmapped_array_desc, mipmap_level_count);
    return array_end(&array, result, *handle);
}

static CUresult destroyed(bool noted, CUresult result, const struct allocation *entry) {
    if (noted && result == CUDA_SUCCESS) {
        reservation_release(entry);
    } else if (noted) {
        allocations_add(*entry);
    }
    return result;
}

CUresult hook_cuArrayDestroy(__typeof__(&cuArrayDestroy) driver, CUarray array) {
    struct allocation entry;
    bool noted = allocations_remove(ALLOCATION_KEY(ARRAY, array), &entry);
    return destroyed(noted, driver(array), &entry);
}

CUresult hook_cuMipmappedArrayDestroy(__typeof__(&cuMipmappedArrayDestroy) driver, CUmipmappedArray mipmapped_array) {
    struct allocation entry;
    bool noted = allocations_remove(ALLOCATION_KEY(ARRAY, mipmapped_array), &entry);
    return destroyed(noted, driver(mipmapped_array), &entry);
}
