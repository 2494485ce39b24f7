/* The two ways in which a program finds entry points that it doesn't link: dlsym and cuGetProcAddress. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "libvgpu/base/config.h"
#include "libvgpu/base/dl.h"
#include "libvgpu/base/lock.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/interpose/exports.h"
#include "libvgpu/interpose/fork.h"

enum variant { VARIANT_LEGACY, VARIANT_PER_THREAD };

struct hooked {
    const char *plain; /* name for cuGetProcAddress */
    int since;
    enum variant variant;
    enum driver_symbol symbol;
};

#define HOOKED_PASS(plain, since, variant, symbol)
#define HOOKED_HOOK(plain, since, variant, symbol) {plain, since, variant, DRIVER_##symbol},
#define HOOKED_LAUNCH(plain, since, variant, symbol) HOOKED_HOOK(plain, since, variant, symbol)
static const struct hooked hooked_symbols[] = {
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) HOOKED_##tag(#plain, since, VARIANT_LEGACY, symbol)
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    HOOKED_##tag(#plain, since, VARIANT_LEGACY, symbol) HOOKED_##tag(#plain, since, VARIANT_PER_THREAD, symbol##suffix)
#define NVML_API(tag, symbol, parameters, arguments) HOOKED_##tag(#symbol, 0, VARIANT_LEGACY, symbol)
#include "abi/symbols.def"
#include "abi/nvml_symbols.def"
};
#define HOOKED_SYMBOLS (sizeof hooked_symbols / sizeof hooked_symbols[0])

/* Hash tables with open addressing. An entry is an index of `hooked_symbols` plus 1; 0 is empty. */
#define ROOM 1024
_Static_assert(HOOKED_SYMBOLS * 2 < ROOM, "room for every symbol");
static uint16_t by_name[ROOM];
static uint16_t by_plain[ROOM]; /* the first symbol of that plain name; `next` links the others */
static uint16_t next[HOOKED_SYMBOLS];

/* The driver's own addresses: one name may mean another symbol's function, by version. */
static uint16_t by_address[ROOM];

static uint32_t hash(const char *name) {
    uint32_t value = 2166136261u;
    for (; *name != '\0'; name++) {
        value = (value ^ (unsigned char)*name) * 16777619u;
    }
    return value ^ value >> 15;
}

static void add_plain(uint16_t hooked) {
    for (uint32_t place = hash(hooked_symbols[hooked].plain) % ROOM;; place = (place + 1) % ROOM) {
        if (by_plain[place] == 0) {
            by_plain[place] = (uint16_t)(hooked + 1);
            return;
        }
        uint16_t first = (uint16_t)(by_plain[place] - 1);
        if (strcmp(hooked_symbols[first].plain, hooked_symbols[hooked].plain) == 0) {
            next[hooked] = next[first];
            next[first] = (uint16_t)(hooked + 1);
            return;
        }
    }
}

static void build(void) {
    MUTEX(lock);
    static bool built;
    if (__atomic_load_n(&built, __ATOMIC_ACQUIRE)) {
        return;
    }
    mutex_lock(&lock);
    if (!built) {
        /* A thread of the parent may have been here when this process was forked. */
        memset(by_name, 0, sizeof by_name);
        memset(by_plain, 0, sizeof by_plain);
        memset(next, 0, sizeof next);
        for (uint16_t hooked = 0; hooked < HOOKED_SYMBOLS; hooked++) {
            uint32_t place = hash(driver_names[hooked_symbols[hooked].symbol]) % ROOM;
            while (by_name[place] != 0) {
                place = (place + 1) % ROOM;
            }
            by_name[place] = (uint16_t)(hooked + 1);
            add_plain(hooked);
        }
        __atomic_store_n(&built, true, __ATOMIC_RELEASE);
    }
    mutex_unlock(&lock);
}

static const struct hooked *exported(const char *name) {
    build();
    for (uint32_t place = hash(name) % ROOM; by_name[place] != 0; place = (place + 1) % ROOM) {
        const struct hooked *hooked = &hooked_symbols[by_name[place] - 1];
        if (strcmp(driver_names[hooked->symbol], name) == 0) {
            return hooked;
        }
    }
    return NULL;
}

static uint16_t first_of(const char *plain) {
    build();
    for (uint32_t place = hash(plain) % ROOM; by_plain[place] != 0; place = (place + 1) % ROOM) {
        if (strcmp(hooked_symbols[by_plain[place] - 1].plain, plain) == 0) {
            return by_plain[place];
        }
    }
    return 0;
}

static uint32_t place_of(const void *address) {
    return (uint32_t)((uintptr_t)address * UINT64_C(0x9e3779b97f4a7c15) >> 40) % ROOM;
}

/* Looks up all functions that are hooked, once the driver is there. */
static void build_addresses(void) {
    MUTEX(lock);
    static bool built;
    if (__atomic_load_n(&built, __ATOMIC_ACQUIRE)) {
        return;
    }
    mutex_lock(&lock);
    if (!built) {
        memset(by_address, 0, sizeof by_address);
        for (uint16_t hooked = 0; hooked < HOOKED_SYMBOLS; hooked++) {
            enum driver_symbol symbol = hooked_symbols[hooked].symbol;
            void *address = symbol < DRIVER_FIRST_OF_NVML ? driver_get(symbol) : NULL;
            if (address != NULL) {
                uint32_t place = place_of(address);
                while (by_address[place] != 0) {
                    place = (place + 1) % ROOM;
                }
                by_address[place] = (uint16_t)(hooked + 1);
            }
        }
        __atomic_store_n(&built, true, __ATOMIC_RELEASE);
    }
    mutex_unlock(&lock);
}

