/* Launches kernels of a known length through one function: `launches WHAT COUNT NS`. Says `done` once the GPU has done them,
 * with the number of kernels, and ends at a line of its input. A WHAT that isn't a door is one of the stories at the end.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/cuda.h"

static const char text[] = ".version 8.0\n.target sm_50\n.address_size 64\n"
                           ".visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }\n";

static CUcontext context;
static CUmodule module;
static CUfunction spin;
static CUstream stream;
static unsigned long long ns;
static long count;
static void *parameters[] = {&ns};

static void must(CUresult result, int line) {
    if (result == CUDA_SUCCESS) {
        return;
    }
    fprintf(stderr, "line %d: the driver answers %d\n", line, (int)result);
    exit(1);
}
#define MUST(call) must(call, __LINE__)

static void say(const char *what, long number) {
    printf("%s %ld\n", what, number);
    fflush(stdout);
}

static void load(void) {
    MUST(cuModuleLoadData(&module, text));
    MUST(cuModuleGetFunction(&spin, module, "unigpu_spin"));
}

/* ---- Doors: one launch each. */

static void plain(void) {
    MUST(cuLaunchKernel(spin, 1, 1, 1, 32, 1, 1, 0, stream, parameters, NULL));
}

static void twin(void) {
    MUST(cuLaunchKernel_ptsz(spin, 1, 1, 1, 32, 1, 1, 0, NULL, parameters, NULL));
}

static CUlaunchConfig config = {1, 1, 1, 32, 1, 1, 0, NULL, NULL, 0};

static void ex(void) {
    config.stream = stream;
    MUST(cuLaunchKernelEx(&config, spin, parameters, NULL));
}

static void ex_twin(void) {
    config.stream = NULL;
    MUST(cuLaunchKernelEx_ptsz(&config, spin, parameters, NULL));
}

static void cooperative(void) {
    MUST(cuLaunchCooperativeKernel(spin, 1, 1, 1, 32, 1, 1, 0, stream, parameters));
}

static void cooperative_twin(void) {
    MUST(cuLaunchCooperativeKernel_ptsz(spin, 1, 1, 1, 32, 1, 1, 0, NULL, parameters));
}

/* A library's kernel belongs to no context: its handle is launched as a function's. */
static void kernel(void) {
    static CUkernel handle;
    CUlibrary library;
    if (handle == NULL) {
        MUST(cuLibraryLoadData(&library, text, NULL, NULL, 0, NULL, NULL, 0));
        MUST(cuLibraryGetKernel(&handle, library, "unigpu_spin"));
    }
    MUST(cuLaunchKernel((CUfunction)handle, 1, 1, 1, 32, 1, 1, 0, stream, parameters, NULL));
}

static CUgraphExec ready(void) {
    CUgraph graph;
    CUgraphExec exec;
    CUgraphNode node;
    CUDA_KERNEL_NODE_PARAMS wanted = {.function = spin,
                                      .grid_x = 1,
                                      .grid_y = 1,
                                      .grid_z = 1,
                                      .block_x = 32,
                                      .block_y = 1,
                                      .block_z = 1,
                                      .parameters = parameters};
    MUST(cuGraphCreate(&graph, 0));
    MUST(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &wanted));
    MUST(cuGraphInstantiateWithFlags(&exec, graph, 0));
    return exec;
}

static void graph(void) {
    static CUgraphExec exec;
    if (exec == NULL) {
        exec = ready();
    }
    MUST(cuGraphLaunch(exec, stream));
}

static void graph_twin(void) {
    static CUgraphExec exec;
    if (exec == NULL) {
        exec = ready();
    }
    MUST(cuGraphLaunch_ptsz(exec, NULL));
}

static const struct door {
    const char *name;
    void (*launch)(void);
} ways[] = {
    {"plain", plain},
    {"plain-twin", twin},
    {"ex", ex},
    {"ex-twin", ex_twin},
    {"cooperative", cooperative},
    {"cooperative-twin", cooperative_twin},
    {"kernel", kernel},
    {"graph", graph},
    {"graph-twin", graph_twin},
};

static void many(void (*launch)(void), long times) {
    for (long time = 0; time < times; time++) {
        launch();
    }
    MUST(cuCtxSynchronize());
}

/* ---- Stories. */

static void *in_thread(void *launch) {
    MUST(cuCtxSetCurrent(context));
    many(plain, count);
    return launch;
}

/* All launches are another thread's, which has ended when `done` is said. */
static void thread(void) {
    pthread_t other;
    pthread_create(&other, NULL, in_thread, NULL);
    pthread_join(other, NULL);
}

/* A synchronisation of the context would spoil the capture. */
static void *beside(void *launch) {
    MUST(cuCtxSetCurrent(context));
    for (long time = 0; time < count; time++) {
        plain();
    }
    return launch;
}

/* Another thread launches while this one captures. */
static void capture(void) {
    pthread_t other;
    CUstream captured;
    CUgraph made;
    size_t nodes = 0;
    MUST(cuStreamCreate(&captured, CU_STREAM_NON_BLOCKING));
    many(plain, 1);
    MUST(cuStreamBeginCapture_v2(captured, CU_STREAM_CAPTURE_MODE_GLOBAL));
    pthread_create(&other, NULL, beside, NULL);
    for (int launch = 0; launch < 5; launch++) {
        MUST(cuLaunchKernel(spin, 1, 1, 1, 32, 1, 1, 0, captured, parameters, NULL));
    }
    MUST(cuStreamEndCapture(captured, &made));
    pthread_join(other, NULL);
    MUST(cuCtxSynchronize());
    MUST(cuGraphGetNodes(made, NULL, &nodes));
    say("nodes", (long)nodes);
    count++;
}

