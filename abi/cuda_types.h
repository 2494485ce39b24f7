/* Handles and structures of the CUDA driver API, 64-bit Linux, with the sizes that programs pass.
 *
 * These are facts of the binary interface in the project's own words. Members are named for their meaning here. Only
 * members that the simulator or libvgpu reads are spelled out; the rest stays opaque.
 */
#ifndef UNIGPU_ABI_CUDA_TYPES_H
#define UNIGPU_ABI_CUDA_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "cuda_attributes.h"
#include "cuda_enums.h"
#include "cuda_external.h"
#include "cuda_resources.h"

typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;
typedef unsigned long long CUtexObject;
typedef unsigned long long CUsurfObject;
typedef uint64_t CUgraphConditionalHandle;

typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUlib_st *CUlibrary;
typedef struct CUkern_st *CUkernel;
typedef struct CUarray_st *CUarray;
typedef struct CUmipmappedArray_st *CUmipmappedArray;
typedef struct CUtexref_st *CUtexref;
typedef struct CUsurfref_st *CUsurfref;
typedef struct CUevent_st *CUevent;
typedef struct CUstream_st *CUstream;
typedef struct CUextMemory_st *CUexternalMemory;
typedef struct CUextSemaphore_st *CUexternalSemaphore;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUmemPoolHandle_st *CUmemoryPool;
typedef struct CUuserObject_st *CUuserObject;
typedef struct CUlinkState_st *CUlinkState;
typedef struct CUgreenCtx_st *CUgreenCtx;
typedef struct CUdevResourceDesc_st *CUdevResourceDesc;
typedef struct CUasyncCallbackEntry_st *CUasyncCallbackHandle;

/* Values of these reach nobody here but as they are. */
typedef unsigned int CUoutput_mode;
typedef unsigned int CUtensorMapDataType;
typedef unsigned int CUtensorMapInterleave;
typedef unsigned int CUtensorMapSwizzle;
typedef unsigned int CUtensorMapL2promotion;
typedef unsigned int CUtensorMapFloatOOBfill;
typedef unsigned int CUtensorMapIm2ColWideMode;
typedef struct CUtensorMap {
    uint64_t words[16]; /* the driver's own */
} CUtensorMap;
typedef struct CUexecAffinityParam CUexecAffinityParam;
typedef struct CUmemDecompressParams CUmemDecompressParams;
typedef struct CUDA_MEMCPY3D_BATCH_OP CUDA_MEMCPY3D_BATCH_OP;

typedef void (*CUhostFn)(void *user_data);
typedef int (*CUgraphRecaptureCallback)(void *data, CUgraphNode node, const void *original, const void *recaptured,
                                        int status); /* a CUresult */
typedef struct CUstreamCigCaptureParams CUstreamCigCaptureParams; /* of Direct3D, not on Linux */
typedef void (*CUasyncCallback)(void *info, void *user_data, CUasyncCallbackHandle callback);
typedef size_t (*CUoccupancyB2DSize)(int block_size);

/* Streams that are not pointers: the context's default stream, by old and by per-thread rules. */
#define CU_STREAM_LEGACY ((CUstream)0x1)
#define CU_STREAM_PER_THREAD ((CUstream)0x2)

#define CU_DEVICE_CPU (-1)
#define CU_DEVICE_INVALID (-2)
#define CU_IPC_HANDLE_SIZE 64
#define CU_MEMHOSTALLOC_PORTABLE 0x01
#define CU_MEMHOSTALLOC_DEVICEMAP 0x02
#define CU_MEMHOSTALLOC_WRITECOMBINED 0x04
#define CU_MEMHOSTREGISTER_PORTABLE 0x01
#define CU_MEMHOSTREGISTER_DEVICEMAP 0x02
#define CU_MEMHOSTREGISTER_IOMEMORY 0x04
#define CU_MEMHOSTREGISTER_READ_ONLY 0x08
#define CUDA_ARRAY3D_LAYERED 0x01
#define CUDA_ARRAY3D_SURFACE_LDST 0x02
#define CUDA_ARRAY3D_CUBEMAP 0x04
#define CUDA_ARRAY3D_TEXTURE_GATHER 0x08
#define CUDA_ARRAY3D_DEPTH_TEXTURE 0x10
#define CUDA_ARRAY3D_COLOR_ATTACHMENT 0x20
#define CUDA_ARRAY3D_SPARSE 0x40
#define CUDA_ARRAY3D_DEFERRED_MAPPING 0x80
#define CU_MEM_CREATE_USAGE_TILE_POOL 0x1
#define CU_LAUNCH_PARAM_END ((void *)0x00)
#define CU_LAUNCH_PARAM_BUFFER_POINTER ((void *)0x01)
#define CU_LAUNCH_PARAM_BUFFER_SIZE ((void *)0x02)

