/* Memory that is counted where it lies, or not at all: `places CASE [WORD]`. Each step is printed as `name value`; sizes in MiB
 * are what the account of GPU 0, as cuMemGetInfo reports it, has taken since the start. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/cuda.h"

#define MIB ((size_t)1 << 20)

static CUcontext contexts[2];
static size_t first_free;

static void need(CUresult result, const char *what) {
    if (result != CUDA_SUCCESS) {
        printf("%s: %d\n", what, (int)result);
        fflush(stdout);
        _exit(3);
    }
}
#define NEED(call) need(call, #call)

static const CUmemAllocationProp property = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                             .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};

static size_t free_now(void) {
    size_t free_bytes, total;
    CUcontext current;
    NEED(cuCtxGetCurrent(&current));
    NEED(cuCtxSetCurrent(contexts[0]));
    NEED(cuMemGetInfo_v2(&free_bytes, &total));
    NEED(cuCtxSetCurrent(current));
    return free_bytes;
}

static void taken(const char *name) {
    printf("%s %zu\n", name, (first_free - free_now()) / MIB);
}

static void answer(const char *name, CUresult result) {
    printf("%s %d\n", name, (int)result);
}

/* Allocates in the order of GPU 0's stream while GPU 1's context is current. */
static void stream_of_other_gpu(const char *free_in) {
    CUdeviceptr memory[8];
    CUstream stream;
    CUresult result = CUDA_SUCCESS;
    int count = 0;
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    NEED(cuCtxSetCurrent(contexts[1]));
    for (; count < 8; count++) {
        result = cuMemAllocAsync(&memory[count], 256 * MIB, stream);
        if (result != CUDA_SUCCESS) {
            break;
        }
    }
    printf("allocations %d\n", count);
    answer("refusal", result);
    taken("taken");
    NEED(cuCtxSetCurrent(contexts[strcmp(free_in, "own") == 0 ? 0 : 1]));
    for (int place = 0; place < count; place++) {
        NEED(place % 2 == 0 ? cuMemFreeAsync(memory[place], stream) : cuMemFree_v2(memory[place]));
    }
    NEED(cuStreamSynchronize(stream));
    taken("freed");
    NEED(cuCtxSetCurrent(contexts[0]));
    NEED(cuMemAllocAsync(&memory[0], 2 * MIB, stream));
    taken("again");
}

/* The last handle is one that was found by an address inside the mapping. */
static void retained(const char *offset) {
    CUdeviceptr range;
    CUmemGenericAllocationHandle handle, again;
    NEED(cuMemAddressReserve(&range, 512 * MIB, 0, 0, 0));
    NEED(cuMemCreate(&handle, 512 * MIB, &property, 0));
    NEED(cuMemMap(range, 512 * MIB, 0, handle, 0));
    NEED(cuMemRelease(handle));
    taken("mapped");
    NEED(cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(range + strtoull(offset, NULL, 0))));
    NEED(cuMemUnmap(range, 512 * MIB));
    taken("retained");
    answer("more", cuMemCreate(&handle, 512 * MIB, &property, 0));
    NEED(cuMemRelease(again));
    taken("released");
}

/* Two neighbours, unmapped by one call; a refused call changes nothing. */
static void neighbours(void) {
    CUdeviceptr range;
    CUmemGenericAllocationHandle handles[2];
    NEED(cuMemAddressReserve(&range, 8 * MIB, 0, 0, 0));
    for (int place = 0; place < 2; place++) {
        NEED(cuMemCreate(&handles[place], 4 * MIB, &property, 0));
        NEED(cuMemMap(range + (size_t)place * 4 * MIB, 4 * MIB, 0, handles[place], 0));
        NEED(cuMemRelease(handles[place]));
    }
    answer("part", cuMemUnmap(range + 2 * MIB, 4 * MIB));
    taken("mapped");
    NEED(cuMemUnmap(range, 8 * MIB));
    taken("unmapped");
}

/* `in-a-row`: pairs of allocation and free, one after the other; `kept`: the same without the frees; `two-gpus`: one
 * allocation on each. */
static void graph(const char *how) {
    CUgraph made;
    CUgraphNode last = NULL, node;
    CUgraphExec executable;
    CUstream stream;
    bool in_a_row = strcmp(how, "in-a-row") == 0, two = strcmp(how, "two-gpus") == 0;
    NEED(cuGraphCreate(&made, 0));
    for (int place = 0; place < (two ? 2 : 8); place++) {
        CUDA_MEM_ALLOC_NODE_PARAMS wanted = {.bytes = (two && place == 1 ? 512 : 64) * MIB};
        wanted.pool.type = CU_MEM_ALLOCATION_TYPE_PINNED;
        wanted.pool.location = (CUmemLocation){.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = two ? 1 - place : 0};
        NEED(cuGraphAddMemAllocNode(&node, made, last != NULL ? &last : NULL, last != NULL, &wanted));
        last = node;
        if (in_a_row) {
            NEED(cuGraphAddMemFreeNode(&last, made, &node, 1, wanted.pointer));
        }
    }
    NEED(cuGraphInstantiateWithFlags(&executable, made, 0));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    answer("launch", cuGraphLaunch(executable, stream));
    NEED(cuStreamSynchronize(stream));
    taken("taken");
}

