/* The doors by which a program finds entry points without linking them: dlsym and cuGetProcAddress. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "ground.h"
#include "hooks.h"
#include "linker.h"
#include "lock.h"

enum variant { VARIANT_LEGACY, VARIANT_PER_THREAD };

struct door {
    const char *plain; /* what cuGetProcAddress calls it */
    int since;
    enum variant variant;
    enum driver_symbol symbol;
};

#define DOOR_PASS(plain, since, variant, symbol)
#define DOOR_HOOK(plain, since, variant, symbol) {plain, since, variant, DRIVER_##symbol},
#define DOOR_LAUNCH(plain, since, variant, symbol) DOOR_HOOK(plain, since, variant, symbol)
static const struct door doors[] = {
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) DOOR_##tag(#plain, since, VARIANT_LEGACY, symbol)
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    DOOR_##tag(#plain, since, VARIANT_LEGACY, symbol) DOOR_##tag(#plain, since, VARIANT_PER_THREAD, symbol##suffix)
#define NVML_API(tag, symbol, parameters, arguments) DOOR_##tag(#symbol, 0, VARIANT_LEGACY, symbol)
#include "abi/symbols.def"
#include "abi/nvml_symbols.def"
};
#define DOORS (sizeof doors / sizeof doors[0])

/* Hash tables with open addressing: places of `doors`, one higher; 0 is empty. */
#define ROOM 1024
_Static_assert(DOORS * 2 < ROOM, "room for every door");
static uint16_t by_name[ROOM];
static uint16_t by_plain[ROOM]; /* the first door of that plain name; the others follow it in `next` */
static uint16_t next[DOORS];

static uint32_t hash(const char *name) {
    uint32_t value = 2166136261u;
    for (; *name != '\0'; name++) {
        value = (value ^ (unsigned char)*name) * 16777619u;
    }
    return value ^ value >> 15;
}

static void add_plain(uint16_t door) {
    for (uint32_t place = hash(doors[door].plain) % ROOM;; place = (place + 1) % ROOM) {
        if (by_plain[place] == 0) {
            by_plain[place] = (uint16_t)(door + 1);
            return;
        }
        uint16_t first = (uint16_t)(by_plain[place] - 1);
        if (strcmp(doors[first].plain, doors[door].plain) == 0) {
            next[door] = next[first];
            next[first] = (uint16_t)(door + 1);
            return;
        }
    }
}

static void build(void) {
    static struct lock lock;
    static bool built;
    if (__atomic_load_n(&built, __ATOMIC_ACQUIRE)) {
        return;
    }
    lock_take(&lock);
    if (!built) {
        for (uint16_t door = 0; door < DOORS; door++) {
            uint32_t place = hash(driver_names[doors[door].symbol]) % ROOM;
            while (by_name[place] != 0) {
                place = (place + 1) % ROOM;
            }
            by_name[place] = (uint16_t)(door + 1);
            add_plain(door);
        }
        __atomic_store_n(&built, true, __ATOMIC_RELEASE);
    }
    lock_give(&lock);
}

static const struct door *exported(const char *name) {
    build();
    for (uint32_t place = hash(name) % ROOM; by_name[place] != 0; place = (place + 1) % ROOM) {
        const struct door *door = &doors[by_name[place] - 1];
        if (strcmp(driver_names[door->symbol], name) == 0) {
            return door;
        }
    }
    return NULL;
}

static uint16_t first_of(const char *plain) {
    build();
    for (uint32_t place = hash(plain) % ROOM; by_plain[place] != 0; place = (place + 1) % ROOM) {
        if (strcmp(doors[by_plain[place] - 1].plain, plain) == 0) {
            return by_plain[place];
        }
    }
    return 0;
}

/* Called by dlsym before libc's: our function, or NULL where libc is to answer as if we weren't there. */
void *doors_dlsym(void *handle, const char *name);

LINKER_EARLY void *doors_dlsym(void *handle, const char *name) {
    linker_look_up *dlsym = linker_dlsym();
    if (dlsym == NULL || name == NULL || !((name[0] == 'c' && name[1] == 'u') || (name[0] == 'n' && name[1] == 'v'))) {
        return NULL;
    }
    const struct door *door = exported(name);
    /* The default search finds our own export by itself; and where nothing is limited, the driver's own will do. */
    if (door == NULL || handle == RTLD_DEFAULT || ground()->kind == GROUND_FREE) {
        return NULL;
    }
    void *real = driver_get(door->symbol);
    if (real == NULL || (handle != RTLD_NEXT && dlsym(handle, name) != real)) {
        return NULL;
    }
    return hooks_entries[door->symbol];
}

/* Our function for what the driver answered to cuGetProcAddress, or that answer itself. */
static void *replace(const char *plain, void *answer, int version, uint64_t flags) {
    uint16_t first = first_of(plain);
    if (first == 0) {
        return answer;
    }
    const struct door *best = NULL;
    enum variant wanted = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM ? VARIANT_PER_THREAD : VARIANT_LEGACY;
    for (uint16_t place = first; place != 0; place = next[place - 1]) {
        const struct door *door = &doors[place - 1];
        if (driver_get(door->symbol) == answer) {
            return hooks_entries[door->symbol];
        }
        bool later = best == NULL || door->since > best->since;
        bool nearer = best != NULL && door->since == best->since && door->variant == wanted;
        if (door->since <= version && (later || nearer)) {
            best = door;
        }
    }
    /* Not one that we hook: another export, which is left alone, or a function without a name, which the version tells. */
    Dl_info found;
    if (linker_describe(answer, &found) && found.dli_saddr == answer) {
        return answer;
    }
    return best != NULL ? hooks_entries[best->symbol] : answer;
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
