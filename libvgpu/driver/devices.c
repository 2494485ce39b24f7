#include "libvgpu/driver/devices.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libvgpu/base/config.h"
#include "libvgpu/base/lock.h"
#include "libvgpu/shared/policy.h"

#define DEVICES 64
#define UUID_BYTES 16

static int digit(char letter) {
    if (letter >= '0' && letter <= '9') {
        return letter - '0';
    }
    letter |= 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Parses `GPU-` or `MIG-`, then 32 digits with dashes between them. */
static bool parse_uuid(const char *text, unsigned char *uuid) {
    unsigned count = 0;
    memset(uuid, 0, UUID_BYTES);
    text = strchr(text, '-');
    for (; text != NULL && *text != '\0' && count < 2 * UUID_BYTES; text++) {
        int value = digit(*text);
        if (value < 0 && *text != '-') {
            return false;
        }
        if (value >= 0) {
            uuid[count / 2] = (unsigned char)(uuid[count / 2] << 4 | value);
            count++;
        }
    }
    return count == 2 * UUID_BYTES;
}

static bool nvml_uuid(nvmlDevice_t device, unsigned char *uuid) {
    char text[96];
    return NVML(nvmlDeviceGetUUID) != NULL && NVML(nvmlDeviceGetUUID)(device, text, sizeof text) == NVML_SUCCESS &&
           parse_uuid(text, uuid);
}

/* Whether libvgpu has started NVML. Its session stays: starting it takes long. */
static bool own_session;

bool devices_have_nvml(void) {
    return __atomic_load_n(&own_session, __ATOMIC_ACQUIRE);
}

bool devices_end_nvml(void) {
    return __atomic_exchange_n(&own_session, false, __ATOMIC_ACQ_REL) && NVML(nvmlShutdown) != NULL &&
           NVML(nvmlShutdown)() == NVML_SUCCESS;
}

static bool start_nvml(void) {
    MUTEX(starting);
    mutex_lock(&starting);
    nvmlDevice_t first;
    bool started = NVML(nvmlDeviceGetHandleByIndex_v2)(0, &first) != NVML_ERROR_UNINITIALIZED;
    if (!started && NVML(nvmlInit_v2)() == NVML_SUCCESS) {
        started = true;
        __atomic_store_n(&own_session, true, __ATOMIC_RELEASE);
    }
    mutex_unlock(&starting);
    return started;
}

/* Returns NVML's device of that index. Starts NVML where the program hasn't. */
static nvmlDevice_t nvml_at(unsigned index) {
    nvmlDevice_t device = NULL;
    if (NVML(nvmlDeviceGetHandleByIndex_v2) == NULL || NVML(nvmlInit_v2) == NULL) {
        return NULL;
    }
    nvmlReturn_t result = NVML(nvmlDeviceGetHandleByIndex_v2)(index, &device);
    if (result == NVML_ERROR_UNINITIALIZED && start_nvml()) {
        result = NVML(nvmlDeviceGetHandleByIndex_v2)(index, &device);
    }
    return result == NVML_SUCCESS ? device : NULL;
}

/* False: it can't be determined now, ask again later. The copy of the policy may be too large for a thread's stack. */
static bool find_in_policy(const unsigned char *uuid, int *gpu) {
    unsigned char other[UUID_BYTES];
    struct vgpu_policy *policy = malloc(sizeof *policy);
    bool known = policy != NULL && policy_copy(policy);
    *gpu = NO_GPU;
    for (unsigned place = 0; known && place < policy->count; place++) {
        policy->gpus[place].uuid[sizeof policy->gpus[place].uuid - 1] = '\0';
        if (parse_uuid(policy->gpus[place].uuid, other) && memcmp(uuid, other, UUID_BYTES) == 0) {
            *gpu = (int)place;
        }
    }
    free(policy);
    return known;
}

/* False likewise. */
static bool find(const unsigned char *uuid, int fallback, int *gpu) {
    unsigned char other[UUID_BYTES];
    if (config()->kind == CONFIG_POLICY) {
        return find_in_policy(uuid, gpu);
    }
    *gpu = fallback < VGPU_MAX_GPUS ? fallback : NO_GPU;
    for (unsigned index = 0; index < VGPU_MAX_GPUS; index++) {
        nvmlDevice_t device = nvml_at(index);
        if (device == NULL) {
            break;
        }
        if (nvml_uuid(device, other) && memcmp(uuid, other, UUID_BYTES) == 0) {
            *gpu = (int)index;
        }
    }
    return true;
}

enum lookup_state { LOOKUP_PENDING, LOOKUP_DONE };

/* Read and written as one word. */
struct lookup {
    _Alignas(2) uint8_t state; /* enum lookup_state */
    int8_t gpu;                /* or NO_GPU */
};

int devices_gpu(CUdevice device) {
    static struct lookup known[DEVICES];
    CUuuid uuid;
    int gpu;
    if (device < 0 || device >= DEVICES) {
        return NO_GPU;
    }
    struct lookup seen;
    __atomic_load(&known[device], &seen, __ATOMIC_RELAXED);
    if (seen.state == LOOKUP_DONE) {
        return seen.gpu;
    }
    /* The second version distinguishes the instances of a MIG GPU. */
    __typeof__(&cuDeviceGetUuid) get = DRIVER(cuDeviceGetUuid_v2);
    if (get == NULL) {
        get = DRIVER(cuDeviceGetUuid);
    }
    if (get == NULL || get(&uuid, device) != CUDA_SUCCESS) {
        return NO_GPU;
    }
    if (find((const unsigned char *)uuid.bytes, device, &gpu)) {
        seen = (struct lookup){.state = LOOKUP_DONE, .gpu = (int8_t)gpu};
        __atomic_store(&known[device], &seen, __ATOMIC_RELAXED);
    }
    return gpu;
}

int devices_gpu_of_nvml(nvmlDevice_t device) {
    static struct {
        nvmlDevice_t device;
        int gpu;
    } known[DEVICES];
    static unsigned count;
    unsigned char uuid[UUID_BYTES];
    int gpu;
    for (unsigned place = 0, end = __atomic_load_n(&count, __ATOMIC_ACQUIRE); place < end; place++) {
        if (known[place].device == device) {
            return known[place].gpu;
        }
    }
    if (!nvml_uuid(device, uuid) || !find(uuid, VGPU_MAX_GPUS, &gpu)) {
        return NO_GPU;
    }
    MUTEX(lock);
    mutex_lock(&lock);
    if (count < DEVICES) {
        known[count].device = device;
        known[count].gpu = gpu;
        __atomic_store_n(&count, count + 1, __ATOMIC_RELEASE);
    }
    mutex_unlock(&lock);
    return gpu;
}

nvmlDevice_t devices_nvml(int gpu) {
    for (unsigned index = 0; index < DEVICES; index++) {
        nvmlDevice_t device = nvml_at(index);
        if (device == NULL || devices_gpu_of_nvml(device) == gpu) {
            return device;
        }
    }
    return NULL;
}

int devices_count(void) {
    unsigned count = 0;
    if (config()->kind == CONFIG_POLICY) {
        struct vgpu_policy *policy = malloc(sizeof *policy);
        count = policy != NULL && policy_copy(policy) ? policy->count : 0;
        free(policy);
    } else if (nvml_at(0) != NULL && NVML(nvmlDeviceGetCount_v2) != NULL) {
        NVML(nvmlDeviceGetCount_v2)(&count);
    }
    return (int)count;
}

static uint64_t epoch = 1;

void devices_forget_contexts(void) {
    __atomic_add_fetch(&epoch, 1, __ATOMIC_RELEASE);
}

/* What a thread asked last. */
static __thread struct {
    CUcontext context;
    uint64_t epoch;
    int gpu;
} last;

static bool remembered(CUcontext context, int *gpu) {
    if (last.context != context || last.epoch != __atomic_load_n(&epoch, __ATOMIC_ACQUIRE)) {
        return false;
    }
    *gpu = last.gpu;
    return true;
}

/* Finds the GPU of the calling thread's context. */
static bool of_context(CUcontext context, int *gpu) {
    CUdevice device;
    if (remembered(context, gpu)) {
        return true;
    }
    uint64_t now = __atomic_load_n(&epoch, __ATOMIC_ACQUIRE);
    if (DRIVER(cuCtxGetDevice) == NULL || DRIVER(cuCtxGetDevice)(&device) != CUDA_SUCCESS) {
        return false;
    }
    *gpu = devices_gpu(device);
    if (*gpu != NO_GPU) {
        last.context = context;
        last.epoch = now;
        last.gpu = *gpu;
    }
    return true;
}

/* Names of green contexts. Most programs have none. */
struct name {
    CUcontext name, primary;
    struct name *next;
};

MUTEX(naming);
static struct name *names;

bool devices_add_name(CUcontext name, CUcontext primary) {
    struct name *added = malloc(sizeof *added);
    if (added == NULL) {
        return false;
    }
    *added = (struct name){name, primary, NULL};
    mutex_lock(&naming);
    added->next = names;
    __atomic_store_n(&names, added, __ATOMIC_RELEASE);
    mutex_unlock(&naming);
    return true;
}

void devices_drop_name(CUcontext name) {
    struct name *found = NULL;
    mutex_lock(&naming);
    for (struct name **each = &names; *each != NULL; each = &(*each)->next) {
        if ((*each)->name == name) {
            found = *each;
            __atomic_store_n(each, found->next, __ATOMIC_RELEASE);
            break;
        }
    }
    mutex_unlock(&naming);
    free(found);
}

/* The context to which memory belongs that is taken in this one. */
static CUcontext owner_of(CUcontext context) {
    if (__atomic_load_n(&names, __ATOMIC_ACQUIRE) == NULL) {
        return context;
    }
    mutex_lock(&naming);
    for (struct name *each = names; each != NULL; each = each->next) {
        if (each->name == context) {
            context = each->primary;
            break;
        }
    }
    mutex_unlock(&naming);
    return context;
}

bool devices_current(CUcontext *context, int *gpu) {
    *context = NULL;
    if (DRIVER(cuCtxGetCurrent) == NULL || DRIVER(cuCtxGetCurrent)(context) != CUDA_SUCCESS || *context == NULL ||
        !of_context(*context, gpu)) {
        return false;
    }
    *context = owner_of(*context);
    return true;
}

bool devices_enter(CUcontext context) {
    CUcontext current = NULL;
    return context != NULL && DRIVER(cuCtxGetCurrent) != NULL && DRIVER(cuCtxGetCurrent)(&current) == CUDA_SUCCESS &&
           current != context && DRIVER(cuCtxPushCurrent_v2) != NULL && DRIVER(cuCtxPopCurrent_v2) != NULL &&
           DRIVER(cuCtxPushCurrent_v2)(context) == CUDA_SUCCESS;
}

void devices_leave(void) {
    CUcontext context;
    DRIVER(cuCtxPopCurrent_v2)(&context);
}

bool devices_of_stream(CUstream stream, CUcontext *context, int *gpu) {
    CUcontext own;
    if (stream == NULL || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD ||
        DRIVER(cuStreamGetCtx) == NULL || DRIVER(cuStreamGetCtx)(stream, &own) != CUDA_SUCCESS) {
        return devices_current(context, gpu);
    }
    *context = owner_of(own);
    if (remembered(own, gpu)) {
        return true;
    }
    bool entered = devices_enter(own);
    bool known = of_context(own, gpu);
    if (entered) {
        devices_leave();
    }
    return known;
}
