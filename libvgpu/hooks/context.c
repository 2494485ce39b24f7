/* Contexts. Each one costs memory of its GPU. Its end frees the memory that was allocated in it. */
#include <sched.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/compute/samples.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/context_cost.h"
#include "libvgpu/memory/pages.h"
#include "libvgpu/memory/quota.h"

#define DEVICES 64

/* Held while a context is made: two threads must not both measure its cost. No driver makes a context wait for other
 * threads of the program. The end of a context does wait, for its work: no lock is held then. */
MUTEX(creating);

/* Whether this thread holds it. A signal handler that makes a context while its thread does isn't counted: it can't wait for
 * its own thread. */
static __thread bool creating_here;

static void begin_creating(void) {
    mutex_lock(&creating);
    creating_here = true;
}

static void end_creating(void) {
    creating_here = false;
    mutex_unlock(&creating);
}

/* A context whose end is under way. */
struct ending {
    CUcontext context;
    struct ending *next;
};

/* Guards what follows. */
MUTEX(lock);
static struct ending *endings;
static CUcontext primary[DEVICES];
static uint64_t primaries_made[DEVICES];

static void begin_end(struct ending *ending, CUcontext context) {
    ending->context = context;
    mutex_lock(&lock);
    ending->next = endings;
    endings = ending;
    mutex_unlock(&lock);
}

static void ended(CUcontext context) {
    allocations_sweep(context, reservation_release);
    pages_sweep(context, quota_give);
    devices_forget_contexts();
    cost_cache_doubt();
}

static void finish_end(struct ending *ending, bool gone) {
    if (gone) {
        ended(ending->context);
    }
    mutex_lock(&lock);
    for (struct ending **each = &endings; *each != NULL; each = &(*each)->next) {
        if (*each == ending) {
            *each = ending->next;
            break;
        }
    }
    mutex_unlock(&lock);
}

/* Handles are reused: the notes of an ended context must be gone before a new one of its handle has any. The driver is done
 * with the old one, so its thread is too, in a moment. */
static void await_end(CUcontext context) {
    for (bool found = true; found;) {
        found = false;
        mutex_lock(&lock);
        for (struct ending *each = endings; each != NULL; each = each->next) {
            found |= each->context == context;
        }
        mutex_unlock(&lock);
        if (found) {
            sched_yield();
        }
    }
}

/* Notes the context's cost, or ends the context where it costs more than is left. */
static CUresult count_or_end(struct context_cost *context_cost, CUresult result, CUcontext context,
                             CUresult (*end)(CUcontext, CUdevice), CUdevice device) {
    if (!context_cost_measure(context_cost, result == CUDA_SUCCESS)) {
        end(context, device);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result == CUDA_SUCCESS) {
        await_end(context);
    }
    context_cost->reservation.context = context;
    return reservation_finish(&context_cost->reservation, result, ALLOCATION_KEY(CONTEXT, context));
}

static CUresult end_created(CUcontext context, CUdevice device) {
    (void)device;
    return DRIVER(cuCtxDestroy_v2)(context);
}

#define CREATE(call)                                                                     \
    do {                                                                                 \
        struct context_cost context_cost;                                                \
        if (context == NULL || creating_here)                                            \
            return call;                                                                 \
        begin_creating();                                                                \
        CUresult result = CUDA_ERROR_OUT_OF_MEMORY;                                      \
        if (context_cost_begin(&context_cost, device)) {                                 \
            result = call;                                                               \
            result = count_or_end(&context_cost, result, *context, end_created, device); \
        }                                                                                \
        end_creating();                                                                  \
        return result;                                                                   \
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
    struct ending ending;
    begin_end(&ending, context);
    samples_hold(context);
    CUresult result = driver(context);
    samples_release(context, result == CUDA_SUCCESS);
    finish_end(&ending, result == CUDA_SUCCESS);
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
    struct ending ending;
    unsigned int version;
    begin_end(&ending, context);
    samples_hold(context);
    CUresult result = driver(context);
    bool gone = result == CUDA_SUCCESS && DRIVER(cuCtxGetApiVersion) != NULL &&
                DRIVER(cuCtxGetApiVersion)(context, &version) != CUDA_SUCCESS;
    samples_release(context, gone);
    finish_end(&ending, gone);
    return result;
}

/* ---- Primary contexts, one of each device. */

static bool primary_lives(CUdevice device) {
    unsigned int flags;
    int active = 0;
    return DRIVER(cuDevicePrimaryCtxGetState) != NULL &&
           DRIVER(cuDevicePrimaryCtxGetState)(device, &flags, &active) == CUDA_SUCCESS && active != 0;
}

