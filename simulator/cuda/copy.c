/* Copies and memsets of linear memory. Bounds are those of the allocation, as on a real card. */
#include <string.h>

#include "simulator/cuda/driver.h"

static void *at(CUdeviceptr pointer) {
    return (void *)(uintptr_t)pointer; /* NOLINT: device addresses are host addresses here */
}

/* A unified pointer: device memory within its allocation, or any host memory. */
static bool reaches(CUdeviceptr pointer, size_t bytes, bool write) {
    extent found;
    return !heap_find(pointer, &found) || heap_holds(pointer, bytes, write);
}

static CUresult to_device(CUdeviceptr destination, const void *source, size_t bytes) {
    NEED(bytes == 0 || (source && heap_holds(destination, bytes, true)), CUDA_ERROR_INVALID_VALUE);
    memcpy(at(destination), source, bytes);
    return CUDA_SUCCESS;
}

static CUresult to_host(void *destination, CUdeviceptr source, size_t bytes) {
    NEED(bytes == 0 || (destination && heap_holds(source, bytes, false)), CUDA_ERROR_INVALID_VALUE);
    memcpy(destination, at(source), bytes);
    return CUDA_SUCCESS;
}

static CUresult within(CUdeviceptr destination, CUdeviceptr source, size_t bytes) {
    NEED(bytes == 0 || (heap_holds(source, bytes, false) && heap_holds(destination, bytes, true)),
         CUDA_ERROR_INVALID_VALUE);
    memmove(at(destination), at(source), bytes);
    return CUDA_SUCCESS;
}

static CUresult unified(CUdeviceptr destination, CUdeviceptr source, size_t bytes) {
    NEED(bytes == 0 || (destination && source && reaches(source, bytes, false) && reaches(destination, bytes, true)),
         CUDA_ERROR_INVALID_VALUE);
    memmove(at(destination), at(source), bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst_device, const void *src_host, size_t byte_count) {
    NEED_CONTEXT(current);
    return to_device(dst_device, src_host, byte_count);
}

CUresult cuMemcpyDtoH_v2(void *dst_host, CUdeviceptr src_device, size_t byte_count) {
    NEED_CONTEXT(current);
    return to_host(dst_host, src_device, byte_count);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dst_device, CUdeviceptr src_device, size_t byte_count) {
    NEED_CONTEXT(current);
    return within(dst_device, src_device, byte_count);
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t byte_count) {
    NEED_CONTEXT(current);
    return unified(dst, src, byte_count);
}

CUresult cuMemcpyPeer(CUdeviceptr dst_device, CUcontext dst_context, CUdeviceptr src_device, CUcontext src_context,
                      size_t byte_count) {
    NEED_CONTEXT(current);
    NEED(object_is(dst_context, KIND_CONTEXT) && object_is(src_context, KIND_CONTEXT), CUDA_ERROR_INVALID_CONTEXT);
    return within(dst_device, src_device, byte_count);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst_device, const void *src_host, size_t byte_count, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    return to_device(dst_device, src_host, byte_count);
}

CUresult cuMemcpyDtoHAsync_v2(void *dst_host, CUdeviceptr src_device, size_t byte_count, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    return to_host(dst_host, src_device, byte_count);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst_device, CUdeviceptr src_device, size_t byte_count, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    return within(dst_device, src_device, byte_count);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t byte_count, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_OK(stream_check(stream));
    return unified(dst, src, byte_count);
}

/* ---- Memsets: one row after another, `pitch` bytes apart. */

static CUresult fill(CUdeviceptr pointer, size_t pitch, unsigned value, size_t unit, size_t width, size_t height) {
    NEED(pointer % unit == 0, CUDA_ERROR_INVALID_VALUE);
    if (width == 0 || height == 0) {
        return CUDA_SUCCESS;
    }
    size_t row = width * unit;
    NEED(height == 1 || pitch >= row, CUDA_ERROR_INVALID_VALUE);
    NEED(heap_holds(pointer, (height - 1) * pitch + row, true), CUDA_ERROR_INVALID_VALUE);
    for (size_t y = 0; y < height; y++) {
        char *start = (char *)at(pointer) + y * pitch;
        switch (unit) {
        case 1: memset(start, (int)value, width); break;
        case 2:
            for (size_t x = 0; x < width; x++) {
                ((uint16_t *)start)[x] = (uint16_t)value;
            }
            break;
        default:
            for (size_t x = 0; x < width; x++) {
                ((uint32_t *)start)[x] = value;
            }
        }
    }
    return CUDA_SUCCESS;
}

#define MEMSETS(bits, type)                                                                                          \
    CUresult cuMemsetD##bits##_v2(CUdeviceptr dst_device, type value, size_t count) {                                \
        NEED_CONTEXT(current);                                                                                       \
        return fill(dst_device, 0, value, bits / 8, count, 1);                                                       \
    }                                                                                                                \
    CUresult cuMemsetD##bits##Async(CUdeviceptr dst_device, type value, size_t count, CUstream stream) {             \
        NEED_CONTEXT(current);                                                                                       \
        NEED_OK(stream_check(stream));                                                                               \
        return fill(dst_device, 0, value, bits / 8, count, 1);                                                       \
    }                                                                                                                \
    CUresult cuMemsetD2D##bits##_v2(CUdeviceptr dst_device, size_t dst_pitch, type value, size_t width,              \
                                    size_t height) {                                                                 \
        NEED_CONTEXT(current);                                                                                       \
        return fill(dst_device, dst_pitch, value, bits / 8, width, height);                                          \
    }                                                                                                                \
    CUresult cuMemsetD2D##bits##Async(CUdeviceptr dst_device, size_t dst_pitch, type value, size_t width,            \
                                      size_t height, CUstream stream) {                                              \
        NEED_CONTEXT(current);                                                                                       \
        NEED_OK(stream_check(stream));                                                                               \
        return fill(dst_device, dst_pitch, value, bits / 8, width, height);                                          \
    }

MEMSETS(8, unsigned char)
MEMSETS(16, unsigned short)
MEMSETS(32, unsigned int)
