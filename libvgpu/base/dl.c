#include "libvgpu/base/dl.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

/* Until glibc 2.34 these functions were in libdl, under the oldest version of the machine's symbols. The references are
 * weak: a program without libdl never calls them, and must start all the same. */
#if defined(__x86_64__)
#define OLDEST "GLIBC_2.2.5"
#define OLDEST_DLMOPEN "GLIBC_2.3.4"
#elif defined(__aarch64__)
#define OLDEST "GLIBC_2.17"
#define OLDEST_DLMOPEN OLDEST
#else
#error "libvgpu knows x86-64 and AArch64"
#endif
__asm__(".symver dlvsym, dlvsym@" OLDEST);
__asm__(".symver dlopen, dlopen@" OLDEST);
__asm__(".symver dladdr, dladdr@" OLDEST);
#pragma weak dlvsym
#pragma weak dlopen
#pragma weak dladdr

/* Read by dlsym.S. */
dl_lookup *dl_found_dlsym;

DL_EARLY dl_lookup *dl_dlsym(void) {
    dl_lookup *found = __atomic_load_n(&dl_found_dlsym, __ATOMIC_RELAXED);
    if (found != NULL) {
        return found;
    }
    found = (dl_lookup *)dlvsym(RTLD_NEXT, "dlsym", OLDEST);
    if (found == NULL) {
        found = (dl_lookup *)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    }
    __atomic_store_n(&dl_found_dlsym, found, __ATOMIC_RELAXED);
    return found;
}

void *dl_found_dlmopen;

void dl_find_dlmopen(void) {
    if (__atomic_load_n(&dl_found_dlmopen, __ATOMIC_RELAXED) != NULL || dlvsym == NULL) {
        return;
    }
    void *found = dlvsym(RTLD_NEXT, "dlmopen", OLDEST_DLMOPEN);
    if (found == NULL) {
        found = dlvsym(RTLD_NEXT, "dlmopen", "GLIBC_2.34");
    }
    __atomic_store_n(&dl_found_dlmopen, found, __ATOMIC_RELAXED);
}

void *dl_loaded(const char *library) {
    return dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
}

void *dl_load(const char *library) {
    return dlopen(library, RTLD_LAZY | RTLD_LOCAL);
}

void *dl_open(const char *path, int mode) {
    return dlopen(path, mode);
}

bool dl_describe(const void *address, Dl_info *found) {
    return dladdr(address, found) != 0;
}

struct extent {
    uintptr_t address, begin, end;
};

static int extent_of(struct dl_phdr_info *object, size_t size, void *data) {
    struct extent *wanted = data;
    uintptr_t begin = UINTPTR_MAX, end = 0;
    (void)size;
    for (unsigned place = 0; place < object->dlpi_phnum; place++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[place];
        uintptr_t first = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD) {
            begin = first < begin ? first : begin;
            end = first + part->p_memsz > end ? first + part->p_memsz : end;
        }
    }
    if (wanted->address < begin || wanted->address >= end) {
        return 0;
    }
    wanted->begin = begin;
    wanted->end = end;
    return 1;
}

bool dl_extent(const void *address, uintptr_t *begin, uintptr_t *end) {
    struct extent wanted = {.address = (uintptr_t)address};
    bool found = dl_iterate_phdr(extent_of, &wanted) == 1;
    *begin = wanted.begin;
    *end = wanted.end;
    return found;
}

bool dl_loaded_from(const char *folder) {
    Dl_info found;
    return dl_describe((void *)dl_loaded_from, &found) && found.dli_fname != NULL &&
           strncmp(found.dli_fname, folder, strlen(folder)) == 0;
}
