/* The exported functions, made from the list. */
#include "hooks.h"

#include <stdbool.h>

#include "ground.h"

/* Whether this thread is inside a hook: what then comes in is the driver calling itself. */
static __thread bool inside;

static bool passes(void)
{
    return inside || ground()->kind == GROUND_FREE;
}

#define ENTRY_PASS(result, missing, symbol, exported, parameters, ...)
#define ENTRY_HOOK(result, missing, symbol, exported, parameters, ...) \
    result exported parameters                                         \
    {                                                                  \
        __typeof__(&symbol) driver = DRIVER(exported);                 \
        if (driver == NULL)                                            \
            return missing;                                            \
        if (passes())                                                  \
            return driver(__VA_ARGS__);                                \
        inside = true;                                                 \
        result answer = hook_##symbol(driver, __VA_ARGS__);            \
        inside = false;                                                \
        return answer;                                                 \
    }

#define CUDA_API(tag, plain, since, symbol, parameters, arguments) \
    ENTRY_##tag(CUresult, CUDA_ERROR_NOT_FOUND, symbol, symbol, parameters, HOOK_UNPACK arguments)
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments)                      \
    ENTRY_##tag(CUresult, CUDA_ERROR_NOT_FOUND, symbol, symbol, parameters, HOOK_UNPACK arguments) \
    ENTRY_##tag(CUresult, CUDA_ERROR_NOT_FOUND, symbol, symbol##suffix, parameters, HOOK_UNPACK arguments)
#define NVML_API(tag, symbol, parameters, arguments) \
    ENTRY_##tag(nvmlReturn_t, NVML_ERROR_FUNCTION_NOT_FOUND, symbol, symbol, parameters, HOOK_UNPACK arguments)
#include "abi/symbols.def"
#include "abi/nvml_symbols.def"
#undef CUDA_API
#undef CUDA_API_PT
#undef NVML_API

#define ENTRY_OF_PASS(symbol)
#define ENTRY_OF_HOOK(symbol) [DRIVER_##symbol] = (void *)symbol,
void *const hooks_entries[DRIVER_SYMBOLS] = {
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) ENTRY_OF_##tag(symbol)
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    ENTRY_OF_##tag(symbol) ENTRY_OF_##tag(symbol##suffix)
#define NVML_API(tag, symbol, parameters, arguments) ENTRY_OF_##tag(symbol)
#include "abi/symbols.def"
#include "abi/nvml_symbols.def"
};
