/* Fills the share from a pool, destroys the pool, and frees what lives on: `destroyed_pool "at once"|"in a stream"|before`;
 * with `before`, all is freed behind a host function that hasn't returned when the pool is destroyed.
 *
 * After each line it waits for one on its input. `destroyed ERROR ERROR`: what destroying says, and a further linear
 * allocation. `one ERROR ERROR` and `none ERROR ERROR`, with so many left: what freeing says, and a linear allocation.
 */
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/cuda.h"

#define EACH ((size_t)64 << 20)
#define MOST 100

static CUdeviceptr taken[MOST];
static sem_t may_end;

static const char *name_of(CUresult error) {
    const char *name = NULL;
    cuGetErrorName(error, &name);
    return name;
}

static void hold(void *data) {
    (void)data;
    sem_wait(&may_end);
}

static CUresult try_linear(void) {
    CUdeviceptr pointer;
    CUresult result = cuMemAlloc_v2(&pointer, EACH);
    return result == CUDA_SUCCESS ? cuMemFree_v2(pointer) : result;
}

static void say(const char *what, CUresult first) {
    printf("%s %s %s\n", what, name_of(first), name_of(try_linear()));
    fflush(stdout);
    if (getchar() == EOF) {
        exit(0);
    }
}

int main(int words_count, char **words) {
    CUcontext context;
    CUmemoryPool pool;
    CUstream stream;
    CUmemPoolProps properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}};
    if (words_count != 2 || cuInit(0) != CUDA_SUCCESS || cuCtxCreate_v2(&context, 0, 0) != CUDA_SUCCESS ||
        cuMemPoolCreate(&pool, &properties) != CUDA_SUCCESS ||
        cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) {
        return 3;
    }
    bool before = strcmp(words[1], "before") == 0, in_stream = strcmp(words[1], "in a stream") == 0;
    int count = 0;
    while (count < MOST && cuMemAllocFromPoolAsync(&taken[count], EACH, pool, stream) == CUDA_SUCCESS) {
        count++;
    }
    if (cuStreamSynchronize(stream) != CUDA_SUCCESS || count < 4 || count == MOST) {
        return 4;
    }
    sem_init(&may_end, 0, 0);
    if (before && cuLaunchHostFunc(stream, hold, NULL) != CUDA_SUCCESS) {
        return 4;
    }
    while (before && count > 0) {
        if (cuMemFreeAsync(taken[--count], stream) != CUDA_SUCCESS) {
            return 4;
        }
    }
    CUresult result = cuMemPoolDestroy(pool);
    say("destroyed", result);
    while (count > 1 && result == CUDA_SUCCESS) {
        result = in_stream ? cuMemFreeAsync(taken[--count], stream) : cuMemFree_v2(taken[--count]);
    }
    if (!before) {
        result = result == CUDA_SUCCESS ? cuStreamSynchronize(stream) : result;
        say("one", result);
        result = in_stream ? cuMemFreeAsync(taken[0], stream) : cuMemFree_v2(taken[0]);
    }
    sem_post(&may_end);
    result = result == CUDA_SUCCESS && (before || in_stream) ? cuStreamSynchronize(stream) : result;
    say("none", result);
    return cuCtxDestroy_v2(context) == CUDA_SUCCESS ? 0 : 4;
}
