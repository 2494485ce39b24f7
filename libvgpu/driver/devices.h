/* Which GPU of the policy a device is: by its UUID, whatever CUDA_VISIBLE_DEVICES makes of the order. */
#ifndef UNIGPU_DRIVER_DEVICES_H
#define UNIGPU_DRIVER_DEVICES_H

#include <stdbool.h>

#include "libvgpu/driver/driver.h"
#include "libvgpu/base/layout.h"

/* The device's GPU, or NO_GPU. */
int devices_gpu(CUdevice device);

/* The NVML device's GPU, or NO_GPU. */
int devices_gpu_of_nvml(nvmlDevice_t device);

/* The calling thread's context and its GPU; false where there is no context. */
bool devices_current(CUcontext *context, int *gpu);

/* The GPU of a stream's context, else of the calling thread's. */
bool devices_of_stream(CUstream stream, CUcontext *context, int *gpu);

/* NVML's device of that GPU; NULL where there is none. */
nvmlDevice_t devices_nvml(int gpu);

/* A context ended: its handle may come back for another device. */
void devices_forget_contexts(void);

#endif
