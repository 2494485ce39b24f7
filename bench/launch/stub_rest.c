/* Every entry point of the driver, for the stub: success, and nothing else. Those of stub.c take their place. */
#include "abi/cuda.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) \
    __attribute__((weak)) CUresult symbol parameters {             \
        return CUDA_SUCCESS;                                       \
    }
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    CUDA_API(tag, plain, since, symbol, parameters, arguments)                \
    CUDA_API(tag, plain, since, symbol##suffix, parameters, arguments)
#pragma GCC visibility push(default)
#include "abi/symbols.def"
#pragma GCC visibility pop
