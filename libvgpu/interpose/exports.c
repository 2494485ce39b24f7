/* Generates the exported functions from the list in abi/. */
#include "libvgpu/interpose/exports.h"

#include "libvgpu/base/config.h"
#include "libvgpu/base/reentrancy.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/hooks/launches.h"
#include "libvgpu/interpose/fork.h"

/* A call passes untouched where the driver calls itself, nothing is limited, or a fork's child has no driver. A signal handler,
 * or a callback, that interrupts a call of the driver is the program, wherever its thread is. */
static inline bool passes(enum driver_symbol symbol, const void *caller) {
    if (inside_libvgpu) {
        return !inside_driver || driver_contains(caller);
    }
    if (fork_begun()) {
        return config()->kind == CONFIG_NONE;
    }
    fork_begin();
    return config()->kind == CONFIG_NONE || fork_passes(symbol);
}

/* A hook calls the driver through a function that notes that its thread is there. */
#define CALL_DRIVER(result, symbol, exported, parameters, ...)                               \
    static result call_##exported parameters {                                               \
        inside_driver = true;                                                                \
        result answer = ((__typeof__(&symbol))driver_found[DRIVER_##exported])(__VA_ARGS__); \
        inside_driver = false;                                                               \
        return answer;                                                                       \
    }

#define ENTRY_PASS(result, missing, symbol, exported, per_thread, parameters, ...)
#define ENTRY_HOOK(result, missing, symbol, exported, per_thread, parameters, ...) \
    CALL_DRIVER(result, symbol, exported, parameters, __VA_ARGS__)                 \
    result exported parameters {                                                   \
        __typeof__(&symbol) driver = DRIVER(exported);                             \
        if (driver == NULL)                                                        \
            return missing;                                                        \
        if (passes(DRIVER_##exported, __builtin_return_address(0)))                \
            return driver(__VA_ARGS__);                                            \
        bool interrupts = inside_libvgpu;                                          \
        inside_libvgpu = true;                                                     \
        inside_driver = false;                                                     \
        result answer = hook_##symbol(call_##exported __VA_OPT__(, ) __VA_ARGS__); \
        inside_libvgpu = inside_driver = interrupts;                               \
        return answer;                                                             \
    }

/* The fast path of a launch is the exported function, and all else is apart from it. */
#define ENTRY_LAUNCH(result, missing, symbol, exported, per_thread, parameters, ...)                      \
    static __attribute__((noinline)) result slow_##exported(const void *caller, HOOK_UNPACK parameters) { \
        __typeof__(&symbol) driver = DRIVER(exported);                                                    \
        struct launch launch;                                                                             \
        struct cost_key key = key_##symbol(__VA_ARGS__);                                                  \
        if (driver == NULL)                                                                               \
            return missing;                                                                               \
        if (passes(DRIVER_##exported, caller))                                                            \
            return driver(__VA_ARGS__);                                                                   \
        if (launch_in_context(&key, stream_##symbol(__VA_ARGS__)))                                        \
            return run_##symbol(driver, __VA_ARGS__);                                                     \
        bool interrupts = inside_libvgpu;                                                                 \
        inside_libvgpu = true;                                                                            \
        inside_driver = false;                                                                            \
        launch_begin(&launch, &key, launch_stream(stream_##symbol(__VA_ARGS__), per_thread));             \
        inside_driver = true;                                                                             \
        result answer = run_##symbol(driver, __VA_ARGS__);                                                \
        inside_driver = false;                                                                            \
        answer = launch_end(&launch, answer);                                                             \
        inside_libvgpu = inside_driver = interrupts;                                                      \
        return answer;                                                                                    \
    }                                                                                                     \
    result exported parameters {                                                                          \
        struct cost_key key = key_##symbol(__VA_ARGS__);                                                  \
        if (launch_at_once(&key))                                                                         \
            return run_##symbol(((__typeof__(&symbol))driver_found[DRIVER_##exported]), __VA_ARGS__);     \
        return slow_##exported(__builtin_return_address(0), __VA_ARGS__);                                 \
    }

#define CUDA_API(tag, plain, since, symbol, parameters, arguments) \
    ENTRY_##tag(CUresult, CUDA_ERROR_NOT_FOUND, symbol, symbol, false, parameters, HOOK_UNPACK arguments)
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments)                             \
    ENTRY_##tag(CUresult, CUDA_ERROR_NOT_FOUND, symbol, symbol, false, parameters, HOOK_UNPACK arguments) \
        ENTRY_##tag(CUresult, CUDA_ERROR_NOT_FOUND, symbol, symbol##suffix, true, parameters, HOOK_UNPACK arguments)
#define NVML_API(tag, symbol, parameters, arguments) \
    ENTRY_##tag(nvmlReturn_t, NVML_ERROR_FUNCTION_NOT_FOUND, symbol, symbol, false, parameters, HOOK_UNPACK arguments)
#include "abi/symbols.def"
#include "abi/nvml_symbols.def"
#undef CUDA_API
#undef CUDA_API_PT
#undef NVML_API

#define ENTRY_OF_PASS(symbol)
#define ENTRY_OF_HOOK(symbol) [DRIVER_##symbol] = (void *)symbol,
#define ENTRY_OF_LAUNCH(symbol) ENTRY_OF_HOOK(symbol)
void *const exports_entries[DRIVER_SYMBOLS] = {
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) ENTRY_OF_##tag(symbol)
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    ENTRY_OF_##tag(symbol) ENTRY_OF_##tag(symbol##suffix)
#define NVML_API(tag, symbol, parameters, arguments) ENTRY_OF_##tag(symbol)
#include "abi/symbols.def"
#include "abi/nvml_symbols.def"
};
