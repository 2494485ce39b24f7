/* cuInit, which GPUs this process sees, and the names of errors. */
#include "simulator/cuda/core/driver.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

driver sim_driver;

enum { NEVER, READY, FORKED };
static int phase = NEVER;
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;

CUresult driver_ready(void) {
    if (__atomic_load_n(&phase, __ATOMIC_ACQUIRE) != READY) {
        return CUDA_ERROR_NOT_INITIALIZED;
    }
    sim_process_check(sim_driver.machine, SIM_LOCKED);
    return CUDA_SUCCESS;
}

device *device_at(CUdevice ordinal) {
    return ordinal >= 0 && ordinal < sim_driver.device_count ? &sim_driver.devices[ordinal] : NULL;
}

static void after_fork_in_child(void) {
    if (phase == READY) {
        phase = FORKED;
    }
}

static void add_device(uint32_t gpu) {
    device *added = &sim_driver.devices[sim_driver.device_count++];
    added->gpu = gpu;
    added->card = &sim_driver.machine->state->gpus[gpu];
    added->profile = &sim_profiles[added->card->profile];
    pthread_mutex_init(&added->lock, NULL);
    pthread_mutex_init(&added->queue_lock, NULL);
    pthread_mutex_init(&added->graph_lock, NULL);
}

/* Which of the visible GPUs one item of CUDA_VISIBLE_DEVICES means; -1: none, and the list ends there. */
static int find_item(const char *item, size_t length, const uint32_t *visible, int count) {
    if (length > 4 && strncasecmp(item, "GPU-", 4) == 0) {
        int found = -1;
        for (int i = 0; i < count; i++) {
            if (strncasecmp(sim_driver.machine->state->gpus[visible[i]].uuid, item, length) == 0) {
                if (found >= 0) {
                    return -1; /* the prefix says too little */
                }
                found = i;
            }
        }
        return found;
    }
    char *end;
    long index = strtol(item, &end, 10);
    return end != item && index >= 0 && index < count ? (int)index : -1;
}

static void choose_devices(const uint32_t *visible, int count) {
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    if (!list) {
        for (int i = 0; i < count; i++) {
            add_device(visible[i]);
        }
        return;
    }
    bool chosen[SIM_MAX_GPUS] = {false};
    while (*list) {
        list += strspn(list, " ");
        size_t length = strcspn(list, ", ");
        int index = find_item(list, length, visible, count);
        if (index < 0) {
            return;
        }
        if (chosen[index]) {
            sim_driver.device_count = 0; /* a GPU named twice leaves none, as with the real driver */
            return;
        }
        chosen[index] = true;
        add_device(visible[index]);
        list += length;
        list += strspn(list, " ");
        if (*list == ',') {
            list++;
        }
    }
}

static CUresult start(void) {
    sim_status status = sim_open(&sim_driver.machine);
    if (status == SIM_NO_MACHINE) {
        return CUDA_ERROR_NO_DEVICE;
    }
    if (status != SIM_OK) {
        return CUDA_ERROR_SYSTEM_NOT_READY;
    }
    uint32_t visible[SIM_MAX_GPUS];
    int count = 0;
    /* GPUs of one machine are equal, so CUDA_DEVICE_ORDER's FASTEST_FIRST and PCI_BUS_ID are one order. */
    for (uint32_t gpu = 0; gpu < SIM_MAX_GPUS; gpu++) {
        /* A partitioned GPU has instances instead, on which no program runs; a lost one isn't found. */
        const sim_gpu *card = &sim_driver.machine->state->gpus[gpu];
        if (sim_gpu_visible(sim_driver.machine, gpu) && !card->settings.mig && !sim_gpu_lost(card)) {
            visible[count++] = gpu;
        }
    }
    choose_devices(visible, count);
    return sim_driver.device_count ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuInit(unsigned int flags) {
    NEED(flags == 0, CUDA_ERROR_INVALID_VALUE);
    pthread_mutex_lock(&starting);
    CUresult result = CUDA_SUCCESS;
    if (phase == FORKED) {
        result = CUDA_ERROR_NOT_INITIALIZED;
    } else if (phase == NEVER) {
        sim_driver.device_count = 0;
        result = start();
        if (result == CUDA_SUCCESS) {
            pthread_atfork(NULL, NULL, after_fork_in_child);
            __atomic_store_n(&phase, READY, __ATOMIC_RELEASE);
        }
    }
    pthread_mutex_unlock(&starting);
    return result;
}

CUresult cuDriverGetVersion(int *driver_version) {
    NEED(driver_version, CUDA_ERROR_INVALID_VALUE);
    sim_machine *machine;
    *driver_version = sim_open(&machine) == SIM_OK ? machine->state->cuda_version : 12090;
    return CUDA_SUCCESS;
}

static const struct {
    CUresult error;
    const char *name, *text;
} errors[] = {
#define CUDA_ERROR_ROW(name, number, text) {name, #name, text},
#include "abi/cuda_errors.def"
#undef CUDA_ERROR_ROW
};

static int find_error(CUresult error) {
    for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (errors[i].error == error) {
            return (int)i;
        }
    }
    return -1;
}

CUresult cuGetErrorName(CUresult error, const char **text) {
    NEED(text, CUDA_ERROR_INVALID_VALUE);
    int found = find_error(error);
    *text = found < 0 ? NULL : errors[found].name;
    return found < 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
    NEED(text, CUDA_ERROR_INVALID_VALUE);
    int found = find_error(error);
    *text = found < 0 ? NULL : errors[found].text;
    return found < 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
