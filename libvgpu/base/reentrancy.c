#include "libvgpu/base/reentrancy.h"

__thread bool inside_libvgpu;
__thread bool inside_driver;
