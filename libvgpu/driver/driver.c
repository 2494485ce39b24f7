#include "libvgpu/driver/driver.h"

#include <stddef.h>
#include <stdint.h>

#include "libvgpu/base/dl.h"

#define CUDA_LIBRARY "libcuda.so.1"
#define NVML_LIBRARY "libnvidia-ml.so.1"

void *driver_found[DRIVER_SYMBOLS];

const char *const driver_names[DRIVER_SYMBOLS] = {
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) #symbol,
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) #symbol, #symbol #suffix,
#include "abi/symbols.def"
#undef CUDA_API
#undef CUDA_API_PT
#define NVML_API(tag, symbol, parameters, arguments) #symbol,
#include "abi/nvml_symbols.def"
#undef NVML_API
};

/* Where the two libraries lie. */
static struct range {
    uintptr_t begin, end;
} ranges[2];

static void note_range(bool nvml, const void *inside) {
    uintptr_t begin, end;
    if (inside != NULL && __atomic_load_n(&ranges[nvml].end, __ATOMIC_RELAXED) == 0 &&
        dl_extent(inside, &begin, &end)) {
        __atomic_store_n(&ranges[nvml].begin, begin, __ATOMIC_RELAXED);
        __atomic_store_n(&ranges[nvml].end, end, __ATOMIC_RELEASE);
    }
}

bool driver_contains(const void *address) {
    for (const struct range *range = ranges; range < ranges + 2; range++) {
        uintptr_t end = __atomic_load_n(&range->end, __ATOMIC_ACQUIRE);
        if ((uintptr_t)address < end && (uintptr_t)address >= __atomic_load_n(&range->begin, __ATOMIC_RELAXED)) {
            return true;
        }
    }
    return false;
}

static void *look_up(enum driver_symbol symbol, bool bring) {
    static void *libraries[2];
    bool nvml = symbol >= DRIVER_FIRST_OF_NVML;
    const char *name = nvml ? NVML_LIBRARY : CUDA_LIBRARY;
    void *library = __atomic_load_n(&libraries[nvml], __ATOMIC_ACQUIRE);
    dl_lookup *dlsym = dl_dlsym();
    if (dlsym == NULL) {
        return NULL;
    }
    if (library == NULL) {
        library = bring ? dl_load(name) : dl_loaded(name);
        if (library == NULL) {
            return NULL;
        }
        __atomic_store_n(&libraries[nvml], library, __ATOMIC_RELEASE);
    }
    void *found = dlsym(library, driver_names[symbol]);
    note_range(nvml, found);
    __atomic_store_n(&driver_found[symbol], found, __ATOMIC_RELAXED);
    return found;
}

void *driver_find(enum driver_symbol symbol) {
    return look_up(symbol, false);
}

void *driver_bring(enum driver_symbol symbol) {
    void *found = __atomic_load_n(&driver_found[symbol], __ATOMIC_RELAXED);
    return found != NULL ? found : look_up(symbol, true);
}
