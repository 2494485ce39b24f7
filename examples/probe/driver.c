#include "driver.h"

#include <dlfcn.h>
#include <string.h>

static const char *missing;

/* A function pointer as an object pointer, which dlsym returns: POSIX says that they are alike. */
static void find(void *library, const char *name, void *place) {
    void *found = library != NULL ? dlsym(library, name) : NULL;
    memcpy(place, &found, sizeof found);
    if (found == NULL && missing == NULL) {
        missing = name;
    }
}

const char *driver_open(struct driver *driver) {
    memset(driver, 0, sizeof *driver);
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (cuda == NULL) {
        return "libcuda.so.1";
    }
    missing = NULL;
    find(cuda, "cuInit", &driver->init);
    find(cuda, "cuDeviceGetCount", &driver->device_count);
    find(cuda, "cuDeviceGet", &driver->device_get);
    find(cuda, "cuDeviceGetName", &driver->device_name);
    find(cuda, "cuDeviceGetUuid", &driver->device_uuid);
    find(cuda, "cuDeviceTotalMem_v2", &driver->device_total);
    find(cuda, "cuCtxCreate_v2", &driver->context_create);
    find(cuda, "cuCtxDestroy_v2", &driver->context_destroy);
    find(cuda, "cuMemGetInfo_v2", &driver->memory_info);
    find(cuda, "cuMemAlloc_v2", &driver->memory_alloc);
    find(cuda, "cuMemFree_v2", &driver->memory_free);
    find(cuda, "cuGetErrorName", &driver->error_name);
    if (missing != NULL) {
        return missing;
    }
    void *nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    find(nvml, "nvmlInit_v2", &driver->nvml_init);
    find(nvml, "nvmlShutdown", &driver->nvml_shutdown);
    find(nvml, "nvmlDeviceGetHandleByUUID", &driver->nvml_by_uuid);
    find(nvml, "nvmlDeviceGetMemoryInfo", &driver->nvml_memory);
    if (missing != NULL || driver->nvml_init() != 0) {
        driver->nvml_init = NULL;
    }
    return NULL;
}
