/* Entry points of streams. */
#include <string.h>

#include "simulator/cuda/core/capture_guard.h"
#include "simulator/cuda/core/later.h"
#include "simulator/cuda/memory/heap.h"
#include "simulator/cuda/memory/host.h"
#include "simulator/cuda/stream/event.h"
#include "simulator/cuda/stream/green.h"
#include "simulator/cuda/stream/queue.h"
#include "simulator/cuda/stream/scope.h"

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority) {
    NEED_CONTEXT(current);
    NEED(stream && !(flags & ~(unsigned)CU_STREAM_NON_BLOCKING), CUDA_ERROR_INVALID_VALUE);
    CUstream made = stream_new(current, flags, priority > 0 ? 0 : priority < -5 ? -5 : priority, false);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->green = context_green();
    *stream = made;
    CUstream *marks = made->green ? &made->green->marks : &current->marks;
    return scope_join(&(scope){current, made->green, marks}, made);
}

CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
    return cuStreamCreateWithPriority(stream, flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream stream) {
    NEED_DRIVER();
    NEED(object_is(stream, KIND_STREAM) && !stream->usual, CUDA_ERROR_INVALID_HANDLE);
    stream_end(stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream stream) {
    return cuStreamDestroy_v2(stream);
}

CUresult cuStreamSynchronize(CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (stream == current->legacy) {
        NEED_OK(capture_forbids_sync(current));
    }
    stream_wait(stream);
    return context_lost(current) ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

CUresult cuStreamQuery(CUstream handle) {
    NEED_STREAM(stream, handle);
    NEED(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (stream == current->legacy) {
        NEED_OK(capture_forbids_sync(current));
    }
    NEED_OK(capture_forbids_unsafe());
    return stream_idle(stream) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuStreamGetFlags(CUstream handle, unsigned int *flags) {
    NEED_STREAM(stream, handle);
    NEED(flags, CUDA_ERROR_INVALID_VALUE);
    *flags = stream->flags;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetPriority(CUstream handle, int *priority) {
    NEED_STREAM(stream, handle);
    NEED(priority, CUDA_ERROR_INVALID_VALUE);
    *priority = stream->priority;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetDevice(CUstream handle, CUdevice *ordinal) {
    NEED_STREAM(stream, handle);
    NEED(ordinal, CUDA_ERROR_INVALID_VALUE);
    *ordinal = stream->context->ordinal;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream handle, unsigned long long *id) {
    NEED_STREAM(stream, handle);
    NEED(id, CUDA_ERROR_INVALID_VALUE);
    *id = stream->id;
    return CUDA_SUCCESS;
}

/* Waiting for an event that was recorded in a capture draws the stream into that capture. */
static CUresult wait_in_capture(CUstream stream, CUevent event) {
    recorder *in = recorder_find(event->capture);
    if (in) {
        return in->ops->wait(in, stream, event);
    }
    NEED(stream->capture, CUDA_ERROR_INVALID_VALUE);
    stream->capture->guard.broken = true;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned int flags) {
    NEED_STREAM(stream, handle);
    NEED(object_is(event, KIND_EVENT), CUDA_ERROR_INVALID_HANDLE);
    NEED(flags <= CU_EVENT_WAIT_EXTERNAL, CUDA_ERROR_INVALID_VALUE);
    if (event->capture || (stream->capture && flags != CU_EVENT_WAIT_EXTERNAL)) {
        return wait_in_capture(stream, event);
    }
    if (stream->capture) { /* the graph's launches wait for what was recorded last by then */
        op later = {.kind = OP_WAIT, .as.event = {event, NULL}};
        return stream_submit(stream, &later);
    }
    fence *point = event_point(event);
    if (!point) {
        return CUDA_SUCCESS; /* never recorded: nothing to wait for */
    }
    op work = {.kind = OP_WAIT, .as.event = {event, point}};
    return stream_submit(stream, &work);
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn callback, void *user_data) {
    NEED_STREAM(stream, handle);
    NEED(callback, CUDA_ERROR_INVALID_VALUE);
    op work = {.kind = OP_HOST, .as.host = {callback, user_data}};
    return stream_submit(stream, &work);
}

/* The mode says how the GPU waits for the host, which takes no time here. */
CUresult cuLaunchHostFunc_v2(CUstream handle, CUhostFn callback, void *user_data, unsigned int sync_mode) {
    NEED(sync_mode <= 1, CUDA_ERROR_INVALID_VALUE);
    return cuLaunchHostFunc(handle, callback, user_data);
}

CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void *user_data, unsigned int flags) {
    NEED_STREAM(stream, handle);
    NEED(callback && flags == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    op work = {.kind = OP_CALLBACK, .as.callback = {callback, user_data, handle}};
    return stream_submit(stream, &work);
}

/* ---- Waiting for, and writing, values in memory. */

static CUresult value(CUstream handle, CUdeviceptr address, uint64_t operand, unsigned flags, bool wide, bool write) {
    NEED_STREAM(stream, handle);
    size_t bytes = wide ? 8 : 4;
    NEED(address && address % bytes == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(flags <= (write ? 1U : 3U), CUDA_ERROR_INVALID_VALUE);
    NEED(heap_holds(address, bytes, write) || host_holds(address, bytes), CUDA_ERROR_INVALID_VALUE);
    op work = {.kind = write ? OP_WRITE_VALUE : OP_WAIT_VALUE, .as.value = {address, operand, flags, wide}};
    return stream_submit(stream, &work);
}

#define VALUES(suffix)                                                                                               \
    CUresult cuStreamWaitValue32##suffix(CUstream stream, CUdeviceptr addr, uint32_t operand, unsigned int flags) {  \
        return value(stream, addr, operand, flags, false, false);                                                    \
    }                                                                                                                \
    CUresult cuStreamWaitValue64##suffix(CUstream stream, CUdeviceptr addr, uint64_t operand, unsigned int flags) {  \
        return value(stream, addr, operand, flags, true, false);                                                     \
    }                                                                                                                \
    CUresult cuStreamWriteValue32##suffix(CUstream stream, CUdeviceptr addr, uint32_t operand, unsigned int flags) { \
        return value(stream, addr, operand, flags, false, true);                                                     \
    }                                                                                                                \
    CUresult cuStreamWriteValue64##suffix(CUstream stream, CUdeviceptr addr, uint64_t operand, unsigned int flags) { \
        return value(stream, addr, operand, flags, true, true);                                                      \
    }                                                                                                                \
    CUresult cuStreamBatchMemOp##suffix(CUstream stream, unsigned int count, CUstreamBatchMemOpParams *operations,   \
                                        unsigned int flags) {                                                        \
        NEED(flags == 0, CUDA_ERROR_INVALID_VALUE);                                                                  \
        return batch(stream, count, operations);                                                                     \
    }

static CUresult batch(CUstream stream, unsigned count, const CUstreamBatchMemOpParams *operations) {
    NEED(count && count <= 256 && operations, CUDA_ERROR_INVALID_VALUE);
    for (unsigned i = 0; i < count; i++) {
        const CUstreamBatchMemOpParams *each = &operations[i];
        bool wide =
            each->operation == CU_STREAM_MEM_OP_WAIT_VALUE_64 || each->operation == CU_STREAM_MEM_OP_WRITE_VALUE_64;
        bool write =
            each->operation == CU_STREAM_MEM_OP_WRITE_VALUE_32 || each->operation == CU_STREAM_MEM_OP_WRITE_VALUE_64;
        switch (each->operation) {
        case CU_STREAM_MEM_OP_WAIT_VALUE_32:
        case CU_STREAM_MEM_OP_WAIT_VALUE_64:
        case CU_STREAM_MEM_OP_WRITE_VALUE_32:
        case CU_STREAM_MEM_OP_WRITE_VALUE_64:
            NEED_OK(value(stream, each->value.address, each->value.value, each->value.flags, wide, write));
            break;
        case CU_STREAM_MEM_OP_BARRIER:
        case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES: break; /* memory is one and coherent here */
        default: return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return CUDA_SUCCESS;
}

VALUES()
VALUES(_v2)

/* ---- Attributes. */

CUresult cuStreamGetAttribute(CUstream handle, CUstreamAttrID attribute, CUstreamAttrValue *value) {
    NEED_STREAM(stream, handle);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    memset(value, 0, sizeof *value);
    switch ((int)attribute) {
    case CU_LAUNCH_ATTRIBUTE_PRIORITY: value->priority = stream->priority; break;
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY: value->sync_policy = stream->sync_policy; break;
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP: break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuStreamSetAttribute(CUstream handle, CUstreamAttrID attribute, const CUstreamAttrValue *value) {
    NEED_STREAM(stream, handle);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    switch ((int)attribute) {
    case CU_LAUNCH_ATTRIBUTE_PRIORITY: stream->priority = value->priority; break;
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY: stream->sync_policy = value->sync_policy; break;
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP: break; /* hints that change nothing here */
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src) {
    NEED_CONTEXT(current);
    CUstream to = stream_find(current, dst), from = stream_find(current, src);
    NEED(to && from, CUDA_ERROR_INVALID_HANDLE);
    to->sync_policy = from->sync_policy;
    return CUDA_SUCCESS;
}
