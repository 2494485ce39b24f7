/* Compares every answer of cuGetProcAddress with the driver's own, for all plain names, versions and flags of the list:
 * prints each answer that is the driver's address of a hooked function, or that is wrongly replaced; then how many were
 * compared and how many of them replaced. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/cuda.h"

typedef void *look_up(void *handle, const char *name);
typedef __typeof__(&cuGetProcAddress) door;
typedef __typeof__(&cuGetProcAddress_v2) later_door;

static const char *const plain_names[] = {
#define CUDA_ALIAS(plain, since, symbol) #plain,
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) #plain,
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) #plain,
#include "abi/symbols.def"
#undef CUDA_ALIAS
#undef CUDA_API
#undef CUDA_API_PT
};

static const int versions[] = {
#define CUDA_ALIAS(plain, since, symbol) since,
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) since,
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) since,
#include "abi/symbols.def"
#undef CUDA_ALIAS
#undef CUDA_API
#undef CUDA_API_PT
};

static const struct {
    const char *symbol;
    bool hooked;
} exports[] = {
#define HOOKED_PASS false
#define HOOKED_HOOK true
#define HOOKED_LAUNCH true
#define CUDA_API(tag, plain, since, symbol, parameters, arguments) {#symbol, HOOKED_##tag},
#define CUDA_API_PT(tag, plain, since, symbol, suffix, parameters, arguments) \
    {#symbol, HOOKED_##tag}, {#symbol #suffix, HOOKED_##tag},
#include "abi/symbols.def"
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* What our library should answer where the driver answers `bare`. */
static void *expected(look_up *look, void *driver, void *ours, void *bare) {
    for (size_t place = 0; place < COUNT(exports); place++) {
        if (exports[place].hooked && look(driver, exports[place].symbol) == bare) {
            return look(ours, exports[place].symbol);
        }
    }
    return bare;
}

static int by_number(const void *left, const void *right) {
    return *(const int *)left - *(const int *)right;
}

static long compared, replaced, wrong;

static void compare(look_up *look, void *driver, void *ours, const char *plain, int version, uint64_t flags) {
    static const char *last_plain;
    static void *last_bare, *last_expected;
    void *bare[2] = {NULL}, *found[2] = {NULL};
    CUdriverProcAddressQueryResult status[2];
    CUresult results[2][2];
    door doors[2] = {(door)look(driver, "cuGetProcAddress"), (door)look(ours, "cuGetProcAddress")};
    later_door later[2] = {(later_door)look(driver, "cuGetProcAddress_v2"),
                           (later_door)look(ours, "cuGetProcAddress_v2")};
    results[0][0] = doors[0](plain, &bare[0], version, flags);
    results[0][1] = doors[1](plain, &found[0], version, flags);
    results[1][0] = later[0](plain, &bare[1], version, flags, &status[0]);
    results[1][1] = later[1](plain, &found[1], version, flags, &status[1]);
    for (int place = 0; place < 2; place++) {
        if (last_plain != plain || last_bare != bare[place]) {
            last_plain = plain;
            last_bare = bare[place];
            last_expected = bare[place] != NULL ? expected(look, driver, ours, bare[place]) : NULL;
        }
        compared++;
        replaced += last_expected != bare[place];
        if (found[place] != last_expected || results[place][0] != results[place][1] || status[0] != status[1]) {
            wrong++;
            printf("%s %d %d\n", plain, version, (int)flags);
        }
    }
}

int main(void) {
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    look_up *look = (look_up *)dlvsym(libc, "dlsym", "GLIBC_2.34");
    void *driver = dlopen("libcuda.so.1", RTLD_NOW), *ours = dlopen(getenv("LD_PRELOAD"), RTLD_NOW | RTLD_NOLOAD);
    static int sorted[COUNT(versions) + 3];
    if (look == NULL || driver == NULL || ours == NULL) {
        return 2;
    }
    memcpy(sorted, versions, sizeof versions);
    sorted[COUNT(versions)] = 1000;
    sorted[COUNT(versions) + 1] = 12080;
    sorted[COUNT(versions) + 2] = 13050;
    qsort(sorted, COUNT(sorted), sizeof sorted[0], by_number);
    for (size_t name = 0; name < COUNT(plain_names); name++) {
        for (size_t place = 0; place < COUNT(sorted); place++) {
            for (uint64_t flags = 0; (place == 0 || sorted[place] != sorted[place - 1]) && flags <= 3; flags++) {
                compare(look, driver, ours, plain_names[name], sorted[place], flags);
            }
        }
    }
    printf("compared %ld replaced %ld wrong %ld\n", compared, replaced, wrong);
    return 0;
}