static const struct hooked *at(const void *address) {
    build_addresses();
    for (uint32_t place = place_of(address); by_address[place] != 0; place = (place + 1) % ROOM) {
        const struct hooked *hooked = &hooked_symbols[by_address[place] - 1];
        if (driver_get(hooked->symbol) == address) {
            return hooked;
        }
    }
    return NULL;
}

/* Called by dlsym before libc's. Returns our function, or NULL where libc has to answer. */
void *resolve_dlsym(void *handle, const char *name);

DL_EARLY void *resolve_dlsym(void *handle, const char *name) {
    dl_lookup *dlsym = dl_dlsym();
    if (dlsym == NULL || name == NULL || !((name[0] == 'c' && name[1] == 'u') || (name[0] == 'n' && name[1] == 'v'))) {
        return NULL;
    }
    fork_enter();
    const struct hooked *hooked = exported(name);
    /* The default search finds our own export without help. Where nothing is limited, the driver's function serves. */
    if (hooked == NULL || handle == RTLD_DEFAULT || config()->kind == CONFIG_NONE) {
        return NULL;
    }
    void *real = driver_get(hooked->symbol);
    if (real == NULL || (handle != RTLD_NEXT && dlsym(handle, name) != real)) {
        return NULL;
    }
    return exports_entries[hooked->symbol];
}

static bool is_drivers(const char *path) {
    static const char *const names[] = {"libcuda.so", "libcuda.so.1", "libnvidia-ml.so", "libnvidia-ml.so.1"};
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    for (unsigned place = 0; place < sizeof names / sizeof names[0]; place++) {
        if (strcmp(name, names[place]) == 0) {
            return true;
        }
    }
    return false;
}

/* Called by dlmopen before libc's. Preloaded libraries are not in a namespace that a program makes, so the driver is opened in
 * the first one, where its functions are ours. Returns its handle, or NULL where libc has to answer. */
void *resolve_dlmopen(Lmid_t space, const char *path, int mode);

void *resolve_dlmopen(Lmid_t space, const char *path, int mode) {
    dl_find_dlmopen();
    if (space == LM_ID_BASE || path == NULL || !is_drivers(path)) {
        return NULL;
    }
    fork_enter();
    return config()->kind != CONFIG_NONE ? dl_open(path, mode & ~RTLD_GLOBAL) : NULL;
}

/* Whether the address is that of an export. To find out takes long, and programs ask for few functions. */
static bool is_export(const void *address) {
    static const void *known[2][64]; /* those that aren't, and those that are */
    const void **places[] = {&known[0][place_of(address) % 64], &known[1][place_of(address) % 64]};
    for (int named = 0; named < 2; named++) {
        if (__atomic_load_n(places[named], __ATOMIC_RELAXED) == address) {
            return named == 1;
        }
    }
    Dl_info found;
    bool named = dl_describe(address, &found) && found.dli_saddr == address;
    __atomic_store_n(places[named], address, __ATOMIC_RELAXED);
    return named;
}

/* In later versions a name may have a second meaning that the list doesn't have. */
#define LISTED_UNTIL 13050

/* Returns our function in place of the one that cuGetProcAddress found, or that one itself. */
static void *replace(const char *plain, void *answer, int version, uint64_t flags) {
    const struct hooked *best = at(answer);
    if (best != NULL) {
        return exports_entries[best->symbol];
    }
    uint16_t first = first_of(plain);
    if (first == 0) {
        return answer;
    }
    enum variant wanted = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM ? VARIANT_PER_THREAD : VARIANT_LEGACY;
    for (uint16_t place = first; place != 0; place = next[place - 1]) {
        const struct hooked *hooked = &hooked_symbols[place - 1];
        bool later = best == NULL || hooked->since > best->since;
        bool nearer = best != NULL && hooked->since == best->since && hooked->variant == wanted;
        if (hooked->since <= version && (later || nearer)) {
            best = hooked;
        }
    }
    /* The answer is none of the functions that are hooked. It is another export, which is left alone, or a function
     * without a name: the version tells which, as far as the list knows versions. */
    if (version > LISTED_UNTIL || is_export(answer)) {
        return answer;
    }
    return best != NULL ? exports_entries[best->symbol] : answer;
}

CUresult hook_cuGetProcAddress(__typeof__(&cuGetProcAddress) driver, const char *symbol, void **function,
                               int cuda_version, uint64_t flags) {
    CUresult result = driver(symbol, function, cuda_version, flags);
    if (result == CUDA_SUCCESS && *function != NULL) {
        *function = replace(symbol, *function, cuda_version, flags);
    }
    return result;
}

CUresult hook_cuGetProcAddress_v2(__typeof__(&cuGetProcAddress_v2) driver, const char *symbol, void **function,
                                  int cuda_version, uint64_t flags, CUdriverProcAddressQueryResult *symbol_status) {
    CUresult result = driver(symbol, function, cuda_version, flags, symbol_status);
    if (result == CUDA_SUCCESS && *function != NULL) {
        *function = replace(symbol, *function, cuda_version, flags);
    }
    return result;
}
