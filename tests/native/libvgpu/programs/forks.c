/* Forks while other threads are inside the driver: `forks FORKS HOW`.
 *
 * `used`: the parent has used CUDA, so each call of a child is answered with CUDA_ERROR_NOT_INITIALIZED, at once: a child
 * that takes 10 s is killed by its alarm.
 * `fresh`: threads look functions up and ask NVML while this process, which never calls cuInit, forks: the child starts
 * CUDA itself, and is limited.
 * `workers`: the children start CUDA, take 900 MiB each, and live at the same time. Prints how many of them could. */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/cuda.h"
#include "abi/nvml.h"

#define PIECE (2u << 20)
#define KINDS 5

static bool stop;
static CUcontext context;
static nvmlDevice_t device_of_nvml;
static CUdeviceptr linear, range;
static CUmemGenericAllocationHandle physical;
static CUmemoryPool pool;
static CUgraphExec graph_exec;
static CUstream stream;

static const CUmemAllocationProp property = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                             .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};
static const CUmemPoolProps pool_property = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                             .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};

static void need(CUresult result, const char *what) {
    if (result != CUDA_SUCCESS) {
        printf("%s: %d\n", what, (int)result);
        exit(3);
    }
}
#define NEED(call) need(call, #call)

static void round_of(size_t kind, CUdeviceptr mapped) {
    CUcontext made;
    CUdeviceptr taken;
    CUmemGenericAllocationHandle handle;
    CUmemoryPool other;
    CUstream own;
    size_t free_bytes, total;
    switch (kind) {
    case 0:
        if (cuCtxCreate_v2(&made, 0, 0) == CUDA_SUCCESS) {
            cuCtxDestroy_v2(made);
        }
        cuCtxSetCurrent(context);
        break;
    case 1:
        if (cuMemCreate(&handle, PIECE, &property, 0) == CUDA_SUCCESS) {
            if (cuMemMap(mapped, PIECE, 0, handle, 0) == CUDA_SUCCESS) {
                cuMemUnmap(mapped, PIECE);
            }
            cuMemRelease(handle);
        }
        break;
    case 2:
        if (cuMemAlloc_v2(&taken, 1000) == CUDA_SUCCESS) {
            cuMemFree_v2(taken);
        }
        break;
    case 3:
        if (cuMemPoolCreate(&other, &pool_property) == CUDA_SUCCESS) {
            cuMemPoolDestroy(other);
        }
        cuMemGetInfo_v2(&free_bytes, &total);
        break;
    default:
        if (cuStreamCreate(&own, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS) {
            if (cuMemAllocAsync(&taken, PIECE, own) == CUDA_SUCCESS) {
                cuMemFreeAsync(taken, own);
            }
            cuGraphLaunch(graph_exec, own);
            cuStreamSynchronize(own);
            cuStreamDestroy_v2(own);
        }
    }
}

static void *work(void *kind) {
    CUdeviceptr mapped = 0;
    cuCtxSetCurrent(context);
    NEED(cuMemAddressReserve(&mapped, PIECE, 0, 0, 0));
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        round_of((size_t)kind, mapped);
    }
    return NULL;
}

static void prepare(void) {
    CUgraph graph;
    CUgraphNode node, end;
    CUDA_MEM_ALLOC_NODE_PARAMS wanted = {.pool = pool_property, .bytes = PIECE};
    NEED(cuInit(0));
    NEED(cuDevicePrimaryCtxRetain(&context, 0));
    NEED(cuCtxSetCurrent(context));
    NEED(cuMemAlloc_v2(&linear, 4 * PIECE));
    NEED(cuMemCreate(&physical, PIECE, &property, 0));
    NEED(cuMemAddressReserve(&range, PIECE, 0, 0, 0));
    NEED(cuMemMap(range, PIECE, 0, physical, 0));
    NEED(cuMemPoolCreate(&pool, &pool_property));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuGraphCreate(&graph, 0));
    NEED(cuGraphAddMemAllocNode(&node, graph, NULL, 0, &wanted));
    NEED(cuGraphAddMemFreeNode(&end, graph, &node, 1, wanted.pointer));
    NEED(cuGraphInstantiateWithFlags(&graph_exec, graph, 0));
}

