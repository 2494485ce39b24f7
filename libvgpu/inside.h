/* Whether the calling thread is inside libvgpu: what then comes in is the driver calling itself. */
#ifndef UNIGPU_INSIDE_H
#define UNIGPU_INSIDE_H

#include <stdbool.h>

extern __thread bool inside;

#endif
