/* NVML as far as this project speaks it: types and numbers here, entry points in nvml_symbols.def. */
#ifndef UNIGPU_ABI_NVML_H
#define UNIGPU_ABI_NVML_H

#include <stddef.h>
#include <stdint.h>

typedef enum nvmlReturn_t {
#define NVML_ERROR_ROW(name, number, text) name = number,
#include "nvml_errors.def"
#undef NVML_ERROR_ROW
} nvmlReturn_t;

typedef struct nvmlDevice_st *nvmlDevice_t;
typedef struct nvmlEventSet_st *nvmlEventSet_t;
typedef struct nvmlUnit_st *nvmlUnit_t;

#include "nvml_mig.h"

/* Versioned structures begin with their own size and version. */
#define NVML_VERSION(type, number) ((unsigned int)(sizeof(type) | ((unsigned int)(number) << 24)))

#define NVML_VALUE_NOT_AVAILABLE (-1)
#define NVML_NO_INSTANCE 0xFFFFFFFFU
#define NVML_INIT_FLAG_NO_GPUS 1U
#define NVML_INIT_FLAG_NO_ATTACH 2U
#define NVML_DEVICE_MIG_DISABLE 0
#define NVML_DEVICE_MIG_ENABLE 1
#define NVML_NVLINK_MAX_LINKS 18 /* until branch 610, then 36 */

#define NVML_EVENT_SINGLE_BIT_ECC 0x1ULL
#define NVML_EVENT_DOUBLE_BIT_ECC 0x2ULL
#define NVML_EVENT_PSTATE 0x4ULL
#define NVML_EVENT_XID 0x8ULL
#define NVML_EVENT_CLOCK 0x10ULL

typedef unsigned int nvmlEnableState_t;
enum { NVML_FEATURE_DISABLED = 0, NVML_FEATURE_ENABLED = 1 };

typedef struct nvmlDeviceAttributes_t {
    unsigned int multiprocessors;
    unsigned int copy_engines, decoders, encoders, jpeg_engines, flow_engines;
    unsigned int gpu_slices, compute_slices;
    unsigned long long memory_mib;
} nvmlDeviceAttributes_t;

typedef struct nvmlDeviceAddressingMode_t {
    unsigned int version;
    unsigned int value; /* 0: addresses of the GPU are its own */
} nvmlDeviceAddressingMode_t;

typedef enum nvmlGpuTopologyLevel_t {
    NVML_TOPOLOGY_INTERNAL = 0,
    NVML_TOPOLOGY_SINGLE = 10,
    NVML_TOPOLOGY_MULTIPLE = 20,
    NVML_TOPOLOGY_HOSTBRIDGE = 30,
    NVML_TOPOLOGY_NODE = 40,
    NVML_TOPOLOGY_SYSTEM = 50,
} nvmlGpuTopologyLevel_t;

typedef enum nvmlGpuP2PStatus_t {
    NVML_P2P_STATUS_OK = 0,
    NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED = 1,
    NVML_P2P_STATUS_GPU_NOT_SUPPORTED = 2,
    NVML_P2P_STATUS_IOH_TOPOLOGY_NOT_SUPPORTED = 3,
    NVML_P2P_STATUS_DISABLED_BY_REGKEY = 4,
    NVML_P2P_STATUS_NOT_SUPPORTED = 5,
    NVML_P2P_STATUS_UNKNOWN = 6,
} nvmlGpuP2PStatus_t;

typedef enum nvmlGpuP2PCapsIndex_t {
    NVML_P2P_CAPS_INDEX_READ = 0,
    NVML_P2P_CAPS_INDEX_WRITE = 1,
    NVML_P2P_CAPS_INDEX_NVLINK = 2,
    NVML_P2P_CAPS_INDEX_ATOMICS = 3,
    NVML_P2P_CAPS_INDEX_PCI = 4,
    NVML_P2P_CAPS_INDEX_UNKNOWN = 5,
} nvmlGpuP2PCapsIndex_t;

typedef enum nvmlClockType_t {
    NVML_CLOCK_GRAPHICS = 0,
    NVML_CLOCK_SM = 1,
    NVML_CLOCK_MEM = 2,
    NVML_CLOCK_VIDEO = 3,
} nvmlClockType_t;

typedef enum nvmlMemoryErrorType_t {
    NVML_MEMORY_ERROR_CORRECTED = 0,
    NVML_MEMORY_ERROR_UNCORRECTED = 1,
} nvmlMemoryErrorType_t;

typedef enum nvmlEccCounterType_t {
    NVML_VOLATILE_ECC = 0,
    NVML_AGGREGATE_ECC = 1,
} nvmlEccCounterType_t;

typedef enum nvmlSamplingType_t {
    NVML_TOTAL_POWER_SAMPLES = 0,
    NVML_GPU_UTILIZATION_SAMPLES = 1,
    NVML_MEMORY_UTILIZATION_SAMPLES = 2,
} nvmlSamplingType_t;

typedef enum nvmlValueType_t {
    NVML_VALUE_DOUBLE = 0,
    NVML_VALUE_UNSIGNED_INT = 1,
    NVML_VALUE_UNSIGNED_LONG = 2,
    NVML_VALUE_UNSIGNED_LONG_LONG = 3,
    NVML_VALUE_SIGNED_INT = 5,
} nvmlValueType_t;

typedef union nvmlValue_t {
    double d;
    unsigned int ui;
    unsigned long ul;
    unsigned long long ull;
    int si;
} nvmlValue_t;

