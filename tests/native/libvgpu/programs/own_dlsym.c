/* An interposed library with a dlsym and a dlmopen of its own, as profilers have: it finds the next ones with dlvsym. */
#include <dlfcn.h>

#if defined(__x86_64__)
#define FIRST_DLSYM "GLIBC_2.2.5"
#define FIRST_DLMOPEN "GLIBC_2.3.4"
#else
#define FIRST_DLSYM "GLIBC_2.17"
#define FIRST_DLMOPEN "GLIBC_2.17"
#endif

typedef void *look_up(void *handle, const char *name);
typedef void *opener(Lmid_t space, const char *path, int mode);

void *dlsym(void *restrict handle, const char *restrict name) {
    const char *version = VERSION_LATER ? "GLIBC_2.34" : FIRST_DLSYM;
    return ((look_up *)dlvsym(RTLD_NEXT, "dlsym", version))(handle, name);
}

void *dlmopen(Lmid_t space, const char *path, int mode) {
    const char *version = VERSION_LATER ? "GLIBC_2.34" : FIRST_DLMOPEN;
    return ((opener *)dlvsym(RTLD_NEXT, "dlmopen", version))(space, path, mode);
}
