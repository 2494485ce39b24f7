/* Structures of launches and graphs in the CUDA driver API. */
#ifndef UNIGPU_ABI_CUDA_LAUNCHES_H
#define UNIGPU_ABI_CUDA_LAUNCHES_H

#include "cuda_types.h"

/* Launches. */

typedef union CUlaunchAttributeValue {
    char pad[64];
    struct {
        void *base;
        size_t bytes;
        float hit_ratio;
        int hit_property;
        int miss_property;
    } access_policy_window;
    int cooperative;
    int sync_policy;
    struct {
        unsigned int x, y, z;
    } cluster;
    int cluster_scheduling;
    int programmatic_serialization;
    struct {
        CUevent event;
        int flags;
        int trigger_at_block_start;
    } programmatic_event;
    struct {
        CUevent event;
        int flags;
    } completion_event;
    int priority;
    int sync_domain;
} CUlaunchAttributeValue;

typedef struct CUlaunchAttribute {
    CUlaunchAttributeID id;
    char pad[4];
    CUlaunchAttributeValue value;
} CUlaunchAttribute;

typedef CUlaunchAttributeID CUstreamAttrID;
typedef CUlaunchAttributeValue CUstreamAttrValue;
typedef CUlaunchAttributeID CUkernelNodeAttrID;
typedef CUlaunchAttributeValue CUkernelNodeAttrValue;

typedef struct CUlaunchConfig {
    unsigned int grid_x, grid_y, grid_z;
    unsigned int block_x, block_y, block_z;
    unsigned int shared_bytes;
    CUstream stream;
    CUlaunchAttribute *attributes;
    unsigned int attribute_count;
} CUlaunchConfig;

typedef struct CUDA_LAUNCH_PARAMS {
    CUfunction function;
    unsigned int grid_x, grid_y, grid_z;
    unsigned int block_x, block_y, block_z;
    unsigned int shared_bytes;
    CUstream stream;
    void **parameters;
} CUDA_LAUNCH_PARAMS;

typedef union CUstreamBatchMemOpParams {
    CUstreamBatchMemOpType operation;
    struct {
        CUstreamBatchMemOpType operation;
        CUdeviceptr address;
        uint64_t value;
        unsigned int flags;
        CUdeviceptr alias;
    } value;
    struct {
        CUstreamBatchMemOpType operation;
        unsigned int flags;
    } barrier;
    uint64_t pad[6];
} CUstreamBatchMemOpParams;

/* Graph nodes. */

typedef struct CUDA_KERNEL_NODE_PARAMS_v1 {
    CUfunction function;
    unsigned int grid_x, grid_y, grid_z;
    unsigned int block_x, block_y, block_z;
    unsigned int shared_bytes;
    void **parameters;
    void **extra;
} CUDA_KERNEL_NODE_PARAMS_v1;

typedef struct CUDA_KERNEL_NODE_PARAMS {
    CUfunction function;
    unsigned int grid_x, grid_y, grid_z;
    unsigned int block_x, block_y, block_z;
    unsigned int shared_bytes;
    void **parameters;
    void **extra;
    CUkernel kernel;
    CUcontext context;
} CUDA_KERNEL_NODE_PARAMS;

typedef struct CUDA_MEMSET_NODE_PARAMS {
    CUdeviceptr destination;
    size_t pitch;
    unsigned int value;
    unsigned int element_size;
    size_t width;
    size_t height;
} CUDA_MEMSET_NODE_PARAMS;

typedef struct CUDA_HOST_NODE_PARAMS {
    CUhostFn callback;
    void *user_data;
} CUDA_HOST_NODE_PARAMS;

typedef struct CUDA_MEM_ALLOC_NODE_PARAMS {
    CUmemPoolProps pool;
    const CUmemAccessDesc *access;
    size_t access_count;
    size_t bytes;
    CUdeviceptr pointer;
} CUDA_MEM_ALLOC_NODE_PARAMS;

/* Of graph nodes that signal semaphores or wait for them; in CUgraphNodeParams a context follows. */
typedef struct CUDA_EXT_SEM_SIGNAL_NODE_PARAMS {
    CUexternalSemaphore *semaphores;
    const CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *params;
    unsigned int count;
} CUDA_EXT_SEM_SIGNAL_NODE_PARAMS;

typedef struct CUDA_EXT_SEM_WAIT_NODE_PARAMS {
    CUexternalSemaphore *semaphores;
    const CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS *params;
    unsigned int count;
} CUDA_EXT_SEM_WAIT_NODE_PARAMS;

typedef struct CUDA_BATCH_MEM_OP_NODE_PARAMS {
    CUcontext context;
    unsigned int count;
    CUstreamBatchMemOpParams *operations;
    unsigned int flags;
} CUDA_BATCH_MEM_OP_NODE_PARAMS;

typedef struct CUDA_CONDITIONAL_NODE_PARAMS {
    CUgraphConditionalHandle handle;
    int type;
    unsigned int size;
    CUgraph *bodies; /* the driver's answer: `size` graphs that live as long as the node */
    CUcontext context;
} CUDA_CONDITIONAL_NODE_PARAMS;

typedef struct CUgraphNodeParams {
    CUgraphNodeType type;
    int reserved0[3];
    union {
        long long reserved1[29];
        CUDA_KERNEL_NODE_PARAMS kernel;
        struct {
            int flags;
            int reserved;
            CUcontext context;
            CUDA_MEMCPY3D copy;
        } memcpy;
        struct {
            CUDA_MEMSET_NODE_PARAMS set;
            CUcontext context;
        } memset;
        CUDA_HOST_NODE_PARAMS host;
        struct {
            CUgraph graph;
            CUgraphChildGraphNodeOwnership ownership;
        } child;
        CUevent event;
        CUDA_MEM_ALLOC_NODE_PARAMS alloc;
        CUdeviceptr free_pointer;
        struct {
            CUDA_EXT_SEM_SIGNAL_NODE_PARAMS of;
            CUcontext context;
        } signal;
        struct {
            CUDA_EXT_SEM_WAIT_NODE_PARAMS of;
            CUcontext context;
        } wait;
        CUDA_BATCH_MEM_OP_NODE_PARAMS batch;
        CUDA_CONDITIONAL_NODE_PARAMS conditional;
    } as;
    long long reserved2;
} CUgraphNodeParams;

typedef struct CUgraphEdgeData {
    unsigned char from_port;
    unsigned char to_port;
    unsigned char type;
    unsigned char reserved[5];
} CUgraphEdgeData;

typedef struct CUDA_GRAPH_INSTANTIATE_PARAMS {
    uint64_t flags;
    CUstream upload_stream;
    CUgraphNode error_node;
    CUgraphInstantiateResult result;
} CUDA_GRAPH_INSTANTIATE_PARAMS;

typedef struct CUgraphExecUpdateResultInfo {
    CUgraphExecUpdateResult result;
    CUgraphNode error_node;
    CUgraphNode error_from_node;
} CUgraphExecUpdateResultInfo;

#endif
