/* Copies and memsets: checking them against the bounds of allocations, and doing them. */
#include "simulator/cuda/memory/transfer.h"

#include <string.h>

#include "simulator/cuda/memory/array.h"
#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/memory/host.h"

static char *at(CUdeviceptr pointer) {
    return (char *)(uintptr_t)pointer;
}

/* A unified pointer: device memory within its allocation, or any host memory. */
static bool reaches(CUdeviceptr pointer, size_t bytes, bool write) {
    return heap_holds(pointer, bytes, write) || (pointer && !heap_owns(pointer));
}

/* One side of a box: where its first byte lies, and how far rows and slices are apart. */
typedef struct side {
    char *start;
    size_t pitch, slice;
} side;

static CUresult linear_side(CUdeviceptr base, size_t x, size_t y, size_t z, size_t pitch, size_t height,
                            const CUDA_MEMCPY3D_PEER *box, CUmemorytype type, bool write, side *found) {
    size_t rows = box->height * box->depth;
    NEED(base && (rows <= 1 || pitch >= box->width + x), CUDA_ERROR_INVALID_VALUE);
    size_t slice = pitch * (height ? height : box->height);
    NEED(box->depth <= 1 || height == 0 || height >= box->height + y, CUDA_ERROR_INVALID_VALUE);
    size_t offset = z * slice + y * pitch + x;
    size_t bytes = (box->depth - 1) * slice + (box->height - 1) * pitch + box->width;
    CUdeviceptr first = base + offset;
    bool fits = type == CU_MEMORYTYPE_HOST      ? true
                : type == CU_MEMORYTYPE_UNIFIED ? reaches(first, bytes, write)
                                                : heap_holds(first, bytes, write) || host_holds(first, bytes);
    NEED(fits, CUDA_ERROR_INVALID_VALUE);
    *found = (side){at(first), pitch, slice};
    return CUDA_SUCCESS;
}

static CUresult array_side(CUarray array, size_t x, size_t y, size_t z, const CUDA_MEMCPY3D_PEER *box, bool write,
                           side *found) {
    NEED(object_is(array, KIND_ARRAY), CUDA_ERROR_INVALID_HANDLE);
    NEED(x + box->width <= array->row_bytes && y + box->height <= array->rows && z + box->depth <= array->slices,
         CUDA_ERROR_INVALID_VALUE);
    size_t slice = array->pitch * array->rows;
    CUdeviceptr first = array->base + z * slice + y * array->pitch + x;
    heap_holds(first, 1, write);
    *found = (side){at(first), array->pitch, slice};
    return CUDA_SUCCESS;
}

static CUresult sides(const CUDA_MEMCPY3D_PEER *box, side *from, side *to) {
    switch (box->src_type) {
    case CU_MEMORYTYPE_ARRAY:
        NEED_OK(array_side(box->src_array, box->src_x, box->src_y, box->src_z, box, false, from));
        break;
    case CU_MEMORYTYPE_HOST:
        NEED_OK(linear_side((CUdeviceptr)(uintptr_t)box->src_host, box->src_x, box->src_y, box->src_z, box->src_pitch,
                            box->src_height, box, CU_MEMORYTYPE_HOST, false, from));
        break;
    case CU_MEMORYTYPE_DEVICE:
    case CU_MEMORYTYPE_UNIFIED:
        NEED_OK(linear_side(box->src_device, box->src_x, box->src_y, box->src_z, box->src_pitch, box->src_height, box,
                            box->src_type, false, from));
        break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    switch (box->dst_type) {
    case CU_MEMORYTYPE_ARRAY: return array_side(box->dst_array, box->dst_x, box->dst_y, box->dst_z, box, true, to);
    case CU_MEMORYTYPE_HOST:
        return linear_side((CUdeviceptr)(uintptr_t)box->dst_host, box->dst_x, box->dst_y, box->dst_z, box->dst_pitch,
                           box->dst_height, box, CU_MEMORYTYPE_HOST, true, to);
    case CU_MEMORYTYPE_DEVICE:
    case CU_MEMORYTYPE_UNIFIED:
        return linear_side(box->dst_device, box->dst_x, box->dst_y, box->dst_z, box->dst_pitch, box->dst_height, box,
                           box->dst_type, true, to);
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult transfer_check(const op *checked) {
    side from, to;
    switch (checked->kind) {
    case OP_COPY: {
        size_t bytes = checked->as.copy.bytes;
        NEED(bytes == 0 ||
                 (reaches(checked->as.copy.source, bytes, false) && reaches(checked->as.copy.destination, bytes, true)),
             CUDA_ERROR_INVALID_VALUE);
        return CUDA_SUCCESS;
    }
    case OP_COPY_BOX:
        if (checked->as.box.width == 0 || checked->as.box.height == 0 || checked->as.box.depth == 0) {
            return CUDA_SUCCESS;
        }
        return sides(&checked->as.box, &from, &to);
    case OP_FILL: {
        size_t unit = checked->as.fill.unit, width = checked->as.fill.width, height = checked->as.fill.height;
        NEED(unit == 1 || unit == 2 || unit == 4, CUDA_ERROR_INVALID_VALUE);
        NEED(checked->as.fill.pointer % unit == 0, CUDA_ERROR_INVALID_VALUE);
        if (width == 0 || height == 0) {
            return CUDA_SUCCESS;
        }
        size_t row, pitch = height > 1 ? checked->as.fill.pitch : 0;
        NEED(!__builtin_mul_overflow(width, unit, &row), CUDA_ERROR_INVALID_VALUE);
        NEED(height == 1 || pitch >= row, CUDA_ERROR_INVALID_VALUE);
        size_t bytes = (height - 1) * pitch + row;
        NEED(heap_holds(checked->as.fill.pointer, bytes, true) || host_holds(checked->as.fill.pointer, bytes),
             CUDA_ERROR_INVALID_VALUE);
        return CUDA_SUCCESS;
    }
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

static void do_fill(const op *work) {
    size_t width = work->as.fill.width;
    unsigned value = work->as.fill.value;
    for (size_t y = 0; y < work->as.fill.height; y++) {
        char *row = at(work->as.fill.pointer) + y * work->as.fill.pitch;
        switch (work->as.fill.unit) {
        case 1: memset(row, (int)value, width); break;
        case 2:
            for (size_t x = 0; x < width; x++) {
                ((uint16_t *)row)[x] = (uint16_t)value;
            }
            break;
        default:
            for (size_t x = 0; x < width; x++) {
                ((uint32_t *)row)[x] = value;
            }
        }
    }
}

static void do_box(const CUDA_MEMCPY3D_PEER *box) {
    side from, to;
    if (sides(box, &from, &to) != CUDA_SUCCESS) {
        return;
    }
    for (size_t z = 0; z < box->depth; z++) {
        for (size_t y = 0; y < box->height; y++) {
            memmove(to.start + z * to.slice + y * to.pitch, from.start + z * from.slice + y * from.pitch, box->width);
        }
    }
}

/* Memory may have been freed while the work waited; it is left alone. */
void transfer_run(const op *work) {
    if (transfer_check(work) != CUDA_SUCCESS) {
        return;
    }
    if (work->kind == OP_COPY) {
        memmove(at(work->as.copy.destination), at(work->as.copy.source), work->as.copy.bytes);
    } else if (work->kind == OP_FILL) {
        do_fill(work);
    } else if (work->as.box.width && work->as.box.height && work->as.box.depth) {
        do_box(&work->as.box);
    }
}
