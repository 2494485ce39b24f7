/* A static program, in which nothing can be interposed: takes GPU memory until the driver refuses, again and again, and
 * prints what it has, in MiB. */
#include <stdio.h>
#include <unistd.h>

#include "abi/cuda_types.h"

enum { STEP = 64 };

int cuInit(unsigned int flags);
int cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device);
int cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes);

int main(void) {
    CUcontext context;
    CUdeviceptr pointer;
    if (cuInit(0) || cuCtxCreate_v2(&context, 0, 0)) {
        return 1;
    }
    for (unsigned taken = 0;; usleep(20000)) {
        while (cuMemAlloc_v2(&pointer, (size_t)STEP << 20) == 0) {
            taken += STEP;
        }
        printf("%u\n", taken);
        fflush(stdout);
    }
}
