/* The functions of the real driver and of NVML. Each entry point of the list in abi/ has its own type and is looked up
 * at first use. */
#ifndef UNIGPU_DRIVER_DRIVER_H
#define UNIGPU_DRIVER_DRIVER_H

#include <stdbool.h>

#include "abi/cuda.h"
#include "abi/nvml.h"

enum driver_symbol {
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) DRIVER_##symbol,
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) DRIVER_##symbol, DRIVER_##symbol##suffix,
#include "abi/symbols.def"
#undef CUDA_API
#undef CUDA_API_PT
    DRIVER_FIRST_OF_NVML,
    DRIVER_BEFORE_NVML = DRIVER_FIRST_OF_NVML - 1,
#define NVML_API(tag, symbol, parameters, arguments) DRIVER_##symbol,
#include "abi/nvml_symbols.def"
#undef NVML_API
    DRIVER_SYMBOLS
};

extern void *driver_found[DRIVER_SYMBOLS];
extern const char *const driver_names[DRIVER_SYMBOLS];

/* Looks the entry point up in its library, if the process has loaded that. NULL where it isn't there. */
void *driver_find(enum driver_symbol symbol);

/* As driver_find, but loads the library where the process hasn't. */
void *driver_bring(enum driver_symbol symbol);

/* Whether the address lies in the driver's or NVML's library, as far as they are loaded. */
bool driver_contains(const void *address);

static inline void *driver_get(enum driver_symbol symbol) {
    void *found = __atomic_load_n(&driver_found[symbol], __ATOMIC_RELAXED);
    return found != NULL ? found : driver_find(symbol);
}

/* The driver's own function, or NULL where this driver has none of that name. */
#define DRIVER(symbol) ((__typeof__(&symbol))driver_get(DRIVER_##symbol))

/* NVML's own function, whether or not the program uses NVML; or NULL. */
#define NVML(symbol) ((__typeof__(&symbol))driver_bring(DRIVER_##symbol))

#endif
