/* A driver that does nothing, so that what a library adds to a call isn't lost in what the driver itself takes.
 *
 * It exports what the driver exports; everything succeeds at once. There is one GPU, and every kernel is over as soon
 * as it is launched and took no time, so that no limit on GPU time ever holds a launch back.
 */
#include <stddef.h>
#include <string.h>

#include "abi/cuda.h"

#define GPU_BYTES ((size_t)32 << 30)

/* What handles point at; nobody looks there. */
static char context, module, function, stream, event;
static __thread CUcontext current;

#pragma GCC diagnostic ignored "-Wunused-parameter"

CUresult cuDriverGetVersion(int *version) {
    *version = 12090;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
    *count = 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    *device = 0;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    *value = 1;
    return CUDA_SUCCESS;
}

/* GPU-00000000-0000-0000-0000-000000000001 */
CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
    memset(uuid, 0, sizeof *uuid);
    uuid->bytes[sizeof uuid->bytes - 1] = 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    return cuDeviceGetUuid(uuid, device);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    *bytes = GPU_BYTES;
    return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t *bytes_free, size_t *bytes_total) {
    *bytes_free = *bytes_total = GPU_BYTES;
    return CUDA_SUCCESS;
}

/* Memory without memory: an address is taken from where the last one of its kind was given back, as drivers do. */
enum { SMALL_STEP = 4096, LARGE_STEP = 2 << 20, MOST = 1 << 18 };
#define SMALL_BEGIN ((CUdeviceptr)1 << 40)
#define LARGE_BEGIN ((CUdeviceptr)2 << 40)
static CUdeviceptr given_back[2][MOST];
static unsigned backs[2], steps[2];

CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) {
    int large = bytes > SMALL_STEP;
    if (backs[large] > 0) {
        *pointer = given_back[large][--backs[large]];
    } else {
        *pointer =
            (large ? LARGE_BEGIN : SMALL_BEGIN) + (CUdeviceptr)steps[large]++ * (large ? LARGE_STEP : SMALL_STEP);
    }
    return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr pointer) {
    int large = pointer >= LARGE_BEGIN;
    given_back[large][backs[large]++ % MOST] = pointer;
    return CUDA_SUCCESS;
}

/* An answer that no export has, as drivers give to older meanings. */
static CUresult unlisted_free(CUdeviceptr pointer) {
    return CUDA_SUCCESS;
}

/* Knows a name of each kind. */
CUresult cuGetProcAddress_v2(const char *name, void **found, int version, uint64_t flags,
                             CUdriverProcAddressQueryResult *status) {
    static const struct {
        const char *name;
        void *function;
    } known[] = {{"cuMemAlloc", (void *)cuMemAlloc_v2},
                 {"cuDeviceGetCount", (void *)cuDeviceGetCount},
                 {"cuMemFree", (void *)unlisted_free}};
    *found = NULL;
    for (size_t place = 0; place < sizeof known / sizeof known[0]; place++) {
        if (strcmp(known[place].name, name) == 0) {
            *found = known[place].function;
        }
    }
    *status = *found != NULL ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *made, CUdevice device) {
    *made = (CUcontext)&context;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext wanted) {
    current = wanted;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *found) {
    *found = current;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device) {
    *device = 0;
    return current != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuStreamGetCtx(CUstream of, CUcontext *found) {
    *found = (CUcontext)&context;
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *made, unsigned int flags) {
    *made = (CUstream)&stream;
    return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream of, CUstreamCaptureStatus *status) {
    memset(status, 0, sizeof *status);
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *made, const void *image) {
    *made = (CUmodule)&module;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *found, CUmodule in, const char *name) {
    *found = (CUfunction)&function;
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *made, unsigned int flags) {
    *made = (CUevent)&event;
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    *milliseconds = 0;
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
    return cuEventElapsedTime(milliseconds, start, end);
}
