/* The functions that libvgpu exports in place of the driver's. */
#ifndef UNIGPU_INTERPOSE_EXPORTS_H
#define UNIGPU_INTERPOSE_EXPORTS_H

#include "libvgpu/driver/driver.h"

/* The exported function of each entry point that is tagged HOOK or LAUNCH; NULL for the others. */
extern void *const exports_entries[DRIVER_SYMBOLS];

#endif