static CUresult end_primary(CUcontext context, CUdevice device) {
    (void)context;
    return DRIVER(cuDevicePrimaryCtxRelease_v2)(device);
}

static CUcontext primary_of(CUdevice device, uint64_t *made) {
    mutex_lock(&lock);
    CUcontext context = primary[device];
    *made = primaries_made[device];
    mutex_unlock(&lock);
    return context;
}

/* Forgets the primary context that was the `made`th, unless another thread has done so, or made another. */
static void end_of_primary(CUdevice device, uint64_t made) {
    struct ending ending;
    mutex_lock(&lock);
    ending.context = primaries_made[device] == made ? primary[device] : NULL;
    if (ending.context != NULL) {
        primary[device] = NULL;
        ending.next = endings;
        endings = &ending;
    }
    mutex_unlock(&lock);
    if (ending.context != NULL) {
        finish_end(&ending, true);
    }
}

static CUresult make_primary(__typeof__(&cuDevicePrimaryCtxRetain) driver, CUcontext *context, CUdevice device) {
    struct context_cost context_cost;
    uint64_t made;
    primary_of(device, &made);
    end_of_primary(device, made); /* one that has ended, and whose thread isn't done */
    if (!context_cost_begin(&context_cost, device)) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(context, device);
    result = count_or_end(&context_cost, result, *context, end_primary, device);
    mutex_lock(&lock);
    primary[device] = result == CUDA_SUCCESS ? *context : NULL;
    primaries_made[device]++;
    mutex_unlock(&lock);
    return result;
}

CUresult hook_cuDevicePrimaryCtxRetain(__typeof__(&cuDevicePrimaryCtxRetain) driver, CUcontext *context,
                                       CUdevice device) {
    if (context == NULL || device < 0 || device >= DEVICES || creating_here || primary_lives(device)) {
        return driver(context, device);
    }
    begin_creating();
    CUresult result = primary_lives(device) ? driver(context, device) : make_primary(driver, context, device);
    end_creating();
    return result;
}

static CUresult end_if_unused(CUresult (*driver)(CUdevice), CUdevice device) {
    uint64_t made = 0;
    CUcontext context = device >= 0 && device < DEVICES ? primary_of(device, &made) : NULL;
    samples_hold(context);
    CUresult result = driver(device);
    bool gone = result == CUDA_SUCCESS && context != NULL && !primary_lives(device);
    samples_release(context, gone);
    if (gone) {
        end_of_primary(device, made);
    }
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

/* The name that a green context has as a context; NULL: none. */
static CUcontext green_name(CUgreenCtx green) {
    CUcontext name = NULL;
    return green != NULL && DRIVER(cuCtxFromGreenCtx) != NULL && DRIVER(cuCtxFromGreenCtx)(&name, green) == CUDA_SUCCESS
               ? name
               : NULL;
}

/* A green context uses the device's primary context, and makes it where there is none. */
CUresult hook_cuGreenCtxCreate(__typeof__(&cuGreenCtxCreate) driver, CUgreenCtx *context, CUdevResourceDesc description,
                               CUdevice device, unsigned int flags) {
    CUcontext held = NULL;
    if (hook_cuDevicePrimaryCtxRetain(DRIVER(cuDevicePrimaryCtxRetain), &held, device) == CUDA_ERROR_OUT_OF_MEMORY) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = driver(context, description, device, flags);
    CUcontext name = green_name(result == CUDA_SUCCESS ? *context : NULL);
    if (name != NULL && !devices_add_name(name, held)) {
        DRIVER(cuGreenCtxDestroy)(*context);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    hook_cuDevicePrimaryCtxRelease_v2(DRIVER(cuDevicePrimaryCtxRelease_v2), device);
    return result;
}

CUresult hook_cuGreenCtxDestroy(__typeof__(&cuGreenCtxDestroy) driver, CUgreenCtx context) {
    CUcontext name = green_name(context);
    samples_hold(NULL);
    CUresult result = driver(context);
    samples_release(NULL, false);
    if (result == CUDA_SUCCESS && name != NULL) {
        devices_drop_name(name);
    }
    for (CUdevice device = 0; result == CUDA_SUCCESS && device < DEVICES; device++) {
        uint64_t made;
        CUcontext own = primary_of(device, &made);
        if (own != NULL && !primary_lives(device)) {
            samples_release(own, true);
            end_of_primary(device, made);
        }
    }
    return result;
}
