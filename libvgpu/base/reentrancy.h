/* Where the calling thread is. A call that arrives while it is inside libvgpu comes from the driver itself, or from a signal
 * handler or a callback of the program. */
#ifndef UNIGPU_BASE_REENTRANCY_H
#define UNIGPU_BASE_REENTRANCY_H

#include <stdbool.h>

extern __thread bool inside_libvgpu;

/* In a call of the driver that a hook makes, so that no lock of libvgpu is held. */
extern __thread bool inside_driver;

#endif
