/* Everything at once: `stress captures MODE COUNT` captures so often, in mode 0 global, 1 of the thread, 2 relaxed, 3 all in
 * turn; `stress queue COUNT` launches a graph so often into a queue that is full. Beside that other threads launch, allocate
 * and free in every way, ask about memory, and make and destroy contexts with memory in them. Says what failed. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/cuda.h"
#include "abi/nvml.h"

#define PIECE (2u << 20)
#define IN_ONE 20
#define STUCK_S 60

static const char text[] = ".version 8.0\n.target sm_50\n.address_size 64\n"
                           ".visible .entry unigpu_spin(.param .u64 nanoseconds) { ret; }\n";

static CUcontext context;
static CUfunction spin;
static unsigned long long ns = 3000;
static void *parameters[] = {&ns};
static bool ended;
static long done[5]; /* rounds of each thread */

static void must(CUresult result, int line) {
    if (result != CUDA_SUCCESS) {
        printf("line %d: %d\n", line, (int)result);
        fflush(stdout);
        _exit(3);
    }
}
#define MUST(call) must(call, __LINE__)

/* As allocators of frameworks do: calls that a capture of another thread would forbid are allowed to this one. */
static void relax(void) {
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    MUST(cuThreadExchangeStreamCaptureMode(&mode));
}

static CUstream new_stream(void) {
    CUstream stream;
    MUST(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    return stream;
}

static void launch(unsigned turn, CUstream stream) {
    MUST(cuLaunchKernel(spin, 1 + turn % 5000, 1, 1, 1, 1, 1, 0, stream, parameters, NULL));
}

static void allocate(unsigned turn, CUstream stream) {
    CUdeviceptr memory;
    CUmemoryPool pool;
    CUmemPoolProps pool_property = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                    .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};
    MUST(cuMemAlloc_v2(&memory, 1000 + turn % 7 * PIECE));
    MUST(cuMemFree_v2(memory));
    MUST(cuMemAllocAsync(&memory, PIECE, stream));
    MUST(cuMemFreeAsync(memory, stream));
    if (turn % 50 == 0) {
        MUST(cuMemPoolCreate(&pool, &pool_property));
        MUST(cuMemAllocFromPoolAsync(&memory, PIECE, pool, stream));
        MUST(cuMemFreeAsync(memory, stream));
        MUST(cuMemPoolDestroy(pool));
    }
}

static void ask(unsigned turn, CUstream stream) {
    static nvmlDevice_t device;
    size_t free_bytes, total;
    nvmlMemory_t memory;
    unsigned count = 0;
    CUstreamCaptureStatus status;
    if (device == NULL &&
        (nvmlInit_v2() != NVML_SUCCESS || nvmlDeviceGetHandleByIndex_v2(0, &device) != NVML_SUCCESS)) {
        _exit(4);
    }
    MUST(cuMemGetInfo_v2(&free_bytes, &total));
    MUST(cuStreamIsCapturing(stream, &status));
    if (turn % 10 == 0 && (nvmlDeviceGetMemoryInfo(device, &memory) != NVML_SUCCESS || memory.total != total)) {
        printf("NVML says %llu, cuMemGetInfo %zu\n", memory.total, total);
        _exit(4);
    }
    nvmlDeviceGetComputeRunningProcesses_v3(device, &count, NULL);
}

/* Contexts with memory and work, on the GPU's neighbour in the driver's list of contexts. */
static void tear_down(unsigned turn, CUstream stream) {
    CUcontext own;
    CUdeviceptr memory[3];
    CUmodule module;
    CUfunction function;
    (void)stream;
    MUST(cuCtxCreate_v2(&own, 0, 0));
    MUST(cuModuleLoadData(&module, text));
    MUST(cuModuleGetFunction(&function, module, "unigpu_spin"));
    CUstream work = new_stream();
    for (int place = 0; place < 3; place++) {
        MUST(cuMemAlloc_v2(&memory[place], 100 + (size_t)place * PIECE));
        MUST(cuLaunchKernel(function, 1 + turn % 100, 1, 1, 1, 1, 1, 0, work, parameters, NULL));
    }
    MUST(cuCtxDestroy_v2(own));
    MUST(cuCtxSetCurrent(context));
}

static void (*const rounds[])(unsigned turn, CUstream stream) = {launch, launch, allocate, ask, tear_down};
#define THREADS (sizeof rounds / sizeof rounds[0])

