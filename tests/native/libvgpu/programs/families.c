/* Takes memory of one family until the driver refuses, says so, and frees it when told: `families FAMILY BYTES`.
 *
 * After each line it waits for one on its input: `full COUNT ERROR`, `half`, `free`. So a test can look from outside at
 * what the process has on the GPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/cuda.h"

#define MOST 100000
#define MIB ((size_t)1 << 20)

static union piece {
    CUdeviceptr pointer;
    CUarray array;
    CUmipmappedArray mipmap;
    CUmodule module;
    CUlibrary library;
    struct {
        CUmemGenericAllocationHandle handle;
        CUdeviceptr address;
    } physical;
    struct {
        CUgraph graph;
        CUgraphExec exec;
        CUdeviceptr pointer;
    } graph;
} pieces[MOST];

static CUdevice device;
static CUmemoryPool pool;

static CUresult linear_take(union piece *piece, size_t bytes) {
    return cuMemAlloc_v2(&piece->pointer, bytes);
}

static CUresult linear_drop(union piece *piece, size_t bytes) {
    (void)bytes;
    return cuMemFree_v2(piece->pointer);
}

static CUresult pitch_take(union piece *piece, size_t bytes) {
    size_t pitch;
    return cuMemAllocPitch_v2(&piece->pointer, &pitch, 1000, bytes / 1000, 4);
}

static CUresult managed_take(union piece *piece, size_t bytes) {
    return cuMemAllocManaged(&piece->pointer, bytes, CU_MEM_ATTACH_GLOBAL);
}

static CUresult async_take(union piece *piece, size_t bytes) {
    return cuMemAllocAsync(&piece->pointer, bytes, NULL);
}

static CUresult async_drop(union piece *piece, size_t bytes) {
    (void)bytes;
    CUresult result = cuMemFreeAsync(piece->pointer, NULL);
    return result == CUDA_SUCCESS ? cuStreamSynchronize(NULL) : result;
}

static CUresult pool_take(union piece *piece, size_t bytes) {
    CUmemPoolProps properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device}};
    if (pool == NULL && cuMemPoolCreate(&pool, &properties) != CUDA_SUCCESS) {
        exit(3);
    }
    return cuMemAllocFromPoolAsync(&piece->pointer, bytes, pool, NULL);
}

static CUresult array_take(union piece *piece, size_t bytes) {
    CUDA_ARRAY_DESCRIPTOR form = {.width = 1024, .height = bytes / 4096, .format = CU_AD_FORMAT_FLOAT, .channels = 1};
    return cuArrayCreate_v2(&piece->array, &form);
}

static CUresult array_drop(union piece *piece, size_t bytes) {
    (void)bytes;
    return cuArrayDestroy(piece->array);
}

static CUresult volume_take(union piece *piece, size_t bytes) {
    CUDA_ARRAY3D_DESCRIPTOR form = {
        .width = 128, .height = 128, .depth = bytes / 65536, .format = CU_AD_FORMAT_FLOAT, .channels = 1};
    return cuArray3DCreate_v2(&piece->array, &form);
}

static CUresult mipmap_take(union piece *piece, size_t bytes) {
    CUDA_ARRAY3D_DESCRIPTOR form = {.width = 1024, .height = bytes / 4096, .format = CU_AD_FORMAT_FLOAT, .channels = 1};
    return cuMipmappedArrayCreate(&piece->mipmap, &form, 8);
}

static CUresult mipmap_drop(union piece *piece, size_t bytes) {
    (void)bytes;
    return cuMipmappedArrayDestroy(piece->mipmap);
}

static const char *image(size_t bytes) {
    static char text[512];
    snprintf(text, sizeof text,
             ".version 8.0\n.target sm_50\n.address_size 64\n.visible .global .align 4 .b8 room[%zu];\n"
             ".visible .entry nothing() { ret; }\n",
             bytes);
    return text;
}

static CUresult module_take(union piece *piece, size_t bytes) {
    return cuModuleLoadData(&piece->module, image(bytes));
}

static CUresult module_drop(union piece *piece, size_t bytes) {
    (void)bytes;
    return cuModuleUnload(piece->module);
}

static CUresult physical_take(union piece *piece, size_t bytes) {
    CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                      .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device}};
    CUresult result = cuMemCreate(&piece->physical.handle, bytes, &properties, 0);
    if (result != CUDA_SUCCESS) {
        return result;
    }
    if (cuMemAddressReserve(&piece->physical.address, bytes, 0, 0, 0) != CUDA_SUCCESS ||
        cuMemMap(piece->physical.address, bytes, 0, piece->physical.handle, 0) != CUDA_SUCCESS ||
        cuMemRelease(piece->physical.handle) != CUDA_SUCCESS) {
        exit(3);
    }
    return CUDA_SUCCESS;
}

static CUresult physical_drop(union piece *piece, size_t bytes) {
    CUresult result = cuMemUnmap(piece->physical.address, bytes);
    return result == CUDA_SUCCESS ? cuMemAddressFree(piece->physical.address, bytes) : result;
}

/* Memory of the GPU and of the host, mapped next to each other, and unmapped in one call. */
static CUresult adjacent_take(union piece *piece, size_t bytes) {
    static const CUmemLocationType types[] = {CU_MEM_LOCATION_TYPE_HOST, CU_MEM_LOCATION_TYPE_DEVICE};
    CUmemGenericAllocationHandle handles[2];
    for (int place = 0; place < 2; place++) {
        CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                          .location = {.type = types[place], .id = place == 0 ? 0 : device}};
        CUresult result = cuMemCreate(&handles[place], bytes, &properties, 0);
        if (result != CUDA_SUCCESS) {
            return result;
        }
    }
    if (cuMemAddressReserve(&piece->physical.address, 2 * bytes, 0, 0, 0) != CUDA_SUCCESS) {
        exit(3);
    }
    for (int place = 0; place < 2; place++) {
        if (cuMemMap(piece->physical.address + place * bytes, bytes, 0, handles[place], 0) != CUDA_SUCCESS ||
            cuMemRelease(handles[place]) != CUDA_SUCCESS) {
            exit(3);
        }
    }
    return CUDA_SUCCESS;
}

