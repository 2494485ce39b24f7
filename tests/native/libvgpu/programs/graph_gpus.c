/* `graph_gpus COUNT NS chain|parallel|child`: launches so often a graph of two kernels of NS on each of two GPUs: all in a
 * chain, or a chain for each GPU, or each chain a child graph behind the other. Says `done COUNT`, and ends at a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/cuda.h"

#define MUST(call)                                                                      \
    do {                                                                                \
        CUresult answer = call;                                                         \
        if (answer != CUDA_SUCCESS) {                                                   \
            fprintf(stderr, "line %d: the driver answers %d\n", __LINE__, (int)answer); \
            exit(1);                                                                    \
        }                                                                               \
    } while (0)

enum { GPUS = 2 };

static const char text[] = ".version 8.0\n.target sm_50\n.address_size 64\n"
                           ".visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }\n";

static unsigned long long ns;
static CUcontext contexts[GPUS];
static CUfunction spins[GPUS];

static CUgraphNode add(CUgraph graph, int gpu, CUgraphNode before) {
    void *parameters[] = {&ns};
    CUDA_KERNEL_NODE_PARAMS kernel = {spins[gpu], 1, 1, 1, 1, 1, 1, 0, parameters, NULL, NULL, contexts[gpu]};
    CUgraphNode node;
    MUST(cuGraphAddKernelNode_v2(&node, graph, &before, before != NULL, &kernel));
    return node;
}

static void add_two(CUgraph graph, int gpu) {
    add(graph, gpu, add(graph, gpu, NULL));
}

static void fill(CUgraph graph, const char *mode) {
    if (strcmp(mode, "chain") == 0) {
        CUgraphNode last = NULL;
        for (int place = 0; place < 2 * GPUS; place++) {
            last = add(graph, place % GPUS, last);
        }
    } else if (strcmp(mode, "parallel") == 0) {
        for (int gpu = 0; gpu < GPUS; gpu++) {
            add_two(graph, gpu);
        }
    } else {
        CUgraphNode last = NULL;
        for (int gpu = 0; gpu < GPUS; gpu++) {
            CUgraph child;
            MUST(cuGraphCreate(&child, 0));
            add_two(child, gpu);
            MUST(cuGraphAddChildGraphNode(&last, graph, &last, last != NULL, child));
        }
    }
}

int main(int words, char **word) {
    if (words != 4) {
        return 2;
    }
    CUmodule module;
    CUstream stream;
    CUgraph graph;
    CUgraphExec made;
    ns = strtoull(word[2], NULL, 10);
    MUST(cuInit(0));
    for (int gpu = 0; gpu < GPUS; gpu++) {
        MUST(cuDevicePrimaryCtxRetain(&contexts[gpu], gpu));
        MUST(cuCtxSetCurrent(contexts[gpu]));
        MUST(cuModuleLoadData(&module, text));
        MUST(cuModuleGetFunction(&spins[gpu], module, "unigpu_spin"));
    }
    MUST(cuCtxSetCurrent(contexts[0]));
    MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    MUST(cuGraphCreate(&graph, 0));
    fill(graph, word[3]);
    MUST(cuGraphInstantiateWithFlags(&made, graph, 0));
    for (long launch = 0; launch < atol(word[1]); launch++) {
        MUST(cuGraphLaunch(made, stream));
        MUST(cuStreamSynchronize(stream));
    }
    printf("done %s\n", word[1]);
    fflush(stdout);
    MUST(cuGraphExecDestroy(made));
    return getchar() == EOF;
}