typedef struct CUuuid {
    char bytes[16];
} CUuuid;

typedef struct CUipcEventHandle {
    char reserved[CU_IPC_HANDLE_SIZE];
} CUipcEventHandle;

typedef struct CUipcMemHandle {
    char reserved[CU_IPC_HANDLE_SIZE];
} CUipcMemHandle;

typedef struct CUmemPoolPtrExportData {
    unsigned char reserved[64];
} CUmemPoolPtrExportData;

typedef struct CUdevprop {
    int max_threads_per_block;
    int max_threads_dim[3];
    int max_grid_size[3];
    int shared_mem_per_block;
    int total_constant_memory;
    int simd_width;
    int mem_pitch;
    int regs_per_block;
    int clock_rate;
    int texture_align;
} CUdevprop;

typedef struct CUctxCreateParams {
    CUexecAffinityParam *exec_affinity;
    int exec_affinity_count;
    void *graphics_share;
} CUctxCreateParams;

/* Arrays. */

typedef struct CUDA_ARRAY_DESCRIPTOR {
    size_t width;
    size_t height;
    CUarray_format format;
    unsigned int channels;
} CUDA_ARRAY_DESCRIPTOR;

typedef struct CUDA_ARRAY3D_DESCRIPTOR {
    size_t width;
    size_t height;
    size_t depth;
    CUarray_format format;
    unsigned int channels;
    unsigned int flags;
} CUDA_ARRAY3D_DESCRIPTOR;

typedef struct CUDA_ARRAY_SPARSE_PROPERTIES {
    struct {
        unsigned int width;
        unsigned int height;
        unsigned int depth;
    } tile;
    unsigned int miptail_first_level;
    unsigned long long miptail_size;
    unsigned int flags;
    unsigned int reserved[4];
} CUDA_ARRAY_SPARSE_PROPERTIES;

typedef struct CUDA_ARRAY_MEMORY_REQUIREMENTS {
    size_t size;
    size_t alignment;
    unsigned int reserved[4];
} CUDA_ARRAY_MEMORY_REQUIREMENTS;

/* Virtual memory and pools. */

typedef struct CUmemLocation {
    CUmemLocationType type;
    int id;
} CUmemLocation;

typedef struct CUmemAccessDesc {
    CUmemLocation location;
    CUmemAccess_flags flags;
} CUmemAccessDesc;

typedef struct CUmemAllocationProp {
    CUmemAllocationType type;
    CUmemAllocationHandleType handle_types;
    CUmemLocation location;
    void *win32_metadata;
    struct {
        unsigned char compression;
        unsigned char rdma_capable;
        unsigned short usage;
        unsigned char reserved[4];
    } flags;
} CUmemAllocationProp;

typedef struct CUmemPoolProps {
    CUmemAllocationType type;
    CUmemAllocationHandleType handle_types;
    CUmemLocation location;
    void *win32_security;
    size_t max_size;
    unsigned short usage;
    unsigned char reserved[54];
} CUmemPoolProps;

typedef struct CUmulticastObjectProp {
    unsigned int device_count;
    size_t size;
    unsigned long long handle_types;
    unsigned long long flags;
} CUmulticastObjectProp;

typedef struct CUarrayMapInfo {
    CUresourcetype resource_type;
    union {
        CUmipmappedArray mipmap;
        CUarray array;
    } resource;
    CUarraySparseSubresourceType subresource_type;
    union {
        struct {
            unsigned int level, layer, x, y, z, width, height, depth;
        } sparse_level;
        struct {
            unsigned int layer;
            unsigned long long offset;
            unsigned long long size;
        } miptail;
    } subresource;
    CUmemOperationType operation;
    CUmemHandleType handle_type;
    CUmemGenericAllocationHandle handle;
    unsigned long long offset;
    unsigned int device_mask;
    unsigned int flags;
    unsigned int reserved[2];
} CUarrayMapInfo;

