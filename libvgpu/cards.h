/* Which card of the policy a device is: by its UUID, whatever CUDA_VISIBLE_DEVICES makes of the order. */
#ifndef UNIGPU_CARDS_H
#define UNIGPU_CARDS_H

#include <stdbool.h>

#include "driver.h"
#include "quota.h"

/* The device's card, or NO_CARD. */
int cards_of_device(CUdevice device);

/* The NVML device's card, or NO_CARD. */
int cards_of_nvml(nvmlDevice_t device);

/* Whether the NVML device is a card of the container that is held to a share: its lists are then ours to answer. */
bool cards_held(nvmlDevice_t device, int *card);

/* The calling thread's context and its card; false where there is no context. */
bool cards_of_current(CUcontext *context, int *card);

/* The card of a stream's context, else of the calling thread's. */
bool cards_of_stream(CUstream stream, CUcontext *context, int *card);

/* NVML's device of that card; NULL where there is none. */
nvmlDevice_t cards_nvml(int card);

/* A context ended: its handle may come back for another device. */
void cards_forget_contexts(void);

#endif
