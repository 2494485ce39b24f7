/* Declares the hooks. For each entry point of abi/symbols.def that is tagged HOOK, `hook_<symbol>` takes the driver's
 * own function and then the arguments. Launches, tagged LAUNCH, are in launches.h.
 *
 * interpose/exports.c generates the exported functions from the list. They call the hook where limits apply. They call
 * the driver directly where none do, and when the driver calls its own exports.
 */
#ifndef UNIGPU_HOOKS_HOOKS_H
#define UNIGPU_HOOKS_HOOKS_H

#include "libvgpu/driver/driver.h"

#define HOOK_UNPACK(...) __VA_ARGS__
#define HOOK_DECLARE_PASS(result, symbol, ...)
#define HOOK_DECLARE_LAUNCH(result, symbol, ...)
#define HOOK_DECLARE_HOOK(result, symbol, parameters, ...) \
    result hook_##symbol(__typeof__(&symbol) driver __VA_OPT__(, HOOK_UNPACK parameters));

#define CUDA_API(tag, plain, since, symbol, parameters, arguments) \
    HOOK_DECLARE_##tag(CUresult, symbol, parameters, HOOK_UNPACK arguments)
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    HOOK_DECLARE_##tag(CUresult, symbol, parameters, HOOK_UNPACK arguments)
#define NVML_API(tag, symbol, parameters, arguments) \
    HOOK_DECLARE_##tag(nvmlReturn_t, symbol, parameters, HOOK_UNPACK arguments)
#include "abi/symbols.def"
#include "abi/nvml_symbols.def"
#undef CUDA_API
#undef CUDA_API_PT
#undef NVML_API

#endif
