/* Whether the calling thread is inside libvgpu. A call that arrives while it is comes from the driver itself. */
#ifndef UNIGPU_BASE_REENTRANCY_H
#define UNIGPU_BASE_REENTRANCY_H

#include <stdbool.h>

extern __thread bool inside_libvgpu;

#endif
