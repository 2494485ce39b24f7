/* Looks one entry point up through one door and prints whose function comes out: the file name of its object. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/cuda.h"

#define THREADS 8

static const char *owner(void *function) {
    Dl_info found;
    if (function == NULL) {
        return "nobody";
    }
    if (dladdr(function, &found) == 0) {
        return "unknown";
    }
    const char *slash = strrchr(found.dli_fname, '/');
    return slash != NULL ? slash + 1 : found.dli_fname;
}

static void *library(void) {
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (cuda == NULL) {
        exit(3);
    }
    return cuda;
}

static void *in_thread(void *name) {
    return dlsym(library(), name);
}

static void *by_threads(char *name) {
    pthread_t threads[THREADS];
    void *first = NULL, *found;
    for (int index = 0; index < THREADS; index++) {
        pthread_create(&threads[index], NULL, in_thread, name);
    }
    for (int index = 0; index < THREADS; index++) {
        pthread_join(threads[index], &found);
        if (index > 0 && found != first) {
            exit(4);
        }
        first = found;
    }
    return first;
}

static void *by_proc_address(const char *name, int version, unsigned long flags) {
    void *found = NULL;
    __typeof__(&cuGetProcAddress) get = (__typeof__(get))dlsym(library(), "cuGetProcAddress");
    return get(name, &found, version, flags) == CUDA_SUCCESS ? found : NULL;
}

static void *by_proc_address_v2(const char *name, int version, unsigned long flags) {
    void *found = NULL;
    CUdriverProcAddressQueryResult status;
    __typeof__(&cuGetProcAddress_v2) get = (__typeof__(get))dlsym(library(), "cuGetProcAddress_v2");
    return get(name, &found, version, flags, &status) == CUDA_SUCCESS ? found : NULL;
}

static void *through(const char *door, char *name, int version, unsigned long flags) {
    if (strcmp(door, "dlsym") == 0) {
        return dlsym(library(), name);
    }
    if (strcmp(door, "dlmopen") == 0) {
        return dlsym(dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW), name);
    }
    if (strcmp(door, "twice") == 0) {
        return dlsym(library(), name) == dlsym(library(), name) ? dlsym(library(), name) : NULL;
    }
    if (strcmp(door, "next") == 0) {
        return dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != NULL ? dlsym(RTLD_NEXT, name) : NULL;
    }
    if (strcmp(door, "library") == 0) {
        void *(*wrapper)(const char *) = (void *(*)(const char *))dlsym(RTLD_DEFAULT, "wrapper_next");
        return wrapper != NULL && library() != NULL ? wrapper(name) : NULL;
    }
    if (strcmp(door, "default") == 0) {
        return dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != NULL ? dlsym(RTLD_DEFAULT, name) : NULL;
    }
    if (strcmp(door, "threads") == 0) {
        return by_threads(name);
    }
    if (strcmp(door, "proc") == 0) {
        return by_proc_address(name, version, flags);
    }
    if (strcmp(door, "proc_v2") == 0) {
        return by_proc_address_v2(name, version, flags);
    }
#ifdef LINKED
    if (strcmp(door, "linked") == 0) {
        return (void *)cuMemAlloc_v2;
    }
    if (strcmp(door, "linked-unknown") == 0) {
        return (void *)cuDriverGetVersion;
    }
#endif
    exit(2);
}

int main(int count, char **words) {
    if (count < 3) {
        return 2;
    }
    int version = count > 3 ? atoi(words[3]) : 12000;
    unsigned long flags = count > 4 ? strtoul(words[4], NULL, 10) : 0;
    void *found = through(words[1], words[2], version, flags);
    Dl_info place;
    const char *name = found != NULL && dladdr(found, &place) != 0 && place.dli_saddr == found ? place.dli_sname : "?";
    printf("%s %s\n", owner(found), name);
    return 0;
}
