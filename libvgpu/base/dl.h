/* The dynamic linker's own functions, past whoever else is interposed, and without the newer versions of their names. */
#ifndef UNIGPU_BASE_DL_H
#define UNIGPU_BASE_DL_H

#include <dlfcn.h>
#include <stdbool.h>

/* Sanitizers look functions up before they are ready to be called themselves. */
#define DL_EARLY __attribute__((no_sanitize("address", "thread", "undefined")))

/* libc's dlsym; NULL where there is none (a program without libdl on an old libc). */
typedef void *dl_lookup(void *handle, const char *name);
dl_lookup *dl_dlsym(void);

/* A handle of the library if it is in the process already, else NULL. */
void *dl_loaded(const char *library);

/* A handle of the library, loaded if need be, else NULL. */
void *dl_load(const char *library);

/* dladdr: what exported function the address belongs to. */
bool dl_describe(const void *address, Dl_info *found);

/* Whether libvgpu itself was loaded from under that folder. */
bool dl_loaded_from(const char *folder);

#endif
