/* Attributes that programs set and read back: of streams, of graphs' kernels, of managed memory, of graphs' memory. */
#include <string.h>

#include "simulator/cuda/graph.h"

/* ---- Streams. */

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

/* ---- Kernels in graphs. */

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode node, CUkernelNodeAttrID attribute, CUkernelNodeAttrValue *value) {
    NEED_DRIVER();
    NEED(object_is(node, KIND_NODE) && node->type == CU_GRAPH_NODE_TYPE_KERNEL && value, CUDA_ERROR_INVALID_VALUE);
    memset(value, 0, sizeof *value);
    if (attribute == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) {
        value->cooperative = node->work.as.kernel.cooperative;
    }
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode node, CUkernelNodeAttrID attribute,
                                       const CUkernelNodeAttrValue *value) {
    NEED_DRIVER();
    NEED(object_is(node, KIND_NODE) && node->type == CU_GRAPH_NODE_TYPE_KERNEL && value, CUDA_ERROR_INVALID_VALUE);
    if (attribute == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) {
        node->work.as.kernel.cooperative = value->cooperative;
    }
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode destination, CUgraphNode source) {
    CUkernelNodeAttrValue value;
    NEED_OK(cuGraphKernelNodeGetAttribute(source, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value));
    return cuGraphKernelNodeSetAttribute(destination, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value);
}

/* ---- Memory that graphs hold. */

CUresult cuDeviceGetGraphMemAttribute(CUdevice ordinal, CUgraphMem_attribute attribute, void *value) {
    NEED_DEVICE(chosen, ordinal);
    NEED(value, CUDA_ERROR_INVALID_VALUE);
    switch ((int)attribute) {
    case CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT:
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT: *(uint64_t *)value = graph_memory(chosen, false); break;
    case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH:
    case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH: *(uint64_t *)value = graph_memory(chosen, true); break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceSetGraphMemAttribute(CUdevice ordinal, CUgraphMem_attribute attribute, void *value) {
    NEED_DEVICE(chosen, ordinal);
    NEED(value && *(uint64_t *)value == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(attribute == CU_GRAPH_MEM_ATTR_USED_MEM_HIGH || attribute == CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH,
         CUDA_ERROR_INVALID_VALUE);
    graph_memory_forget_high(chosen);
    return CUDA_SUCCESS;
}

/* ---- Profilers: there is none to start. */

CUresult cuProfilerStart(void) {
    NEED_CONTEXT(current);
    return CUDA_SUCCESS;
}

CUresult cuProfilerStop(void) {
    NEED_CONTEXT(current);
    return CUDA_SUCCESS;
}