/* Every call that takes a lock or reads a table in the parent. The number of the first that answers otherwise, or 0. */
static int calls(void) {
    CUdeviceptr taken;
    CUmemGenericAllocationHandle handle;
    CUmemoryPool other;
    CUcontext made;
    CUmodule module;
    size_t free_bytes, total;
    const CUresult answers[] = {
        cuMemAlloc_v2(&taken, 1000),
        cuMemFree_v2(linear),
        cuMemAllocManaged(&taken, PIECE, CU_MEM_ATTACH_GLOBAL),
        cuMemGetInfo_v2(&free_bytes, &total),
        cuMemUnmap(range, PIECE),
        cuMemRelease(physical),
        cuMemRetainAllocationHandle(&handle, (void *)(uintptr_t)range),
        cuMemCreate(&handle, PIECE, &property, 0),
        cuMemPoolCreate(&other, &pool_property),
        cuMemPoolTrimTo(pool, 0),
        cuMemPoolDestroy(pool),
        cuMemAllocAsync(&taken, PIECE, stream),
        cuGraphLaunch(graph_exec, stream),
        cuGraphUpload(graph_exec, stream),
        cuGraphExecDestroy(graph_exec),
        cuStreamSynchronize(stream),
        cuStreamDestroy_v2(stream),
        cuCtxSynchronize(),
        cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 4096),
        cuModuleLoadData(&module, "nothing"),
        cuCtxCreate_v2(&made, 0, 0),
        cuCtxDestroy_v2(context),
        cuDevicePrimaryCtxRetain(&made, 0),
        cuDevicePrimaryCtxRelease_v2(0),
        cuDevicePrimaryCtxReset_v2(0),
    };
    for (size_t index = 0; index < sizeof answers / sizeof answers[0]; index++) {
        if (answers[index] != CUDA_ERROR_NOT_INITIALIZED) {
            return (int)index + 1;
        }
    }
    return 0;
}

static void *look_up(void *unused) {
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        nvmlMemory_t memory;
        unsigned count = 0;
        void *library = dlopen("libcuda.so.1", RTLD_NOW), *found;
        CUdriverProcAddressQueryResult status;
        dlsym(library, "cuMemAlloc_v2");
        cuGetProcAddress_v2("cuMemAlloc", &found, 12000, 0, &status);
        nvmlDeviceGetMemoryInfo(device_of_nvml, &memory);
        nvmlDeviceGetComputeRunningProcesses_v3(device_of_nvml, &count, NULL);
        dlclose(library);
    }
    return NULL;
}

/* In a child whose parent never started CUDA: refused beyond the limit, and not before. */
static int starts_itself(void) {
    CUdeviceptr taken;
    nvmlMemory_t memory;
    NEED(cuInit(0));
    NEED(cuDevicePrimaryCtxRetain(&context, 0));
    NEED(cuCtxSetCurrent(context));
    CUresult small = cuMemAlloc_v2(&taken, PIECE), large = cuMemAlloc_v2(&taken, (size_t)3 << 30);
    nvmlReturn_t asked = nvmlDeviceGetMemoryInfo(device_of_nvml, &memory);
    return small == CUDA_SUCCESS && large == CUDA_ERROR_OUT_OF_MEMORY && asked == NVML_SUCCESS &&
                   memory.total == (2ull << 30)
               ? 0
               : 1;
}

static int workers(long forks) {
    int done[2], go[2], fits = 0;
    char answer;
    if (pipe(done) != 0 || pipe(go) != 0) {
        return 3;
    }
    for (long index = 0; index < forks; index++) {
        if (fork() == 0) {
            CUdeviceptr taken;
            close(go[1]);
            NEED(cuInit(0));
            NEED(cuDevicePrimaryCtxRetain(&context, 0));
            NEED(cuCtxSetCurrent(context));
            answer = cuMemAlloc_v2(&taken, (size_t)900 << 20) == CUDA_SUCCESS;
            _exit(write(done[1], &answer, 1) == 1 && read(go[0], &answer, 1) == 0 ? 0 : 3);
        }
    }
    for (long index = 0; index < forks; index++) {
        if (read(done[0], &answer, 1) == 1) {
            fits += answer;
        }
    }
    close(go[1]);
    while (wait(NULL) > 0) {
    }
    printf("%d\n", fits);
    return 0;
}

int main(int count, char **words) {
    pthread_t threads[KINDS];
    if (count < 3) {
        return 2;
    }
    bool fresh = strcmp(words[2], "fresh") == 0;
    long forks = atol(words[1]), done = 0;
    if (strcmp(words[2], "workers") == 0) {
        return workers(forks);
    }
    if (fresh) {
        nvmlInit_v2();
        nvmlDeviceGetHandleByIndex_v2(0, &device_of_nvml);
    } else {
        prepare();
    }
    for (size_t kind = 0; kind < KINDS; kind++) {
        pthread_create(&threads[kind], NULL, fresh ? look_up : work, (void *)kind);
    }
    int status = 0;
    for (; done < forks && status == 0; done++) {
        usleep(500);
        pid_t child = fork();
        if (child == 0) {
            signal(SIGALRM, SIG_DFL);
            alarm(10);
            _exit(fresh ? starts_itself() : calls());
        }
        waitpid(child, &status, 0);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (size_t kind = 0; kind < KINDS; kind++) {
        pthread_join(threads[kind], NULL);
    }
    printf("%ld forks, %s %d\n", done, WIFSIGNALED(status) ? "killed by signal" : "last call",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return status == 0 ? 0 : 1;
}