static CUresult adjacent_drop(union piece *piece, size_t bytes) {
    return physical_drop(piece, 2 * bytes);
}

static CUresult graph_take(union piece *piece, size_t bytes) {
    CUgraphNode node;
    CUDA_MEM_ALLOC_NODE_PARAMS wanted = {.pool = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                                  .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device}},
                                         .bytes = bytes};
    if (cuGraphCreate(&piece->graph.graph, 0) != CUDA_SUCCESS ||
        cuGraphAddMemAllocNode(&node, piece->graph.graph, NULL, 0, &wanted) != CUDA_SUCCESS ||
        cuGraphInstantiateWithFlags(&piece->graph.exec, piece->graph.graph, 0) != CUDA_SUCCESS) {
        exit(3);
    }
    piece->graph.pointer = wanted.pointer;
    CUresult result = cuGraphLaunch(piece->graph.exec, NULL);
    return result == CUDA_SUCCESS ? cuStreamSynchronize(NULL) : result;
}

static CUresult graph_drop(union piece *piece, size_t bytes) {
    (void)bytes;
    CUresult result = cuMemFree_v2(piece->graph.pointer);
    cuGraphExecDestroy(piece->graph.exec);
    cuGraphDestroy(piece->graph.graph);
    return result == CUDA_SUCCESS ? cuDeviceGraphMemTrim(device) : result;
}

static const struct family {
    const char *name;
    CUresult (*take)(union piece *piece, size_t bytes);
    CUresult (*drop)(union piece *piece, size_t bytes);
} families[] = {
    {"linear", linear_take, linear_drop},
    {"pitch", pitch_take, linear_drop},
    {"managed", managed_take, linear_drop},
    {"async", async_take, async_drop},
    {"pool", pool_take, async_drop},
    {"array", array_take, array_drop},
    {"volume", volume_take, array_drop},
    {"mipmap", mipmap_take, mipmap_drop},
    {"module", module_take, module_drop},
    {"physical", physical_take, physical_drop},
    {"adjacent", adjacent_take, adjacent_drop},
    {"graph", graph_take, graph_drop},
};

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
    const struct family *family = NULL;
    CUcontext context;
    if (count != 3) {
        return 2;
    }
    for (size_t index = 0; index < sizeof families / sizeof families[0]; index++) {
        family = strcmp(families[index].name, words[1]) == 0 ? &families[index] : family;
    }
    size_t bytes = strtoull(words[2], NULL, 10);
    if (family == NULL || cuInit(0) != CUDA_SUCCESS || cuDeviceGet(&device, 0) != CUDA_SUCCESS) {
        return 2;
    }
    if (cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS || cuCtxSetCurrent(context) != CUDA_SUCCESS) {
        return 3;
    }
    long taken = 0;
    CUresult result = CUDA_SUCCESS;
    while (taken < MOST && (result = family->take(&pieces[taken], bytes)) == CUDA_SUCCESS) {
        taken++;
    }
    say("full", taken, result);
    long half = taken / 2;
    for (result = CUDA_SUCCESS; taken > half && result == CUDA_SUCCESS;) {
        result = family->drop(&pieces[--taken], bytes);
    }
    say("half", taken, result);
    while (taken > 0 && result == CUDA_SUCCESS) {
        result = family->drop(&pieces[--taken], bytes);
    }
    size_t free_bytes, total;
    cuMemGetInfo_v2(&free_bytes, &total);
    say("free", taken, result);
    return cuDevicePrimaryCtxRelease_v2(device) == CUDA_SUCCESS ? 0 : 3;
}
