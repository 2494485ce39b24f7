/* Entry points for features that no simulated GPU has: exported under their names, they all return the same error. */
#include "simulator/cuda/core/driver.h"

__attribute__((used)) static CUresult absent(void) {
    NEED_DRIVER();
    return CUDA_ERROR_NOT_SUPPORTED;
}

/* An alias below the compiler: the parameters don't matter. A body elsewhere takes precedence. */
#define CUDA_ABSENT(symbol) __asm__(".weak " #symbol "\n.type " #symbol ", @function\n.set " #symbol ", absent\n");
#include "simulator/cuda/core/absent.def"
