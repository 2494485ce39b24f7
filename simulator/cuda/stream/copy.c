/* Entry points of copies and memsets. Work is checked here and run by streams; see memory/transfer.c. */
#include <string.h>

#include "simulator/cuda/core/capture_guard.h"
#include "simulator/cuda/core/later.h"
#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/memory/host.h"
#include "simulator/cuda/memory/pool.h"
#include "simulator/cuda/memory/transfer.h"
#include "simulator/cuda/stream/queue.h"

/* A call without a stream works in stream 0 and returns when it is done. */
static CUresult now(CUcontext current, const op *work) {
    CUstream stream = stream_find(current, NULL);
    NEED_OK(transfer_check(work));
    NEED_OK(capture_forbids_unsafe());
    stream_wait(stream);
    NEED_OK(stream_submit(stream, work));
    stream_wait(stream);
    return context_lost(current) ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

static bool reached(const op *work, const device *from) {
    return work->kind == OP_COPY
               ? pool_reached(work->as.copy.source, from) && pool_reached(work->as.copy.destination, from)
           : work->kind == OP_FILL ? pool_reached(work->as.fill.pointer, from)
                                   : true;
}

static CUresult later(CUcontext current, CUstream handle, const op *work) {
    CUstream stream = stream_find(current, handle);
    NEED(stream, CUDA_ERROR_INVALID_HANDLE);
    NEED(sim_driver.device_count == 1 || reached(work, stream->context->device), CUDA_ERROR_INVALID_VALUE);
    NEED_OK(transfer_check(work));
    return stream_submit(stream, work);
}

static op linear(CUdeviceptr destination, CUdeviceptr source, size_t bytes) {
    return (op){.kind = OP_COPY, .as.copy = {destination, source, bytes}};
}

static CUdeviceptr host(const void *pointer) {
    return (CUdeviceptr)(uintptr_t)pointer;
}

/* ---- Linear copies. The named direction must hold: a host pointer is no device pointer, unless the driver mapped it. */

#define NEED_ON_DEVICE(pointer, bytes, write) \
    NEED((bytes) == 0 || heap_holds(pointer, bytes, write) || host_holds(pointer, bytes), CUDA_ERROR_INVALID_VALUE)
#define NEED_ON_HOST(pointer, bytes) NEED((bytes) == 0 || (pointer), CUDA_ERROR_INVALID_VALUE)

CUresult cuMemcpyHtoD_v2(CUdeviceptr dst_device, const void *src_host, size_t byte_count) {
    NEED_CONTEXT(current);
    NEED_ON_HOST(src_host, byte_count);
    NEED_ON_DEVICE(dst_device, byte_count, true);
    op work = linear(dst_device, host(src_host), byte_count);
    return now(current, &work);
}

CUresult cuMemcpyDtoH_v2(void *dst_host, CUdeviceptr src_device, size_t byte_count) {
    NEED_CONTEXT(current);
    NEED_ON_HOST(dst_host, byte_count);
    NEED_ON_DEVICE(src_device, byte_count, false);
    op work = linear(host(dst_host), src_device, byte_count);
    return now(current, &work);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr dst_device, CUdeviceptr src_device, size_t byte_count) {
    NEED_CONTEXT(current);
    NEED_ON_DEVICE(dst_device, byte_count, true);
    NEED_ON_DEVICE(src_device, byte_count, false);
    op work = linear(dst_device, src_device, byte_count);
    return now(current, &work);
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t byte_count) {
    NEED_CONTEXT(current);
    op work = linear(dst, src, byte_count);
    return now(current, &work);
}

CUresult cuMemcpyPeer(CUdeviceptr dst_device, CUcontext dst_context, CUdeviceptr src_device, CUcontext src_context,
                      size_t byte_count) {
    NEED(context_of(dst_context) && context_of(src_context), CUDA_ERROR_INVALID_CONTEXT);
    return cuMemcpyDtoD_v2(dst_device, src_device, byte_count);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst_device, const void *src_host, size_t byte_count, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_ON_HOST(src_host, byte_count);
    NEED_ON_DEVICE(dst_device, byte_count, true);
    op work = linear(dst_device, host(src_host), byte_count);
    return later(current, stream, &work);
}

CUresult cuMemcpyDtoHAsync_v2(void *dst_host, CUdeviceptr src_device, size_t byte_count, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_ON_HOST(dst_host, byte_count);
    NEED_ON_DEVICE(src_device, byte_count, false);
    op work = linear(host(dst_host), src_device, byte_count);
    return later(current, stream, &work);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst_device, CUdeviceptr src_device, size_t byte_count, CUstream stream) {
    NEED_CONTEXT(current);
    NEED_ON_DEVICE(dst_device, byte_count, true);
    NEED_ON_DEVICE(src_device, byte_count, false);
    op work = linear(dst_device, src_device, byte_count);
    return later(current, stream, &work);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t byte_count, CUstream stream) {
    NEED_CONTEXT(current);
    op work = linear(dst, src, byte_count);
    return later(current, stream, &work);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dst_device, CUcontext dst_context, CUdeviceptr src_device, CUcontext src_context,
                           size_t byte_count, CUstream stream) {
    NEED(context_of(dst_context) && context_of(src_context), CUDA_ERROR_INVALID_CONTEXT);
    return cuMemcpyDtoDAsync_v2(dst_device, src_device, byte_count, stream);
}

CUresult cuMemcpyBatchAsync(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count,
                            CUmemcpyAttributes *attributes, size_t *attributes_idxs, size_t attribute_count,
                            size_t *fail_idx, CUstream stream) {
    NEED_CONTEXT(current);
    NEED(dsts && srcs && sizes && count && attributes && attributes_idxs && attribute_count, CUDA_ERROR_INVALID_VALUE);
    NEED(stream && stream != CU_STREAM_LEGACY, CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < count; i++) {
        op work = linear(dsts[i], srcs[i], sizes[i]);
        CUresult result = later(current, stream, &work);
        if (result != CUDA_SUCCESS) {
            if (fail_idx) {
                *fail_idx = i;
            }
            return result;
        }
    }
    return CUDA_SUCCESS;
}

CUresult cuMemcpyBatchAsync_v2(CUdeviceptr *destinations, CUdeviceptr *sources, size_t *sizes, size_t count,
                               CUmemcpyAttributes *attributes, size_t *attrs_idxs, size_t attribute_count,
                               CUstream stream) {
    return cuMemcpyBatchAsync(destinations, sources, sizes, count, attributes, attrs_idxs, attribute_count, NULL,
                              stream);
}

/* ---- Copies from and to arrays, as boxes one row high. */

static op array_copy(CUarray to, size_t to_offset, CUdeviceptr to_device, void *to_host, CUarray from,
                     size_t from_offset, CUdeviceptr from_device, const void *from_host, size_t bytes) {
    op work = {.kind = OP_COPY_BOX};
    CUDA_MEMCPY3D_PEER *box = &work.as.box;
    box->src_type = from ? CU_MEMORYTYPE_ARRAY : from_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    box->src_array = from;
    box->src_x = from ? from_offset : 0;
    box->src_host = from_host;
    box->src_device = from_device;
    box->dst_type = to ? CU_MEMORYTYPE_ARRAY : to_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    box->dst_array = to;
    box->dst_x = to ? to_offset : 0;
    box->dst_host = to_host;
    box->dst_device = to_device;
    box->width = bytes;
    box->height = box->depth = 1;
    return work;
}

#define ARRAY_COPY(symbol, parameters, ...) \
    CUresult symbol parameters {            \
        NEED_CONTEXT(current);              \
        op work = array_copy(__VA_ARGS__);  \
        return now(current, &work);         \
    }
#define ARRAY_COPY_ASYNC(symbol, parameters, ...) \
    CUresult symbol parameters {                  \
        NEED_CONTEXT(current);                    \
        op work = array_copy(__VA_ARGS__);        \
        return later(current, stream, &work);     \
    }
ARRAY_COPY(cuMemcpyDtoA_v2, (CUarray to, size_t offset, CUdeviceptr from, size_t bytes), to, offset, 0, NULL, NULL, 0,
           from, NULL, bytes)
ARRAY_COPY(cuMemcpyAtoD_v2, (CUdeviceptr to, CUarray from, size_t offset, size_t bytes), NULL, 0, to, NULL, from,
           offset, 0, NULL, bytes)
ARRAY_COPY(cuMemcpyHtoA_v2, (CUarray to, size_t offset, const void *from, size_t bytes), to, offset, 0, NULL, NULL, 0,
           0, from, bytes)
ARRAY_COPY(cuMemcpyAtoH_v2, (void *to, CUarray from, size_t offset, size_t bytes), NULL, 0, 0, to, from, offset, 0,
           NULL, bytes)
ARRAY_COPY(cuMemcpyAtoA_v2, (CUarray to, size_t to_offset, CUarray from, size_t from_offset, size_t bytes), to,
           to_offset, 0, NULL, from, from_offset, 0, NULL, bytes)
ARRAY_COPY_ASYNC(cuMemcpyHtoAAsync_v2, (CUarray to, size_t offset, const void *from, size_t bytes, CUstream stream), to,
                 offset, 0, NULL, NULL, 0, 0, from, bytes)
ARRAY_COPY_ASYNC(cuMemcpyAtoHAsync_v2, (void *to, CUarray from, size_t offset, size_t bytes, CUstream stream), NULL, 0,
                 0, to, from, offset, 0, NULL, bytes)

/* ---- Boxes. */

static op box_2d(const CUDA_MEMCPY2D *flat) {
    op work = {.kind = OP_COPY_BOX};
    work.as.box = (CUDA_MEMCPY3D_PEER){.src_x = flat->src_x,
                                       .src_y = flat->src_y,
                                       .src_type = flat->src_type,
                                       .src_host = flat->src_host,
                                       .src_device = flat->src_device,
                                       .src_array = flat->src_array,
                                       .src_pitch = flat->src_pitch,
                                       .dst_x = flat->dst_x,
                                       .dst_y = flat->dst_y,
                                       .dst_type = flat->dst_type,
                                       .dst_host = flat->dst_host,
                                       .dst_device = flat->dst_device,
                                       .dst_array = flat->dst_array,
                                       .dst_pitch = flat->dst_pitch,
                                       .width = flat->width,
                                       .height = flat->height,
                                       .depth = 1};
    return work;
}

static op box_3d(const CUDA_MEMCPY3D *copy) {
    op work = {.kind = OP_COPY_BOX};
    memcpy(&work.as.box, copy, sizeof work.as.box);
    return work;
}

#define BOX_COPY(symbol, type, box)           \
    CUresult symbol(const type *copy) {       \
        NEED_CONTEXT(current);                \
        NEED(copy, CUDA_ERROR_INVALID_VALUE); \
        op work = box;                        \
        return now(current, &work);           \
    }
#define BOX_COPY_ASYNC(symbol, type, box)                \
    CUresult symbol(const type *copy, CUstream stream) { \
        NEED_CONTEXT(current);                           \
        NEED(copy, CUDA_ERROR_INVALID_VALUE);            \
        op work = box;                                   \
        return later(current, stream, &work);            \
    }
#define PEER_BOX ((op){.kind = OP_COPY_BOX, .as.box = *copy})
BOX_COPY(cuMemcpy2D_v2, CUDA_MEMCPY2D, box_2d(copy))
BOX_COPY(cuMemcpy2DUnaligned_v2, CUDA_MEMCPY2D, box_2d(copy))
BOX_COPY(cuMemcpy3D_v2, CUDA_MEMCPY3D, box_3d(copy))
BOX_COPY(cuMemcpy3DPeer, CUDA_MEMCPY3D_PEER, PEER_BOX)
BOX_COPY_ASYNC(cuMemcpy2DAsync_v2, CUDA_MEMCPY2D, box_2d(copy))
BOX_COPY_ASYNC(cuMemcpy3DAsync_v2, CUDA_MEMCPY3D, box_3d(copy))
BOX_COPY_ASYNC(cuMemcpy3DPeerAsync, CUDA_MEMCPY3D_PEER, PEER_BOX)

/* ---- Memsets. */

static op fill(CUdeviceptr pointer, size_t pitch, unsigned value, unsigned unit, size_t width, size_t height) {
    return (op){.kind = OP_FILL, .as.fill = {pointer, pitch, value, unit, width, height}};
}

#define MEMSETS(bits, type)                                                                               \
    CUresult cuMemsetD##bits##_v2(CUdeviceptr dst_device, type value, size_t count) {                     \
        NEED_CONTEXT(current);                                                                            \
        op work = fill(dst_device, 0, value, bits / 8, count, 1);                                         \
        return now(current, &work);                                                                       \
    }                                                                                                     \
    CUresult cuMemsetD##bits##Async(CUdeviceptr dst_device, type value, size_t count, CUstream stream) {  \
        NEED_CONTEXT(current);                                                                            \
        op work = fill(dst_device, 0, value, bits / 8, count, 1);                                         \
        return later(current, stream, &work);                                                             \
    }                                                                                                     \
    CUresult cuMemsetD2D##bits##_v2(CUdeviceptr dst_device, size_t dst_pitch, type value, size_t width,   \
                                    size_t height) {                                                      \
        NEED_CONTEXT(current);                                                                            \
        op work = fill(dst_device, dst_pitch, value, bits / 8, width, height);                            \
        return now(current, &work);                                                                       \
    }                                                                                                     \
    CUresult cuMemsetD2D##bits##Async(CUdeviceptr dst_device, size_t dst_pitch, type value, size_t width, \
                                      size_t height, CUstream stream) {                                   \
        NEED_CONTEXT(current);                                                                            \
        op work = fill(dst_device, dst_pitch, value, bits / 8, width, height);                            \
        return later(current, stream, &work);                                                             \
    }

MEMSETS(8, unsigned char)
MEMSETS(16, unsigned short)
MEMSETS(32, unsigned int)