/* More captures at once than a table of fixed size would have room for; then launches that are to be measured. */
static void many_captures(void) {
    enum { CAPTURES = 1000 };
    static CUstream captured[CAPTURES];
    CUgraph made;
    for (int place = 0; place < CAPTURES; place++) {
        MUST(cuStreamCreate(&captured[place], CU_STREAM_NON_BLOCKING));
        MUST(cuStreamBeginCapture_v2(captured[place], CU_STREAM_CAPTURE_MODE_RELAXED));
    }
    for (int place = 0; place < CAPTURES; place++) {
        MUST(cuStreamEndCapture(captured[place], &made));
        MUST(cuGraphDestroy(made));
        MUST(cuStreamDestroy_v2(captured[place]));
    }
    many(plain, count);
}

/* A child that has the parent's credit and samples in its memory, and none of its own. */
static void child(void) {
    many(plain, count);
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        exit(cuLaunchKernel(spin, 1, 1, 1, 32, 1, 1, 0, stream, parameters, NULL) == CUDA_SUCCESS);
    }
    waitpid(pid, &status, 0);
    if (status != 0) {
        exit(4);
    }
    many(plain, count);
    count *= 2;
}

/* Ten times as long from the second half on, behind the same handle. */
static void reload(void) {
    many(plain, count);
    CUfunction before = spin;
    MUST(cuModuleUnload(module));
    load();
    say("same", before == spin);
    ns *= 10;
    for (int launch = 0; launch < 20; launch++) {
        many(plain, 1);
    }
    many(plain, count);
    say("launches", 2 * count + 20);
    count = count * 11 + 200;
}

static void update(void) {
    CUgraphExec exec = ready();
    CUgraph other;
    CUgraphNode node;
    CUDA_KERNEL_NODE_PARAMS wanted = {.function = spin,
                                      .grid_x = 1,
                                      .grid_y = 1,
                                      .grid_z = 1,
                                      .block_x = 32,
                                      .block_y = 1,
                                      .block_z = 1,
                                      .parameters = parameters};
    CUgraphExecUpdateResultInfo info;
    for (long time = 0; time < count; time++) {
        MUST(cuGraphLaunch(exec, stream));
    }
    MUST(cuCtxSynchronize());
    ns *= 10;
    MUST(cuGraphCreate(&other, 0));
    MUST(cuGraphAddKernelNode_v2(&node, other, NULL, 0, &wanted));
    MUST(cuGraphExecUpdate_v2(exec, other, &info));
    MUST(cuGraphLaunch(exec, stream));
    MUST(cuCtxSynchronize());
    for (long time = 0; time < count; time++) {
        MUST(cuGraphLaunch(exec, stream));
    }
    MUST(cuCtxSynchronize());
    say("launches", 2 * count + 1);
    count = count * 11 + 10;
}

/* Launches that fail cost nothing. */
static void failing(void) {
    for (long time = 0; time < count; time++) {
        if (cuLaunchKernel(spin, 0, 1, 1, 32, 1, 1, 0, stream, parameters, NULL) == CUDA_SUCCESS) {
            exit(1);
        }
    }
    count = 0;
}

/* A context that ends while launches in it are measured, again and again. */
static void contexts(void) {
    for (long time = 0; time < count; time++) {
        CUcontext own;
        MUST(cuCtxCreate_v2(&own, 0, 0));
        load();
        CUstream before = stream;
        stream = NULL;
        plain();
        plain();
        if (time % 2 == 0) {
            MUST(cuCtxSynchronize());
        }
        stream = before;
        MUST(cuCtxDestroy_v2(own));
    }
}

/* Whether the first of its kind was done when the second was let go on. */
static void second(void) {
    CUevent first;
    MUST(cuEventCreate(&first, CU_EVENT_DEFAULT));
    plain();
    MUST(cuEventRecord(first, stream));
    plain();
    say("over", cuEventQuery(first) == CUDA_SUCCESS);
    MUST(cuCtxSynchronize());
    count = 2;
}

static const struct door stories[] = {
    {"second", second},
    {"thread", thread},
    {"capture", capture},
    {"child", child},
    {"many-captures", many_captures},
    {"reload", reload},
    {"update", update},
    {"failing", failing},
    {"contexts", contexts},
};

int main(int words, char **word) {
    if (words != 4) {
        return 2;
    }
    count = atol(word[2]);
    ns = strtoull(word[3], NULL, 10);
    MUST(cuInit(0));
    MUST(cuDevicePrimaryCtxRetain(&context, 0));
    MUST(cuCtxSetCurrent(context));
    MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    load();
    for (size_t place = 0; place < sizeof ways / sizeof *ways; place++) {
        if (strcmp(ways[place].name, word[1]) == 0) {
            many(ways[place].launch, count);
        }
    }
    for (size_t place = 0; place < sizeof stories / sizeof *stories; place++) {
        if (strcmp(stories[place].name, word[1]) == 0) {
            stories[place].launch();
        }
    }
    say("done", count);
    return getchar() == EOF;
}
