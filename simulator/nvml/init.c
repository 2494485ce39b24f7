/* nvmlInit and nvmlShutdown, versions, and the texts of errors. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simulator/nvml/library.h"

library nvml;

static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;

static nvmlReturn_t start(void) {
    sim_status status = sim_open(&nvml.machine);
    NEED(status != SIM_NO_MACHINE, NVML_ERROR_DRIVER_NOT_LOADED);
    NEED(status != SIM_DAMAGED, NVML_ERROR_LIB_RM_VERSION_MISMATCH);
    NEED(status == SIM_OK, NVML_ERROR_UNKNOWN);
    nvml.count = 0;
    for (uint32_t gpu = 0; gpu < SIM_MAX_GPUS; gpu++) {
        sim_gpu *card = &nvml.machine->state->gpus[gpu];
        if (sim_gpu_visible(nvml.machine, gpu) && !sim_gpu_lost(card)) {
            nvml.devices[nvml.count] = (struct nvmlDevice_st){gpu, nvml.count, card, &sim_profiles[card->profile]};
            nvml.count++;
        }
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    NEED(!(flags & ~(NVML_INIT_FLAG_NO_GPUS | NVML_INIT_FLAG_NO_ATTACH)), NVML_ERROR_INVALID_ARGUMENT);
    pthread_mutex_lock(&starting);
    nvmlReturn_t result = NVML_SUCCESS;
    if (nvml.refs == 0) {
        result = start();
    }
    if (result == NVML_SUCCESS) {
        __atomic_add_fetch(&nvml.refs, 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&starting);
    return result;
}

nvmlReturn_t nvmlInit_v2(void) {
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlInit(void) {
    return nvmlInitWithFlags(0);
}

nvmlReturn_t nvmlShutdown(void) {
    pthread_mutex_lock(&starting);
    bool running = nvml.refs > 0;
    if (running) {
        __atomic_sub_fetch(&nvml.refs, 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&starting);
    return running ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
}

nvmlReturn_t device_check(nvmlDevice_t device) {
    NEED_LIBRARY();
    bool ours = device >= nvml.devices && device < nvml.devices + nvml.count;
    sim_instance part;
    NEED(ours || !is_instance(device, &part), NVML_ERROR_NOT_SUPPORTED); /* a MIG instance tells little */
    NEED(ours, NVML_ERROR_INVALID_ARGUMENT);
    while (__atomic_load_n(&device->card->faults.hanging, __ATOMIC_ACQUIRE)) {
        struct timespec pause = {.tv_nsec = 5000000};
        nanosleep(&pause, NULL);
    }
    NEED(!sim_gpu_lost(device->card), NVML_ERROR_GPU_IS_LOST);
    return NVML_SUCCESS;
}

int driver_branch(void) {
    return atoi(nvml.machine->state->driver_version);
}

nvmlReturn_t give_text(char *target, unsigned length, const char *text) {
    NEED(target, NVML_ERROR_INVALID_ARGUMENT);
    NEED(length > strlen(text), NVML_ERROR_INSUFFICIENT_SIZE);
    strcpy(target, text);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    NEED_LIBRARY();
    return give_text(version, length, nvml.machine->state->driver_version);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
    NEED_LIBRARY();
    char text[64];
    snprintf(text, sizeof text, "%d.%.40s", nvml.machine->state->cuda_version / 1000,
             nvml.machine->state->driver_version);
    return give_text(version, length, text);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    sim_machine *machine;
    NEED(version, NVML_ERROR_INVALID_ARGUMENT);
    NEED(sim_open(&machine) == SIM_OK, NVML_ERROR_LIBRARY_NOT_FOUND);
    *version = machine->state->cuda_version;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

const char *nvmlErrorString(nvmlReturn_t status) {
    switch (status) {
#define NVML_ERROR_ROW(name, number, text) \
    case name: return text;
#include "abi/nvml_errors.def"
#undef NVML_ERROR_ROW
    }
    return "Unknown Error";
}
