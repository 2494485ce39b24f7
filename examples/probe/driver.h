/* The few entry points of the CUDA driver and of NVML that the probe calls, looked up as most programs do it. */
#ifndef PROBE_DRIVER_H
#define PROBE_DRIVER_H

#include <stddef.h>

typedef struct {
    char bytes[16];
} probe_uuid;

typedef struct {
    unsigned long long total, free, used;
} probe_nvml_memory;

struct driver {
    int (*init)(unsigned int flags);
    int (*device_count)(int *count);
    int (*device_get)(int *device, int ordinal);
    int (*device_name)(char *name, int length, int device);
    int (*device_uuid)(probe_uuid *uuid, int device);
    int (*device_total)(size_t *bytes, int device);
    int (*context_create)(void **context, unsigned int flags, int device);
    int (*context_destroy)(void *context);
    int (*memory_info)(size_t *free, size_t *total);
    int (*memory_alloc)(unsigned long long *pointer, size_t bytes);
    int (*memory_free)(unsigned long long pointer);
    int (*error_name)(int error, const char **name);
    int (*nvml_init)(void);
    int (*nvml_shutdown)(void);
    int (*nvml_by_uuid)(const char *uuid, void **device);
    int (*nvml_memory)(void *device, probe_nvml_memory *memory);
};

/* Fills what is there; NVML's may stay NULL. Returns NULL, or what is missing. */
const char *driver_open(struct driver *driver);

#endif
