/* Whether the calling thread is inside libvgpu: what then comes in is the driver calling itself. */
#ifndef UNIGPU_BASE_REENTRANCY_H
#define UNIGPU_BASE_REENTRANCY_H

#include <stdbool.h>

extern __thread bool inside_libvgpu;

#endif
