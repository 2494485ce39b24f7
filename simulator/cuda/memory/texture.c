/* Texture and surface objects: descriptions by number. No kernel reads them here. */
#include <string.h>

#include "simulator/cuda/memory/array.h"
#include "simulator/cuda/memory/heap.h"

typedef struct texture {
    object object;
    CUDA_RESOURCE_DESC resource;
    CUDA_TEXTURE_DESC texture;
    CUDA_RESOURCE_VIEW_DESC view;
    bool viewed;
} texture;

static CUresult check(const CUDA_RESOURCE_DESC *resource) {
    switch ((int)resource->type) {
    case CU_RESOURCE_TYPE_ARRAY:
        return object_is(resource->resource.array, KIND_ARRAY) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
        return object_is(resource->resource.mipmap, KIND_MIPMAP) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    case CU_RESOURCE_TYPE_LINEAR:
        NEED(heap_holds(resource->resource.linear.pointer, resource->resource.linear.bytes, false),
             CUDA_ERROR_INVALID_VALUE);
        return resource->resource.linear.pointer % 512 == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_RESOURCE_TYPE_PITCH2D:
        return heap_holds(resource->resource.pitched.pointer, 1, false) && resource->resource.pitched.pitch % 32 == 0
                   ? CUDA_SUCCESS
                   : CUDA_ERROR_INVALID_VALUE;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

static texture *find(unsigned long long handle) {
    texture *found = (texture *)(uintptr_t)handle;
    return object_is(found, KIND_TEXTURE) ? found : NULL;
}

CUresult cuTexObjectCreate(CUtexObject *handle, const CUDA_RESOURCE_DESC *resource, const CUDA_TEXTURE_DESC *wanted,
                           const CUDA_RESOURCE_VIEW_DESC *view) {
    NEED_CONTEXT(current);
    NEED(handle && resource && wanted, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check(resource));
    texture *made = object_new(KIND_TEXTURE, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->resource = *resource;
    made->texture = *wanted;
    if (view) {
        made->view = *view;
        made->viewed = true;
    }
    *handle = (CUtexObject)(uintptr_t)made;
    return CUDA_SUCCESS;
}

CUresult cuTexObjectDestroy(CUtexObject handle) {
    NEED_DRIVER();
    NEED(find(handle), CUDA_ERROR_INVALID_VALUE);
    object_end(find(handle));
    return CUDA_SUCCESS;
}

CUresult cuTexObjectGetResourceDesc(CUDA_RESOURCE_DESC *resource, CUtexObject handle) {
    NEED_DRIVER();
    NEED(resource && find(handle), CUDA_ERROR_INVALID_VALUE);
    *resource = find(handle)->resource;
    return CUDA_SUCCESS;
}

CUresult cuTexObjectGetTextureDesc(CUDA_TEXTURE_DESC *description, CUtexObject handle) {
    NEED_DRIVER();
    NEED(description && find(handle), CUDA_ERROR_INVALID_VALUE);
    *description = find(handle)->texture;
    return CUDA_SUCCESS;
}

CUresult cuTexObjectGetResourceViewDesc(CUDA_RESOURCE_VIEW_DESC *view, CUtexObject handle) {
    NEED_DRIVER();
    NEED(view && find(handle) && find(handle)->viewed, CUDA_ERROR_INVALID_VALUE);
    *view = find(handle)->view;
    return CUDA_SUCCESS;
}

CUresult cuSurfObjectCreate(CUsurfObject *handle, const CUDA_RESOURCE_DESC *resource) {
    NEED(resource && resource->type == CU_RESOURCE_TYPE_ARRAY, CUDA_ERROR_INVALID_VALUE);
    CUDA_TEXTURE_DESC plain = {0};
    return cuTexObjectCreate(handle, resource, &plain, NULL);
}

CUresult cuSurfObjectDestroy(CUsurfObject handle) {
    return cuTexObjectDestroy(handle);
}

CUresult cuSurfObjectGetResourceDesc(CUDA_RESOURCE_DESC *resource, CUsurfObject handle) {
    return cuTexObjectGetResourceDesc(resource, handle);
}