static void null_outputs(void) {
    size_t free_bytes = 0, total = 0, both_free = 0, both_total = 0;
    NEED(cuMemGetInfo_v2(&both_free, &both_total));
    NEED(cuMemGetInfo_v2(&free_bytes, NULL));
    NEED(cuMemGetInfo_v2(NULL, &total));
    printf("total %zu\n", total / MIB);
    printf("same %d\n", free_bytes == both_free && total == both_total);
    answer("neither", cuMemGetInfo_v2(NULL, NULL));
}

static void host_pool(const char *type) {
    CUmemPoolProps properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED};
    CUmemoryPool pool;
    CUdeviceptr memory;
    CUstream stream;
    properties.location.type = (CUmemLocationType)atoi(type);
    CUresult result = cuMemPoolCreate(&pool, &properties);
    answer("pool", result);
    if (result != CUDA_SUCCESS) {
        return;
    }
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    answer("large", cuMemAllocFromPoolAsync(&memory, 4096 * MIB, pool, stream));
    taken("taken");
    NEED(cuMemFreeAsync(memory, stream));
    NEED(cuMemPoolDestroy(pool));
    taken("destroyed");
}

/* A pool that the program didn't create, found by CUDA 13's function. */
static void default_host_pool(void) {
    CUresult (*get)(CUmemoryPool *, CUmemLocation *, CUmemAllocationType) =
        (__typeof__(get))dlsym(RTLD_DEFAULT, "cuMemGetDefaultMemPool");
    CUmemLocation location = {.type = CU_MEM_LOCATION_TYPE_HOST};
    CUmemoryPool pool;
    CUdeviceptr memory;
    CUstream stream;
    CUresult found = get == NULL ? CUDA_ERROR_NOT_FOUND : get(&pool, &location, CU_MEM_ALLOCATION_TYPE_PINNED);
    answer("found", found);
    if (found == CUDA_SUCCESS) {
        NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        answer("large", cuMemAllocFromPoolAsync(&memory, 4096 * MIB, pool, stream));
        taken("taken");
    }
}

/* A pool of GPU 0 that the program didn't create, in the order of GPU 1's stream: `default` or `current`, found by CUDA 13's
 * functions, of pinned or managed memory. */
static void found_pool(const char *how, CUmemAllocationType type) {
    __typeof__(&cuMemGetDefaultMemPool) get = (__typeof__(get))dlsym(
        RTLD_DEFAULT, strcmp(how, "default") == 0 ? "cuMemGetDefaultMemPool" : "cuMemGetMemPool");
    __typeof__(&cuMemSetMemPool) set = (__typeof__(set))dlsym(RTLD_DEFAULT, "cuMemSetMemPool");
    CUmemLocation location = {.type = CU_MEM_LOCATION_TYPE_DEVICE};
    CUmemPoolProps properties = {.type = type, .location = location};
    CUmemoryPool pool, found;
    CUdeviceptr memory[8];
    CUstream stream;
    CUresult result = CUDA_SUCCESS;
    int count = 0;
    if (get == NULL || set == NULL) {
        answer("found", CUDA_ERROR_NOT_FOUND);
        return;
    }
    if (strcmp(how, "set") == 0) {
        NEED(cuMemPoolCreate(&pool, &properties));
        NEED(set(&location, type, pool));
    }
    answer("found", get(&found, &location, type));
    NEED(cuCtxSetCurrent(contexts[1]));
    NEED(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (; count < 8 && result == CUDA_SUCCESS; count += result == CUDA_SUCCESS) {
        result = cuMemAllocFromPoolAsync(&memory[count], 256 * MIB, found, stream);
    }
    printf("allocations %d\n", count);
    answer("refusal", result);
    taken("taken");
    for (int place = 0; place < count; place++) {
        NEED(cuMemFreeAsync(memory[place], stream));
    }
    NEED(cuStreamSynchronize(stream));
    taken("freed");
}

int main(int count, char **words) {
    const char *name = count > 1 ? words[1] : "", *word = count > 2 ? words[2] : "";
    int devices;
    NEED(cuInit(0));
    NEED(cuDeviceGetCount(&devices));
    for (int device = devices > 1 ? 1 : 0; device >= 0; device--) {
        NEED(cuDevicePrimaryCtxRetain(&contexts[device], device));
    }
    NEED(cuCtxSetCurrent(contexts[0]));
    first_free = free_now();
    if (strcmp(name, "stream") == 0) {
        stream_of_other_gpu(word);
    } else if (strcmp(name, "retained") == 0) {
        retained(word);
    } else if (strcmp(name, "neighbours") == 0) {
        neighbours();
    } else if (strcmp(name, "graph") == 0) {
        graph(word);
    } else if (strcmp(name, "null") == 0) {
        null_outputs();
    } else if (strcmp(name, "default-host-pool") == 0) {
        default_host_pool();
    } else if (strcmp(name, "found-pool") == 0 && count > 3) {
        found_pool(word,
                   strcmp(words[3], "managed") == 0 ? CU_MEM_ALLOCATION_TYPE_MANAGED : CU_MEM_ALLOCATION_TYPE_PINNED);
    } else if (strcmp(name, "host-pool") == 0) {
        host_pool(word);
    } else {
        return 2;
    }
    return 0;
}
