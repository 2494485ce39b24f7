#include "work.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* clang-format off */
#define CALLS(X) \
    X(cuInit) X(cuDeviceGetAttribute) X(cuDevicePrimaryCtxRetain) X(cuCtxSetCurrent) \
    X(cuModuleLoadData) X(cuModuleGetFunction) X(cuOccupancyMaxActiveBlocksPerMultiprocessor) \
    X(cuStreamCreate) X(cuStreamSynchronize) X(cuStreamSynchronize_ptsz) X(cuEventCreate) \
    X(cuEventRecord) X(cuEventElapsedTime) X(cuLaunchKernel) X(cuLaunchKernel_ptsz) \
    X(cuLaunchKernelEx) X(cuLaunchCooperativeKernel) X(cuGraphCreate) X(cuGraphAddKernelNode_v2) \
    X(cuGraphInstantiateWithFlags) X(cuGraphLaunch)
/* clang-format on */

#define IMAGE                                         \
    ".version 8.0\n.target sm_60\n.address_size 64\n" \
    ".visible .entry unigpu_work(.param .u64 nanoseconds) { ret; }\n"

static struct {
#define DECLARED(name) __typeof__(&name) name;
    CALLS(DECLARED)
} driver;

static CUcontext context;
static CUfunction function;
static uint64_t wave_ns;

uint64_t work_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

void work_sleep_until(uint64_t ns) {
    struct timespec until = {(time_t)(ns / 1000000000U), (long)(ns % 1000000000U)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
        continue;
    }
}

static void *found(void *library, const char *name) {
    void *call = dlsym(library, name);
    if (call == NULL) {
        fprintf(stderr, "the driver has no %s\n", name);
        exit(1);
    }
    return call;
}

/* The kernel takes its time for each wave of blocks that the GPU holds at once. */
static CUresult share_among_waves(const struct work *work) {
    int each, multiprocessors;
    CUresult status = driver.cuDeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0);
    if (status == CUDA_SUCCESS) {
        status = driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(&each, function, (int)work->block, 0);
    }
    if (status != CUDA_SUCCESS) {
        return status;
    }
    unsigned wave = (unsigned)(each * multiprocessors);
    wave_ns = work->ns / ((work->grid + wave - 1) / wave);
    return CUDA_SUCCESS;
}

CUresult work_open(const struct work *work) {
    CUmodule module;
    CUresult status;
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
#define FOUND(name) driver.name = (__typeof__(&name))found(library, #name);
    CALLS(FOUND)
    if ((status = driver.cuInit(0)) != CUDA_SUCCESS ||
        (status = driver.cuDevicePrimaryCtxRetain(&context, 0)) != CUDA_SUCCESS ||
        (status = driver.cuCtxSetCurrent(context)) != CUDA_SUCCESS ||
        (status = driver.cuModuleLoadData(&module, IMAGE)) != CUDA_SUCCESS) {
        return status;
    }
    status = driver.cuModuleGetFunction(&function, module, "unigpu_work");
    return status != CUDA_SUCCESS ? status : share_among_waves(work);
}

/* A chain: each node needs the one before. */
static CUresult open_graph(struct work_lane *lane) {
    const struct work *work = lane->work;
    void *parameters[] = {&wave_ns};
    CUDA_KERNEL_NODE_PARAMS kernel = {function, work->grid, 1, 1, work->block, 1, 1, 0, parameters, NULL, NULL, NULL};
    CUgraphNode node, before = NULL;
    CUgraph graph;
    CUresult status = driver.cuGraphCreate(&graph, 0);
    for (unsigned place = 0; place < work->nodes && status == CUDA_SUCCESS; place++, before = node) {
        status = driver.cuGraphAddKernelNode_v2(&node, graph, &before, before != NULL, &kernel);
    }
    return status != CUDA_SUCCESS ? status : driver.cuGraphInstantiateWithFlags(&lane->graph, graph, 0);
}

CUresult lane_open(struct work_lane *lane, const struct work *work, unsigned streams) {
    *lane = (struct work_lane){.work = work, .count = streams};
    CUresult status = driver.cuCtxSetCurrent(context);
    /* A thread's own default stream needs no other. */
    for (unsigned place = 0; place < streams && work->call != WORK_PER_THREAD && status == CUDA_SUCCESS; place++) {
        status = driver.cuStreamCreate(&lane->streams[place], CU_STREAM_NON_BLOCKING);
    }
    return status == CUDA_SUCCESS && work->call == WORK_GRAPH ? open_graph(lane) : status;
}

CUresult lane_launch(struct work_lane *lane) {
    const struct work *work = lane->work;
    void *parameters[] = {&wave_ns};
    CUstream stream = lane->streams[lane->next++ % lane->count];
    switch (work->call) {
    case WORK_EX: {
        CUlaunchConfig shape = {work->grid, 1, 1, work->block, 1, 1, 0, stream, NULL, 0};
        return driver.cuLaunchKernelEx(&shape, function, parameters, NULL);
    }
    case WORK_COOPERATIVE:
        return driver.cuLaunchCooperativeKernel(function, work->grid, 1, 1, work->block, 1, 1, 0, stream, parameters);
    case WORK_PER_THREAD:
        return driver.cuLaunchKernel_ptsz(function, work->grid, 1, 1, work->block, 1, 1, 0, NULL, parameters, NULL);
    case WORK_GRAPH: return driver.cuGraphLaunch(lane->graph, stream);
    default: return driver.cuLaunchKernel(function, work->grid, 1, 1, work->block, 1, 1, 0, stream, parameters, NULL);
    }
}

CUresult lane_wait(struct work_lane *lane) {
    if (lane->work->call == WORK_PER_THREAD) {
        return driver.cuStreamSynchronize_ptsz(NULL);
    }
    CUresult status = CUDA_SUCCESS;
    for (unsigned place = 0; place < lane->count && status == CUDA_SUCCESS; place++) {
        status = driver.cuStreamSynchronize(lane->streams[place]);
    }
    return status;
}

CUresult lane_mark(struct work_lane *lane, bool end) {
    CUresult status =
        lane->marks[end] != NULL ? CUDA_SUCCESS : driver.cuEventCreate(&lane->marks[end], CU_EVENT_DEFAULT);
    return status != CUDA_SUCCESS ? status : driver.cuEventRecord(lane->marks[end], lane->streams[0]);
}

uint64_t lane_elapsed(struct work_lane *lane) {
    float milliseconds;
    if (driver.cuEventElapsedTime(&milliseconds, lane->marks[false], lane->marks[true]) != CUDA_SUCCESS) {
        return 0;
    }
    return (uint64_t)((double)milliseconds * 1e6);
}