typedef struct nvmlMemory_t {
    unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct nvmlMemory_v2_t {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} nvmlMemory_v2_t;

typedef struct nvmlBAR1Memory_t {
    unsigned long long total, free, used;
} nvmlBAR1Memory_t;

typedef struct nvmlUtilization_t {
    unsigned int gpu, memory;
} nvmlUtilization_t;

/* Process lists: the first version has no instance numbers of MIG GPUs. */
typedef struct nvmlProcessInfo_v1_t {
    unsigned int pid;
    unsigned long long used;
} nvmlProcessInfo_v1_t;

typedef struct nvmlProcessInfo_t {
    unsigned int pid;
    unsigned long long used;
    unsigned int gpu_instance;
    unsigned int compute_instance;
} nvmlProcessInfo_t;

typedef struct nvmlProcessDetail_v1_t {
    unsigned int pid;
    unsigned long long used;
    unsigned int gpu_instance;
    unsigned int compute_instance;
    unsigned long long used_protected;
} nvmlProcessDetail_v1_t;

typedef struct nvmlProcessDetailList_v1_t {
    unsigned int version;
    unsigned int mode;
    unsigned int count;
    nvmlProcessDetail_v1_t *processes;
} nvmlProcessDetailList_v1_t;

typedef struct nvmlProcessUtilizationSample_t {
    unsigned int pid;
    unsigned long long time_us;
    unsigned int sm, memory, encoder, decoder;
} nvmlProcessUtilizationSample_t;

typedef struct nvmlProcessUtilizationInfo_v1_t {
    unsigned long long time_us;
    unsigned int pid, sm, memory, encoder, decoder, jpeg, flow;
} nvmlProcessUtilizationInfo_v1_t;

typedef struct nvmlProcessesUtilizationInfo_v1_t {
    unsigned int version;
    unsigned int count;
    unsigned long long last_seen_us;
    nvmlProcessUtilizationInfo_v1_t *processes;
} nvmlProcessesUtilizationInfo_v1_t;

typedef struct nvmlPciInfo_t {
    char bus_id_legacy[16];
    unsigned int domain, bus, device;
    unsigned int device_id, subsystem_id;
    char bus_id[32];
} nvmlPciInfo_t;

/* The structure that nvmlDeviceGetPciInfo and its _v2 fill. */
typedef struct nvmlPciInfo_v2_t {
    char bus_id_legacy[16];
    unsigned int domain, bus, device;
    unsigned int device_id, subsystem_id;
    unsigned int reserved[4];
} nvmlPciInfo_v2_t;

typedef struct nvmlPciInfoExt_v1_t {
    unsigned int version;
    unsigned int domain, bus, device;
    unsigned int device_id, subsystem_id;
    unsigned int base_class, sub_class;
    char bus_id[32];
} nvmlPciInfoExt_v1_t;

typedef struct nvmlEventData_t {
    nvmlDevice_t device;
    unsigned long long type;
    unsigned long long data;
    unsigned int gpu_instance;
    unsigned int compute_instance;
} nvmlEventData_t;

typedef struct nvmlSample_t {
    unsigned long long time_us;
    nvmlValue_t value;
} nvmlSample_t;

typedef struct nvmlFieldValue_t {
    unsigned int field;
    unsigned int scope;
    long long time_us;
    long long latency_us;
    nvmlValueType_t value_type;
    nvmlReturn_t status;
    nvmlValue_t value;
} nvmlFieldValue_t;

typedef struct nvmlSetMemoryLimits_v1_t {
    const char *group; /* its folder */
    unsigned long long soft, hard;
} nvmlSetMemoryLimits_v1_t;

typedef struct nvmlGetMemoryLimits_v1_t {
    const char *group;
    unsigned long long soft, hard, used;
} nvmlGetMemoryLimits_v1_t;

typedef struct nvmlEccErrorCounts_t {
    unsigned long long l1, l2, device_memory, register_file;
} nvmlEccErrorCounts_t;

typedef struct nvmlViolationTime_t {
    unsigned long long reference_time, violation_time;
} nvmlViolationTime_t;

typedef struct nvmlTemperature_v1_t {
    unsigned int version;
    unsigned int sensor;
    int temperature;
} nvmlTemperature_v1_t;

typedef struct nvmlMarginTemperature_v1_t {
    unsigned int version;
    int margin;
} nvmlMarginTemperature_v1_t;

_Static_assert(sizeof(nvmlMemory_v2_t) == 40, "nvmlMemory_v2_t");
_Static_assert(sizeof(nvmlProcessInfo_v1_t) == 16, "nvmlProcessInfo_v1_t");
_Static_assert(sizeof(nvmlProcessInfo_t) == 24, "nvmlProcessInfo_t");
_Static_assert(sizeof(nvmlPciInfo_t) == 68, "nvmlPciInfo_t");
_Static_assert(sizeof(nvmlEventData_t) == 32, "nvmlEventData_t");
_Static_assert(sizeof(nvmlFieldValue_t) == 40, "nvmlFieldValue_t");
_Static_assert(sizeof(nvmlProcessUtilizationSample_t) == 32, "nvmlProcessUtilizationSample_t");
_Static_assert(sizeof(nvmlProcessUtilizationInfo_v1_t) == 40, "nvmlProcessUtilizationInfo_v1_t");

#define NVML_API(tag, symbol, parameters, arguments) nvmlReturn_t symbol parameters;
#pragma GCC visibility push(default)
#include "nvml_symbols.def"
/* The one entry point that does not answer a status. */
const char *nvmlErrorString(nvmlReturn_t status);
#pragma GCC visibility pop
#undef NVML_API

#endif
