/* Raises a limit of a context step by step until it is refused: `context_limits stack|printf|malloc BYTES`.
 *
 * After each line it waits for one on its input: `full COUNT ERROR`, `again COUNT ERROR` once it was lowered and raised as
 * far again, `absurd COUNT ERROR` once more was asked for than there is of anything.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/cuda.h"

static void say(const char *what, long count, CUresult error) {
    const char *name = NULL;
    cuGetErrorName(error, &name);
    printf("%s %ld %s\n", what, count, name);
    fflush(stdout);
    if (getchar() == EOF) {
        exit(0);
    }
}

int main(int count, char **words) {
    CUcontext context;
    size_t first, now;
    if (count != 3) {
        return 2;
    }
    CUlimit limit = strcmp(words[1], "stack") == 0    ? CU_LIMIT_STACK_SIZE
                    : strcmp(words[1], "printf") == 0 ? CU_LIMIT_PRINTF_FIFO_SIZE
                                                      : CU_LIMIT_MALLOC_HEAP_SIZE;
    size_t by = strtoull(words[2], NULL, 10);
    if (cuInit(0) != CUDA_SUCCESS || cuCtxCreate_v2(&context, 0, 0) != CUDA_SUCCESS ||
        cuCtxGetLimit(&first, limit) != CUDA_SUCCESS) {
        return 3;
    }
    long steps = 0;
    CUresult result;
    while ((result = cuCtxSetLimit(limit, first + (size_t)(steps + 1) * by)) == CUDA_SUCCESS) {
        steps++;
    }
    if (cuCtxGetLimit(&now, limit) != CUDA_SUCCESS || now != first + (size_t)steps * by) {
        return 4;
    }
    say("full", steps, result);
    result = cuCtxSetLimit(limit, first);
    say("again", steps, result == CUDA_SUCCESS ? cuCtxSetLimit(limit, now) : result);
    say("absurd", steps, cuCtxSetLimit(limit, SIZE_MAX));
    return cuCtxDestroy_v2(context) == CUDA_SUCCESS ? 0 : 4;
}
