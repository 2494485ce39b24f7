/* A signal handler allocates while its thread is in a call of the driver that waits for the GPU: `signals CALL`, where CALL is
 * `stream`, `context` or `launch`. Prints how many pieces of 256 MiB it got, the answer to the next one, and the MiB that are
 * then free, and free again once it has given all back. */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "abi/cuda.h"

#define MIB ((size_t)1 << 20)
#define MOST 32

static CUcontext context;
static CUstream stream;
static CUdeviceptr memory[MOST];
static CUresult answer;
static int count;
static volatile bool waits, handled;
static const char *call;

static void need(CUresult result, const char *what) {
    if (result != CUDA_SUCCESS) {
        printf("%s: %d\n", what, (int)result);
        fflush(stdout);
        _exit(3);
    }
}
#define NEED(expression) need(expression, #expression)

static void allocate(int number) {
    (void)number;
    while (count < MOST && answer == CUDA_SUCCESS) {
        answer = cuMemAlloc_v2(&memory[count], 256 * MIB);
        count += answer == CUDA_SUCCESS;
    }
    handled = true;
}

static void *wait_in_driver(void *unused) {
    NEED(cuCtxSetCurrent(context));
    waits = true;
    NEED(strcmp(call, "context") == 0 ? cuCtxSynchronize() : cuStreamSynchronize(stream));
    return unused;
}

static size_t free_mib(void) {
    size_t free_bytes, total;
    NEED(cuMemGetInfo_v2(&free_bytes, &total));
    return free_bytes / MIB;
}

int main(int words, char **word) {
    pthread_t thread;
    uint32_t *host;
    CUdeviceptr address;
    call = words > 1 ? word[1] : "stream";
    NEED(cuInit(0));
    NEED(cuDevicePrimaryCtxRetain(&context, 0));
    NEED(cuCtxSetCurrent(context));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuMemHostAlloc((void **)&host, 4096, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP));
    *host = 0;
    NEED(cuMemHostGetDevicePointer_v2(&address, host, 0));
    NEED(cuStreamWaitValue32(stream, address, 1, CU_STREAM_WAIT_VALUE_GEQ));
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = allocate, .sa_flags = SA_RESTART}, NULL);
    pthread_create(&thread, NULL, wait_in_driver, NULL);
    while (!waits) {
        sched_yield();
    }
    alarm(30);
    /* Until the thread is where it waits: the driver then sleeps. */
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    pthread_kill(thread, SIGUSR1);
    while (!handled) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    __atomic_store_n(host, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    printf("%d %d %zu", count, (int)answer, free_mib());
    for (int place = 0; place < count; place++) {
        NEED(cuMemFree_v2(memory[place]));
    }
    printf(" %zu\n", free_mib());
    return 0;
}
