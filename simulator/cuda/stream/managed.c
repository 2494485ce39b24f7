/* Managed memory: where it should live, and whose it is. It is all of one kind here, so calls are only checked. */
#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/stream/stream.h"

static CUresult check_managed(CUdeviceptr pointer, size_t count, CUmemLocation location) {
    extent found;
    NEED(count && heap_find(pointer, &found) && found.managed, CUDA_ERROR_INVALID_VALUE);
    NEED(heap_holds(pointer, count, false), CUDA_ERROR_INVALID_VALUE);
    bool on_gpu = location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    NEED(!on_gpu || device_at(location.id), CUDA_ERROR_INVALID_DEVICE);
    return CUDA_SUCCESS;
}

CUresult cuMemPrefetchAsync_v2(CUdeviceptr dev_ptr, size_t count, CUmemLocation location, unsigned int flags,
                               CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED(flags == 0, CUDA_ERROR_INVALID_VALUE);
    return check_managed(dev_ptr, count, location);
}

static CUmemLocation place(CUdevice ordinal) {
    CUmemLocation found = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
    if (ordinal == CU_DEVICE_CPU) {
        found.type = CU_MEM_LOCATION_TYPE_HOST;
    }
    return found;
}

CUresult cuMemPrefetchAsync(CUdeviceptr dev_ptr, size_t count, CUdevice dst_device, CUstream stream) {
    return cuMemPrefetchAsync_v2(dev_ptr, count, place(dst_device), 0, stream);
}

CUresult cuMemAdvise_v2(CUdeviceptr dev_ptr, size_t count, CUmem_advise advice, CUmemLocation location) {
    NEED_DRIVER();
    NEED(advice >= CU_MEM_ADVISE_SET_READ_MOSTLY && advice <= CU_MEM_ADVISE_UNSET_ACCESSED_BY,
         CUDA_ERROR_INVALID_VALUE);
    bool mostly = advice == CU_MEM_ADVISE_SET_READ_MOSTLY || advice == CU_MEM_ADVISE_UNSET_READ_MOSTLY ||
                  advice == CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION;
    return check_managed(dev_ptr, count, mostly ? place(CU_DEVICE_CPU) : location);
}

CUresult cuMemAdvise(CUdeviceptr dev_ptr, size_t count, CUmem_advise advice, CUdevice ordinal) {
    return cuMemAdvise_v2(dev_ptr, count, advice, place(ordinal));
}

CUresult cuStreamAttachMemAsync(CUstream handle, CUdeviceptr pointer, size_t length, unsigned int flags) {
    NEED_STREAM(stream, handle);
    extent found;
    NEED(heap_find(pointer, &found) && found.managed, CUDA_ERROR_INVALID_VALUE);
    NEED(length == 0 || length == found.bytes, CUDA_ERROR_INVALID_VALUE);
    NEED(flags == CU_MEM_ATTACH_GLOBAL || flags == CU_MEM_ATTACH_HOST || flags == CU_MEM_ATTACH_SINGLE,
         CUDA_ERROR_INVALID_VALUE);
    return CUDA_SUCCESS;
}
