/* Contexts. Each one costs memory of its GPU. Its end frees the memory that was allocated in it. */
#include "libvgpu/base/lock.h"
#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/compute/samples.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/context_cost.h"
#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/quota.h"

#define DEVICES 64

/* Held while a context is made or ended: handles are reused, and the old context's notes must be gone before the new
 * one has any. */
MUTEX(contexts);
static CUcontext primary[DEVICES];

/* Notes the context's cost, or ends the context where it costs more than is left. */
static CUresult count_or_end(struct context_cost *context_cost, CUresult result, CUcontext context,
                             CUresult (*end)(CUcontext)) {
    if (result == CUDA_SUCCESS && !context_cost_measure(context_cost)) {
        end(context);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    context_cost->reservation.context = context;
    return reservation_finish(&context_cost->reservation, result, ALLOCATION_KEY(CONTEXT, context));
}

static CUresult end_created(CUcontext context) {
    return DRIVER(cuCtxDestroy_v2)(context);
}

static void ended(CUcontext context) {
    allocations_sweep(context, reservation_release);
    pages_sweep(context, quota_give);
    devices_forget_contexts();
    cost_cache_doubt();
}

#define CREATE(call)                                                             \
    do {                                                                         \
        struct context_cost context_cost;                                        \
        if (context == NULL)                                                     \
            return call;                                                         \
        mutex_lock(&contexts);                                                   \
        CUresult result = CUDA_ERROR_OUT_OF_MEMORY;                              \
        if (context_cost_begin(&context_cost, device)) {                         \
            result = call;                                                       \
            result = count_or_end(&context_cost, result, *context, end_created); \
        }                                                                        \
        mutex_unlock(&contexts);                                                 \
        return result;                                                           \
    } while (0)

CUresult hook_cuCtxCreate_v2(__typeof__(&cuCtxCreate_v2) driver, CUcontext *context, unsigned int flags,
                             CUdevice device) {
    CREATE(driver(context, flags, device));
}

CUresult hook_cuCtxCreate_v3(__typeof__(&cuCtxCreate_v3) driver, CUcontext *context, CUexecAffinityParam *params_array,
                             int param_count, unsigned int flags, CUdevice device) {
    CREATE(driver(context, params_array, param_count, flags, device));
}

CUresult hook_cuCtxCreate_v4(__typeof__(&cuCtxCreate_v4) driver, CUcontext *context,
                             CUctxCreateParams *ctx_create_params, unsigned int flags, CUdevice device) {
    CREATE(driver(context, ctx_create_params, flags, device));
}

CUresult hook_cuCtxCreate(__typeof__(&cuCtxCreate) driver, CUcontext *context, unsigned int flags, CUdevice device) {
    CREATE(driver(context, flags, device));
}

CUresult hook_cuGLCtxCreate(__typeof__(&cuGLCtxCreate) driver, CUcontext *context, unsigned int flags,
                            CUdevice device) {
    CREATE(driver(context, flags, device));
}

CUresult hook_cuGLCtxCreate_v2(__typeof__(&cuGLCtxCreate_v2) driver, CUcontext *context, unsigned int flags,
                               CUdevice device) {
    CREATE(driver(context, flags, device));
}

CUresult hook_cuVDPAUCtxCreate(__typeof__(&cuVDPAUCtxCreate) driver, CUcontext *context, unsigned int flags,
                               CUdevice device, unsigned int vdp_device, void *vdp_get_proc_address) {
    CREATE(driver(context, flags, device, vdp_device, vdp_get_proc_address));
}

CUresult hook_cuVDPAUCtxCreate_v2(__typeof__(&cuVDPAUCtxCreate_v2) driver, CUcontext *context, unsigned int flags,
                                  CUdevice device, unsigned int vdp_device, void *vdp_get_proc_address) {
    CREATE(driver(context, flags, device, vdp_device, vdp_get_proc_address));
}

static CUresult destroy(CUresult (*driver)(CUcontext), CUcontext context) {
    mutex_lock(&contexts);
    samples_hold(context);
    CUresult result = driver(context);
    samples_release(context, result == CUDA_SUCCESS);
    if (result == CUDA_SUCCESS) {
        ended(context);
    }
    mutex_unlock(&contexts);
    return result;
}

CUresult hook_cuCtxDestroy(__typeof__(&cuCtxDestroy) driver, CUcontext context) {
    return destroy(driver, context);
}

CUresult hook_cuCtxDestroy_v2(__typeof__(&cuCtxDestroy_v2) driver, CUcontext context) {
    return destroy(driver, context);
}

/* The last detach ends the context. The driver doesn't know it any more then. */
CUresult hook_cuCtxDetach(__typeof__(&cuCtxDetach) driver, CUcontext context) {
    unsigned int version;
    mutex_lock(&contexts);
    samples_hold(context);
    CUresult result = driver(context);
    bool gone = result == CUDA_SUCCESS && DRIVER(cuCtxGetApiVersion) != NULL &&
                DRIVER(cuCtxGetApiVersion)(context, &version) != CUDA_SUCCESS;
    samples_release(context, gone);
    if (gone) {
        ended(context);
    }
    mutex_unlock(&contexts);
    return result;
}

static bool primary_lives(CUdevice device) {
    unsigned int flags;
    int active = 0;
    return DRIVER(cuDevicePrimaryCtxGetState) != NULL &&
           DRIVER(cuDevicePrimaryCtxGetState)(device, &flags, &active) == CUDA_SUCCESS && active != 0;
}

static CUdevice being_made;

static CUresult end_primary(CUcontext context) {
    (void)context;
    return DRIVER(cuDevicePrimaryCtxRelease_v2)(being_made);
}

CUresult hook_cuDevicePrimaryCtxRetain(__typeof__(&cuDevicePrimaryCtxRetain) driver, CUcontext *context,
                                       CUdevice device) {
    struct context_cost context_cost;
    if (context == NULL || device < 0 || device >= DEVICES) {
        return driver(context, device);
    }
    mutex_lock(&contexts);
    CUresult result;
    if (primary_lives(device)) {
        result = driver(context, device);
    } else if (!context_cost_begin(&context_cost, device)) {
        result = CUDA_ERROR_OUT_OF_MEMORY;
    } else {
        being_made = device;
        result = driver(context, device);
        result = count_or_end(&context_cost, result, *context, end_primary);
        primary[device] = result == CUDA_SUCCESS ? *context : NULL;
    }
    mutex_unlock(&contexts);
    return result;
}

static CUresult end_if_unused(CUresult (*driver)(CUdevice), CUdevice device) {
    mutex_lock(&contexts);
    CUcontext context = device >= 0 && device < DEVICES ? primary[device] : NULL;
    samples_hold(context);
    CUresult result = driver(device);
    bool gone = result == CUDA_SUCCESS && context != NULL && !primary_lives(device);
    samples_release(context, gone);
    if (gone) {
        ended(context);
        primary[device] = NULL;
    }
    mutex_unlock(&contexts);
    return result;
}

CUresult hook_cuDevicePrimaryCtxRelease(__typeof__(&cuDevicePrimaryCtxRelease) driver, CUdevice device) {
    return end_if_unused(driver, device);
}

CUresult hook_cuDevicePrimaryCtxRelease_v2(__typeof__(&cuDevicePrimaryCtxRelease_v2) driver, CUdevice device) {
    return end_if_unused(driver, device);
}

CUresult hook_cuDevicePrimaryCtxReset(__typeof__(&cuDevicePrimaryCtxReset) driver, CUdevice device) {
    return end_if_unused(driver, device);
}

CUresult hook_cuDevicePrimaryCtxReset_v2(__typeof__(&cuDevicePrimaryCtxReset_v2) driver, CUdevice device) {
    return end_if_unused(driver, device);
}

/* A green context uses the device's primary context, and makes it where there is none. */
CUresult hook_cuGreenCtxCreate(__typeof__(&cuGreenCtxCreate) driver, CUgreenCtx *context, CUdevResourceDesc description,
                               CUdevice device, unsigned int flags) {
    CUcontext held;
    if (hook_cuDevicePrimaryCtxRetain(DRIVER(cuDevicePrimaryCtxRetain), &held, device) == CUDA_ERROR_OUT_OF_MEMORY) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(context, description, device, flags);
    hook_cuDevicePrimaryCtxRelease_v2(DRIVER(cuDevicePrimaryCtxRelease_v2), device);
    return result;
}

CUresult hook_cuGreenCtxDestroy(__typeof__(&cuGreenCtxDestroy) driver, CUgreenCtx context) {
    mutex_lock(&contexts);
    samples_hold(NULL);
    CUresult result = driver(context);
    samples_release(NULL, false);
    for (CUdevice device = 0; result == CUDA_SUCCESS && device < DEVICES; device++) {
        if (primary[device] != NULL && !primary_lives(device)) {
            samples_release(primary[device], true);
            ended(primary[device]);
            primary[device] = NULL;
        }
    }
    mutex_unlock(&contexts);
    return result;
}
