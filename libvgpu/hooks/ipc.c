/* Memory that another API or another process made. Memory of a process in this container is counted there. Memory from
 * elsewhere is counted here. */
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/quota.h"
#include "libvgpu/memory/reservation.h"

CUresult hook_cuImportExternalMemory(__typeof__(&cuImportExternalMemory) driver, CUexternalMemory *ext_mem_out,
                                     const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *mem_handle_desc) {
    struct reservation reservation;
    if (ext_mem_out == NULL || mem_handle_desc == NULL) {
        return driver(ext_mem_out, mem_handle_desc);
    }
    if (!reservation_take_current(&reservation, mem_handle_desc->size)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(ext_mem_out, mem_handle_desc);
    return reservation_finish(&reservation, result, ALLOCATION_KEY(EXTERNAL, *ext_mem_out));
}

CUresult hook_cuDestroyExternalMemory(__typeof__(&cuDestroyExternalMemory) driver, CUexternalMemory ext_mem) {
    struct allocation entry;
    bool noted = allocations_remove(ALLOCATION_KEY(EXTERNAL, ext_mem), &entry);
    CUresult result = driver(ext_mem);
    if (noted && result == CUDA_SUCCESS) {
        reservation_release(&entry);
    } else if (noted) {
        allocations_add(entry);
    }
    return result;
}

/* The size of the other process's memory is known only after the call. */
static CUresult opened(CUresult result, CUdeviceptr *pointer) {
    struct reservation reservation;
    CUcontext context;
    CUdeviceptr base;
    size_t bytes;
    int gpu;
    if (result != CUDA_SUCCESS || pointer == NULL || !devices_current(&context, &gpu) ||
        DRIVER(cuMemGetAddressRange_v2)(&base, &bytes, *pointer) != CUDA_SUCCESS || quota_counted_already(gpu, bytes)) {
        return result;
    }
    if (reservation_count(&reservation, context, gpu, bytes)) {
        return reservation_finish(&reservation, result, ALLOCATION_KEY(EXTERNAL, *pointer));
    }
    DRIVER(cuIpcCloseMemHandle)(*pointer);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult hook_cuIpcOpenMemHandle(__typeof__(&cuIpcOpenMemHandle) driver, CUdeviceptr *pointer, CUipcMemHandle handle,
                                 unsigned int flags) {
    return opened(driver(pointer, handle, flags), pointer);
}

CUresult hook_cuIpcOpenMemHandle_v2(__typeof__(&cuIpcOpenMemHandle_v2) driver, CUdeviceptr *pointer,
                                    CUipcMemHandle handle, unsigned int flags) {
    return opened(driver(pointer, handle, flags), pointer);
}

CUresult hook_cuIpcCloseMemHandle(__typeof__(&cuIpcCloseMemHandle) driver, CUdeviceptr pointer) {
    struct allocation entry;
    bool noted = allocations_remove(ALLOCATION_KEY(EXTERNAL, pointer), &entry);
    CUresult result = driver(pointer);
    if (noted && result == CUDA_SUCCESS) {
        reservation_release(&entry);
    } else if (noted) {
        allocations_add(entry);
    }
    return result;
}
