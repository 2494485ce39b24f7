/* Maps devices of CUDA and NVML to GPUs of the policy, by UUID: CUDA_VISIBLE_DEVICES may change the order. */
#ifndef UNIGPU_DRIVER_DEVICES_H
#define UNIGPU_DRIVER_DEVICES_H

#include <stdbool.h>

#include "libvgpu/base/layout.h"
#include "libvgpu/driver/driver.h"

/* Returns the device's GPU, or NO_GPU. */
int devices_gpu(CUdevice device);

/* Returns the NVML device's GPU, or NO_GPU. */
int devices_gpu_of_nvml(nvmlDevice_t device);

/* Finds the calling thread's context and its GPU; false where there is no context. */
bool devices_current(CUcontext *context, int *gpu);

/* Notes that a green context's name as a context stands for the device's primary context, to which its memory belongs; the
 * functions here then tell that one. False: out of memory. */
bool devices_add_name(CUcontext name, CUcontext primary);
void devices_drop_name(CUcontext name);

/* Makes the context the calling thread's, until devices_leave. False, and devices_leave must not be called, where it is
 * already, or that can't be. */
bool devices_enter(CUcontext context);
void devices_leave(void);

/* Finds the stream's context and its GPU, whichever context is current; those of the calling thread for a default
 * stream. False where there is none. */
bool devices_of_stream(CUstream stream, CUcontext *context, int *gpu);

/* Returns NVML's device of the GPU; NULL where there is none. */
nvmlDevice_t devices_nvml(int gpu);

/* Returns how many GPUs limits can name: those of the policy, or of the machine where there is none; 0: unknown. */
int devices_count(void);

/* Ends libvgpu's own session of NVML, where it has one: it begins another where it needs it. False: it has none. */
bool devices_end_nvml(void);

/* Whether libvgpu has a session of NVML. */
bool devices_have_nvml(void);

/* To be called when a context has ended: its handle may be reused for another device. */
void devices_forget_contexts(void);

#endif
