/* NVML's types for cutting GPUs into MIG instances. nvml.h includes this. */
#ifndef UNIGPU_ABI_NVML_MIG_H
#define UNIGPU_ABI_NVML_MIG_H

#define NVML_GPU_INSTANCE_PROFILE_COUNT 18
#define NVML_COMPUTE_INSTANCE_PROFILE_COUNT 9

typedef struct nvmlGpuInstance_st *nvmlGpuInstance_t;
typedef struct nvmlComputeInstance_st *nvmlComputeInstance_t;

/* Of a GPU instance in slices of memory, of a compute instance in slices of multiprocessors. */
typedef struct nvmlPlacement_t {
    unsigned int start, size;
} nvmlGpuInstancePlacement_t, nvmlComputeInstancePlacement_t;

typedef struct nvmlGpuInstanceProfileInfo_t {
    unsigned int id, peer_to_peer, slices, instances, multiprocessors;
    unsigned int copy_engines, decoders, encoders, jpeg_engines, flow_engines;
    unsigned long long memory_mib;
} nvmlGpuInstanceProfileInfo_t;

typedef struct nvmlGpuInstanceProfileInfo_v2_t {
    unsigned int version;
    unsigned int id, peer_to_peer, slices, instances, multiprocessors;
    unsigned int copy_engines, decoders, encoders, jpeg_engines, flow_engines;
    unsigned long long memory_mib;
    char name[96];
} nvmlGpuInstanceProfileInfo_v2_t;

typedef struct nvmlGpuInstanceProfileInfo_v3_t {
    unsigned int version;
    unsigned int id, slices, instances, multiprocessors;
    unsigned int copy_engines, decoders, encoders, jpeg_engines, flow_engines;
    unsigned long long memory_mib;
    char name[96];
    unsigned int capabilities;
} nvmlGpuInstanceProfileInfo_v3_t;

typedef struct nvmlGpuInstanceInfo_t {
    nvmlDevice_t device;
    unsigned int id, profile_id;
    nvmlGpuInstancePlacement_t placement;
} nvmlGpuInstanceInfo_t;

typedef struct nvmlComputeInstanceProfileInfo_t {
    unsigned int id, slices, instances, multiprocessors;
    unsigned int copy_engines, decoders, encoders, jpeg_engines, flow_engines; /* shared */
} nvmlComputeInstanceProfileInfo_t;

/* Version 2 ends before the capabilities. */
typedef struct nvmlComputeInstanceProfileInfo_v3_t {
    unsigned int version;
    unsigned int id, slices, instances, multiprocessors;
    unsigned int copy_engines, decoders, encoders, jpeg_engines, flow_engines; /* shared */
    char name[96];
    unsigned int capabilities;
} nvmlComputeInstanceProfileInfo_v3_t;

typedef struct nvmlComputeInstanceProfileInfo_v2_t {
    unsigned int version;
    unsigned int numbers[9];
    char name[96];
} nvmlComputeInstanceProfileInfo_v2_t;

typedef struct nvmlComputeInstanceInfo_t {
    nvmlDevice_t device;
    nvmlGpuInstance_t gpu_instance;
    unsigned int id, profile_id;
    nvmlComputeInstancePlacement_t placement;
} nvmlComputeInstanceInfo_t;

_Static_assert(sizeof(nvmlGpuInstanceProfileInfo_t) == 48, "nvmlGpuInstanceProfileInfo_t");
_Static_assert(sizeof(nvmlGpuInstanceProfileInfo_v2_t) == 152, "nvmlGpuInstanceProfileInfo_v2_t");
_Static_assert(sizeof(nvmlGpuInstanceProfileInfo_v3_t) == 152, "nvmlGpuInstanceProfileInfo_v3_t");
_Static_assert(sizeof(nvmlGpuInstanceInfo_t) == 24, "nvmlGpuInstanceInfo_t");
_Static_assert(sizeof(nvmlComputeInstanceProfileInfo_v2_t) == 136, "nvmlComputeInstanceProfileInfo_v2_t");
_Static_assert(sizeof(nvmlComputeInstanceProfileInfo_v3_t) == 140, "nvmlComputeInstanceProfileInfo_v3_t");
_Static_assert(sizeof(nvmlComputeInstanceInfo_t) == 32, "nvmlComputeInstanceInfo_t");

#endif
