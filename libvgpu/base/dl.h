/* The dynamic linker's own functions, not those of another interposed library, and not under names that only a newer
 * libc has. */
#ifndef UNIGPU_BASE_DL_H
#define UNIGPU_BASE_DL_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>

/* Sanitizers call dlsym before their own instrumentation is ready. */
#define DL_EARLY __attribute__((no_sanitize("address", "thread", "undefined")))

/* Returns libc's dlsym; NULL where there is none (a program without libdl on an old libc). */
typedef void *dl_lookup(void *handle, const char *name);
dl_lookup *dl_dlsym(void);

/* Finds libc's dlmopen, for dlsym.S, where there is one. */
void dl_find_dlmopen(void);

/* Returns a handle of the library if the process has loaded it, else NULL. */
void *dl_loaded(const char *library);

/* Returns a handle of the library, which it loads if need be; NULL where that fails. */
void *dl_load(const char *library);

/* Calls dlopen; NULL where that fails. */
void *dl_open(const char *path, int mode);

/* Calls dladdr: finds the exported function at the address. */
bool dl_describe(const void *address, Dl_info *found);

/* Finds where the library lies that the address is in; false where it is in none. */
bool dl_extent(const void *address, uintptr_t *begin, uintptr_t *end);

/* Whether libvgpu itself was loaded from a folder under that path. */
bool dl_loaded_from(const char *folder);

#endif