static void *beside(void *number) {
    size_t which = (size_t)number;
    MUST(cuCtxSetCurrent(context));
    relax();
    CUstream stream = new_stream();
    while (!__atomic_load_n(&ended, __ATOMIC_RELAXED)) {
        rounds[which]((unsigned)done[which], stream);
        __atomic_fetch_add(&done[which], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Whether every thread has had its turn. */
static bool all_had_turns(void) {
    for (size_t which = 0; which < THREADS; which++) {
        if (__atomic_load_n(&done[which], __ATOMIC_RELAXED) == 0) {
            return false;
        }
    }
    return true;
}

static long captures(int mode, long count) {
    long spoiled = 0;
    CUstream stream = new_stream();
    for (long turn = 0; turn < count || !all_had_turns(); turn++) {
        CUgraph graph = NULL;
        CUstreamCaptureMode wanted = (CUstreamCaptureMode)(mode < 3 ? mode : (int)(turn % 3));
        CUresult result = cuStreamBeginCapture_v2(stream, wanted);
        for (int place = 0; place < IN_ONE && result == CUDA_SUCCESS; place++) {
            result = cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL);
        }
        spoiled += cuStreamEndCapture(stream, &graph) != CUDA_SUCCESS || result != CUDA_SUCCESS;
        if (graph != NULL) {
            MUST(cuGraphDestroy(graph));
        }
        if (turn % 100 == 0) {
            alarm(STUCK_S);
        }
    }
    return spoiled;
}

/* A graph that allocates, and whose kernel takes longer than its launch: the queue is full from some launch on. */
static void queue(long count) {
    CUgraph graph;
    CUgraphNode nodes[3];
    CUgraphExec graph_exec;
    unsigned long long long_ns = 40000;
    void *long_parameters[] = {&long_ns};
    CUDA_MEM_ALLOC_NODE_PARAMS wanted = {
        .pool = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}},
        .bytes = PIECE};
    CUDA_KERNEL_NODE_PARAMS kernel = {.function = spin,
                                      .grid_x = 1,
                                      .grid_y = 1,
                                      .grid_z = 1,
                                      .block_x = 1,
                                      .block_y = 1,
                                      .block_z = 1,
                                      .parameters = long_parameters};
    MUST(cuGraphCreate(&graph, 0));
    MUST(cuGraphAddMemAllocNode(&nodes[0], graph, NULL, 0, &wanted));
    MUST(cuGraphAddKernelNode_v2(&nodes[1], graph, &nodes[0], 1, &kernel));
    MUST(cuGraphAddMemFreeNode(&nodes[2], graph, &nodes[1], 1, wanted.pointer));
    MUST(cuGraphInstantiateWithFlags(&graph_exec, graph, 0));
    CUstream stream = new_stream();
    for (long turn = 0; turn < count; turn++) {
        MUST(cuGraphLaunch(graph_exec, stream));
        if (turn % 100 == 0) {
            alarm(STUCK_S);
        }
    }
    MUST(cuStreamSynchronize(stream));
}

int main(int words, char **word) {
    pthread_t threads[THREADS];
    CUmodule module;
    bool capturing = words == 4 && strcmp(word[1], "captures") == 0;
    if (!capturing && (words != 3 || strcmp(word[1], "queue") != 0)) {
        return 2;
    }
    long spoiled = 0, least = 1;
    MUST(cuInit(0));
    MUST(cuCtxCreate_v2(&context, 0, 0));
    MUST(cuModuleLoadData(&module, text));
    MUST(cuModuleGetFunction(&spin, module, "unigpu_spin"));
    alarm(STUCK_S);
    for (size_t which = 0; which < THREADS; which++) {
        pthread_create(&threads[which], NULL, beside, (void *)which);
    }
    if (capturing) {
        spoiled = captures(atoi(word[2]), atol(word[3]));
    } else {
        queue(atol(word[2]));
    }
    __atomic_store_n(&ended, true, __ATOMIC_RELAXED);
    for (size_t which = 0; which < THREADS; which++) {
        pthread_join(threads[which], NULL);
        least = done[which] > 0 ? least : 0;
    }
    printf("spoiled %ld all %ld launched %ld allocated %ld asked %ld ended %ld\n", spoiled, least, done[0] + done[1],
           done[2], done[3], done[4]);
    return 0;
}
