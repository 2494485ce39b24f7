/* Threads that allocate, free, ask and look up at once, in one process: `threads THREADS ROUNDS`; then a fork does. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/cuda.h"

#define HELD 16

static CUcontext context;
static long rounds;
static void *cuda;

static __typeof__(&cuMemAlloc_v2) take;
static __typeof__(&cuMemFree_v2) drop;
static __typeof__(&cuMemGetInfo_v2) info;
static __typeof__(&cuCtxSetCurrent) set_current;

static void *work(void *number) {
    unsigned seed = (unsigned)(size_t)number;
    CUdeviceptr held[HELD] = {0};
    if (set_current(context) != CUDA_SUCCESS) {
        return "can't set the context";
    }
    for (long round = 0; round < rounds; round++) {
        int place = rand_r(&seed) % HELD;
        size_t free_bytes, total;
        if (held[place] != 0) {
            if (drop(held[place]) != CUDA_SUCCESS) {
                return "can't free";
            }
            held[place] = 0;
        } else {
            CUresult result = take(&held[place], 1 + (size_t)rand_r(&seed) % (5 << 20));
            if (result == CUDA_ERROR_OUT_OF_MEMORY) {
                held[place] = 0;
            } else if (result != CUDA_SUCCESS) {
                return "can't allocate";
            }
        }
        if (round % 64 == 0 && (info(&free_bytes, &total) != CUDA_SUCCESS || free_bytes > total)) {
            return "sees nonsense";
        }
        if (round % 64 == 1 && dlsym(cuda, "cuMemAlloc_v2") != (void *)take) {
            return "finds another function";
        }
    }
    for (int place = 0; place < HELD; place++) {
        if (held[place] != 0 && drop(held[place]) != CUDA_SUCCESS) {
            return "can't free in the end";
        }
    }
    return NULL;
}

int main(int count, char **words) {
    pthread_t threads[64];
    int number = count == 3 ? atoi(words[1]) : 0;
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (cuda == NULL || number < 1 || number > 64) {
        return 2;
    }
    rounds = atol(words[2]);
    __typeof__(&cuInit) init = (__typeof__(init))dlsym(cuda, "cuInit");
    __typeof__(&cuDevicePrimaryCtxRetain) retain = (__typeof__(retain))dlsym(cuda, "cuDevicePrimaryCtxRetain");
    __typeof__(&cuDevicePrimaryCtxRelease_v2) release =
        (__typeof__(release))dlsym(cuda, "cuDevicePrimaryCtxRelease_v2");
    take = (__typeof__(take))dlsym(cuda, "cuMemAlloc_v2");
    drop = (__typeof__(drop))dlsym(cuda, "cuMemFree_v2");
    info = (__typeof__(info))dlsym(cuda, "cuMemGetInfo_v2");
    set_current = (__typeof__(set_current))dlsym(cuda, "cuCtxSetCurrent");
    if (init(0) != CUDA_SUCCESS || retain(&context, 0) != CUDA_SUCCESS) {
        return 3;
    }
    for (int index = 0; index < number; index++) {
        pthread_create(&threads[index], NULL, work, (void *)(size_t)(index + 1));
    }
    int failed = 0;
    for (int index = 0; index < number; index++) {
        void *why = NULL;
        pthread_join(threads[index], &why);
        if (why != NULL) {
            fprintf(stderr, "thread %d %s\n", index, (char *)why);
            failed = 1;
        }
    }
    /* A child can't use the parent's context, and says so instead of hanging. */
    CUdeviceptr pointer;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        _exit(take(&pointer, 1 << 20) == CUDA_SUCCESS ? 1 : 0);
    }
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "the child ended with %d\n", status);
        failed = 1;
    }
    return failed || release(0) != CUDA_SUCCESS;
}
