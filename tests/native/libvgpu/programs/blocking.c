/* One thread is inside a driver call that waits for the GPU; the GPU waits for a word of memory, which the main thread writes
 * after it has made calls of its own: `blocking HELD`. Without libvgpu it ends.
 *
 * HELD is the call that waits: `launch`, of a graph that allocates, into a full queue; `destroy` and `reset`, of a context
 * with work; `free`, of memory in such a context. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "abi/cuda.h"

#define PIECE (2u << 20)
#define LAUNCHES 3000
#define MODULE ".version 7.0\n.target sm_50\n.address_size 64\n.visible .entry nothing() { ret; }\n"

static const char *held;
static CUcontext context;
static CUgraphExec graph_exec;
static CUdeviceptr word;
static bool ready;
static long launches;

static const CUmemAllocationProp property = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                             .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};
static const CUmemPoolProps pool_property = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                             .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};

static void need(CUresult result, const char *what) {
    if (result != CUDA_SUCCESS) {
        printf("%s: %d\n", what, (int)result);
        fflush(stdout);
        _exit(3);
    }
}
#define NEED(call) need(call, #call)

static CUstream waiting_stream(void) {
    CUstream stream;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuStreamWaitValue32(stream, word, 1, CU_STREAM_WAIT_VALUE_GEQ));
    return stream;
}

static void make_graph(void) {
    CUgraph graph;
    CUgraphNode node, end;
    CUDA_MEM_ALLOC_NODE_PARAMS wanted = {.pool = pool_property, .bytes = PIECE};
    wanted.pool.location.id = 1;
    NEED(cuGraphCreate(&graph, 0));
    NEED(cuGraphAddMemAllocNode(&node, graph, NULL, 0, &wanted));
    NEED(cuGraphAddMemFreeNode(&end, graph, &node, 1, wanted.pointer));
    NEED(cuGraphInstantiateWithFlags(&graph_exec, graph, 0));
}

/* On the second GPU: the driver itself lets some calls on the same GPU wait. */
static void *waits(void *unused) {
    CUcontext own;
    CUdeviceptr memory;
    (void)unused;
    if (strcmp(held, "launch") == 0) {
        NEED(cuCtxCreate_v2(&own, 0, 1));
        make_graph();
        CUstream stream = waiting_stream();
        __atomic_store_n(&ready, true, __ATOMIC_RELEASE);
        for (int turn = 0; turn < LAUNCHES; turn++) {
            NEED(cuGraphLaunch(graph_exec, stream));
            __atomic_add_fetch(&launches, 1, __ATOMIC_RELAXED);
        }
        NEED(cuStreamSynchronize(stream));
        return NULL;
    }
    bool primary = strcmp(held, "reset") == 0;
    if (primary) {
        NEED(cuDevicePrimaryCtxRetain(&own, 1));
    } else {
        NEED(cuCtxCreate_v2(&own, 0, 1));
    }
    NEED(cuCtxSetCurrent(own));
    NEED(cuMemAlloc_v2(&memory, PIECE));
    waiting_stream();
    __atomic_store_n(&ready, true, __ATOMIC_RELEASE);
    if (primary) {
        NEED(cuDevicePrimaryCtxReset_v2(1));
    } else if (strcmp(held, "free") == 0) {
        NEED(cuMemFree_v2(memory));
    } else {
        NEED(cuCtxDestroy_v2(own));
    }
    return NULL;
}

/* Every family of calls that share notes with the call that waits. */
static void calls(void) {
    size_t free_bytes, total;
    CUdeviceptr memory, range;
    CUstream stream;
    CUmemoryPool pool;
    CUmemGenericAllocationHandle handle, again;
    CUcontext other, current;
    CUmodule module;
    CUarray array;
    CUDA_ARRAY_DESCRIPTOR form = {.width = 1000, .height = 1000, .format = CU_AD_FORMAT_FLOAT, .channels = 1};
    NEED(cuMemGetInfo_v2(&free_bytes, &total));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuMemAllocAsync(&memory, PIECE, stream));
    NEED(cuMemFreeAsync(memory, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemPoolCreate(&pool, &pool_property));
    NEED(cuMemAllocFromPoolAsync(&memory, PIECE, pool, stream));
    NEED(cuMemFreeAsync(memory, stream));
    NEED(cuStreamSynchronize(stream));
    NEED(cuMemPoolTrimTo(pool, 0));
    NEED(cuMemPoolDestroy(pool));
    NEED(cuMemAlloc_v2(&memory, PIECE));
    NEED(cuArrayCreate_v2(&array, &form));
    NEED(cuMemCreate(&handle, PIECE, &property, 0));
    NEED(cuMemAddressReserve(&range, PIECE, 0, 0, 0));
    NEED(cuMemMap(range, PIECE, 0, handle, 0));
    NEED(cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(range + 1000)));
    NEED(cuMemRelease(again));
    NEED(cuMemUnmap(range, PIECE));
    NEED(cuMemRelease(handle));
    NEED(cuModuleLoadData(&module, MODULE));
    NEED(cuModuleUnload(module));
    NEED(cuCtxCreate_v2(&other, 0, 0));
    NEED(cuCtxSetLimit(CU_LIMIT_PRINTF_FIFO_SIZE, 4 << 20));
    NEED(cuCtxDestroy_v2(other));
    NEED(cuDevicePrimaryCtxRetain(&other, 0));
    NEED(cuDevicePrimaryCtxRelease_v2(0));
    NEED(cuCtxSetCurrent(context));
    NEED(cuCtxGetCurrent(&current));
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Until the other thread is in the call that waits: until it gets no further. */
static void await_block(void) {
    long seen = -1;
    while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
        pause_ms(1);
    }
    do {
        seen = __atomic_load_n(&launches, __ATOMIC_RELAXED);
        pause_ms(200);
    } while (__atomic_load_n(&launches, __ATOMIC_RELAXED) != seen);
}

int main(int count, char **words) {
    pthread_t thread;
    uint32_t *host;
    if (count < 2) {
        return 2;
    }
    held = words[1];
    NEED(cuInit(0));
    NEED(cuDevicePrimaryCtxRetain(&context, 0));
    NEED(cuCtxSetCurrent(context));
    NEED(cuMemHostAlloc((void **)&host, 4096, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP));
    *host = 0;
    NEED(cuMemHostGetDevicePointer_v2(&word, host, 0));
    pthread_create(&thread, NULL, waits, NULL);
    await_block();
    alarm(20);
    calls();
    __atomic_store_n(host, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    puts("ended");
    return 0;
}