/* Copies. */

typedef struct CUDA_MEMCPY2D {
    size_t src_x, src_y;
    CUmemorytype src_type;
    const void *src_host;
    CUdeviceptr src_device;
    CUarray src_array;
    size_t src_pitch;
    size_t dst_x, dst_y;
    CUmemorytype dst_type;
    void *dst_host;
    CUdeviceptr dst_device;
    CUarray dst_array;
    size_t dst_pitch;
    size_t width, height;
} CUDA_MEMCPY2D;

typedef struct CUDA_MEMCPY3D {
    size_t src_x, src_y, src_z, src_level;
    CUmemorytype src_type;
    const void *src_host;
    CUdeviceptr src_device;
    CUarray src_array;
    void *src_reserved;
    size_t src_pitch, src_height;
    size_t dst_x, dst_y, dst_z, dst_level;
    CUmemorytype dst_type;
    void *dst_host;
    CUdeviceptr dst_device;
    CUarray dst_array;
    void *dst_reserved;
    size_t dst_pitch, dst_height;
    size_t width, height, depth;
} CUDA_MEMCPY3D;

/* As CUDA_MEMCPY3D, with a context in place of each reserved pointer. */
typedef struct CUDA_MEMCPY3D_PEER {
    size_t src_x, src_y, src_z, src_level;
    CUmemorytype src_type;
    const void *src_host;
    CUdeviceptr src_device;
    CUarray src_array;
    CUcontext src_context;
    size_t src_pitch, src_height;
    size_t dst_x, dst_y, dst_z, dst_level;
    CUmemorytype dst_type;
    void *dst_host;
    CUdeviceptr dst_device;
    CUarray dst_array;
    CUcontext dst_context;
    size_t dst_pitch, dst_height;
    size_t width, height, depth;
} CUDA_MEMCPY3D_PEER;

typedef struct CUmemcpyAttributes {
    CUmemcpySrcAccessOrder order;
    CUmemLocation src_hint;
    CUmemLocation dst_hint;
    unsigned int flags;
} CUmemcpyAttributes;

/* Textures and surfaces. */

typedef struct CUDA_RESOURCE_DESC {
    CUresourcetype type;
    union {
        CUarray array;
        CUmipmappedArray mipmap;
        struct {
            CUdeviceptr pointer;
            CUarray_format format;
            unsigned int channels;
            size_t bytes;
        } linear;
        struct {
            CUdeviceptr pointer;
            CUarray_format format;
            unsigned int channels;
            size_t width, height, pitch;
        } pitched;
        int reserved[32];
    } resource;
    unsigned int flags;
} CUDA_RESOURCE_DESC;

typedef struct CUDA_TEXTURE_DESC {
    CUaddress_mode address_mode[3];
    CUfilter_mode filter_mode;
    unsigned int flags;
    unsigned int max_anisotropy;
    CUfilter_mode mipmap_filter_mode;
    float mipmap_bias, mipmap_min, mipmap_max;
    float border[4];
    int reserved[12];
} CUDA_TEXTURE_DESC;

typedef struct CUDA_RESOURCE_VIEW_DESC {
    unsigned int format;
    size_t width, height, depth;
    unsigned int first_level, last_level, first_layer, last_layer;
    unsigned int reserved[16];
} CUDA_RESOURCE_VIEW_DESC;

/* External memory; the rest is in cuda_external.h. */

typedef struct CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC {
    unsigned long long offset;
    CUDA_ARRAY3D_DESCRIPTOR array;
    unsigned int levels;
    unsigned int reserved[16];
} CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC;

/* Checkpoints. */

typedef struct CUcheckpointLockArgs {
    unsigned int timeout_ms;
    unsigned int reserved;
    uint64_t reserved1[7];
} CUcheckpointLockArgs;

typedef struct CUcheckpointCheckpointArgs {
    void *custom_storage;
    char reserved[56];
} CUcheckpointCheckpointArgs;

typedef struct CUcheckpointRestoreArgs {
    struct {
        CUuuid from, to;
    } *pairs;
    unsigned int pair_count;
    unsigned int padding;
    void *custom_storage;
    char reserved[40];
} CUcheckpointRestoreArgs;

typedef struct CUcheckpointUnlockArgs {
    uint64_t reserved[8];
} CUcheckpointUnlockArgs;

#endif
