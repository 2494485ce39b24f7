/* Device memory of a context or a pool, or host memory of a pool: that of a heap without a device.
 *
 * The GPU hands out memory in pieces of 2 MiB. A large allocation has pieces of its own; allocations of up to 1 MiB share a
 * piece with others of their size class. A pool's heap may keep freed memory, up to a threshold, for its next allocations. A
 * heap that nobody allocates from any more ends with its last allocation. */
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/memory/heap.h"

#include "simulator/cuda/memory/advice.h"
#include "simulator/cuda/memory/vmm.h"

/* Memory that the heap keeps is taken first, then the GPU's. */
static bool take(struct heap *heap, uint64_t bytes) {
    uint64_t kept = heap->kept < bytes ? heap->kept : bytes;
    if (bytes > kept && heap->device &&
        sim_memory_reserve(sim_driver.machine, heap->device->gpu, bytes - kept) != SIM_OK) {
        return false;
    }
    heap->kept -= kept;
    heap->charged += bytes - kept;
    heap->charged_high = heap->charged > heap->charged_high ? heap->charged : heap->charged_high;
    return true;
}

/* Kept memory beyond so many bytes that the heap may hold goes back to the GPU. */
static void trim(struct heap *heap, uint64_t most) {
    uint64_t beyond = heap->charged > most ? heap->charged - most : 0;
    uint64_t given = beyond < heap->kept ? beyond : heap->kept;
    if (given) {
        heap->kept -= given;
        heap->charged -= given;
        if (heap->device) {
            sim_memory_release(sim_driver.machine, heap->device->gpu, given);
        }
    }
}

/* Managed memory is counted apart, and never kept. */
static bool take_managed(struct heap *heap, uint64_t bytes) {
    if (heap->device && sim_managed_reserve(sim_driver.machine, heap->device->gpu, bytes) != SIM_OK) {
        return false;
    }
    heap->charged += bytes;
    heap->charged_high = heap->charged > heap->charged_high ? heap->charged : heap->charged_high;
    return true;
}

/* Gives back what a block had. */
static void give(struct heap *heap, uint64_t bytes, bool managed) {
    if (managed && bytes) {
        heap->charged -= bytes;
        if (heap->device) {
            sim_managed_release(sim_driver.machine, heap->device->gpu, bytes);
        }
    } else {
        heap->kept += bytes;
        trim(heap, heap->threshold);
    }
}

static CUresult block_new(struct heap *heap, size_t bytes, bool managed, block **made) {
    uint64_t charged = bytes;
    if (!(managed ? take_managed(heap, charged) : take(heap, charged))) {
        if (!managed) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        charged = 0; /* managed memory that does not fit lives on the host */
    }
    CUresult result = block_map(heap, bytes, charged, made);
    if (result == CUDA_SUCCESS) {
        (*made)->managed = managed;
    } else {
        give(heap, charged, managed);
    }
    return result;
}

void block_end(block *ended) {
    struct heap *heap = ended->heap;
    if (ended->graph) {
        block_uncharge(ended);
    }
    uint64_t charged = ended->charged;
    bool managed = ended->managed;
    if (managed) {
        advice_forget(ended->base, ended->bytes);
    }
    block_unmap(ended);
    give(heap, charged, managed);
}

/* Classes go up in quarters of a doubling, in whole grains: 512, 1024, 1536, 2048, 2560, … up to half a piece. */
static unsigned class_of(size_t bytes, size_t *slot_bytes) {
    size_t grains = (bytes + GRAIN - 1) / GRAIN;
    if (grains <= 4) {
        *slot_bytes = grains * GRAIN;
        return (unsigned)grains;
    }
    unsigned top = 63 - (unsigned)__builtin_clzll(grains - 1); /* 2^top <= grains - 1 */
    size_t step = (size_t)1 << (top - 2);
    size_t rounded = ROUND_UP(grains, step);
    *slot_bytes = rounded * GRAIN;
    return 4 * (top - 1) + (unsigned)((rounded - ((size_t)1 << top)) / step);
}

struct heap *heap_new(device *owner, CUcontext context, CUmemoryPool pool) {
    struct heap *made = calloc(1, sizeof *made);
    if (made) {
        made->device = owner;
        made->context = context;
        made->pool = pool;
        pthread_mutex_init(&made->lock, NULL);
    }
    return made;
}

static void end_list(block *list) {
    while (list) {
        block *next = list->next;
        block_end(list);
        list = next;
    }
}

void heap_end(struct heap *heap) {
    end_list(heap->large);
    for (int class = 0; class < CLASSES; class++) {
        end_list(heap->open[class]);
        end_list(heap->full[class]);
    }
    trim(heap, 0);
    pthread_mutex_destroy(&heap->lock);
    free(heap);
}

static bool is_empty(const struct heap *heap) {
    bool empty = !heap->large;
    for (int class = 0; empty && class < CLASSES; class++) {
        empty = !heap->open[class] && !heap->full[class];
    }
    return empty;
}

/* A heap that was left ends with its last allocation, and its pool with it. */
static void end_left(struct heap *heap) {
    CUmemoryPool pool = heap->pool;
    heap_end(heap);
    object_end(pool);
}

void heap_leave(struct heap *heap) {
    pthread_mutex_lock(&heap->lock);
    trim(heap, 0);
    heap->threshold = UINT64_MAX;
    heap->left = true;
    bool over = is_empty(heap);
    pthread_mutex_unlock(&heap->lock);
    if (over) {
        end_left(heap);
    }
}

static CUresult alloc_small(struct heap *heap, size_t bytes, CUdeviceptr *pointer) {
    size_t slot_bytes;
    unsigned class = class_of(bytes, &slot_bytes);
    block *home = heap->open[class];
    if (!home) {
        NEED_OK(block_new(heap, PIECE, false, &home));
        home->class = class;
        home->slots = (unsigned)(PIECE / slot_bytes);
        home->asked = slot_bytes;
        home->sizes = malloc(home->slots * sizeof *home->sizes);
        if (!home->sizes) {
            block_end(home);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        for (unsigned i = 0; i < home->slots; i++) {
            home->sizes[i] = FREE_SLOT | (i + 1 < home->slots ? i + 2 : 0);
        }
        home->first_free = 1;
        block_link(&heap->open[class], home);
    }
    unsigned slot = home->first_free - 1;
    home->first_free = home->sizes[slot] & ~FREE_SLOT;
    home->sizes[slot] = (uint32_t)bytes;
    home->used++;
    if (!home->first_free) {
        block_unlink(&heap->open[class], home);
        block_link(&heap->full[class], home);
    }
    *pointer = home->base + slot * slot_bytes;
    return CUDA_SUCCESS;
}

CUresult heap_alloc(struct heap *heap, size_t bytes, bool managed, CUdeviceptr *pointer) {
    NEED(bytes <= (size_t)1 << (ADDRESS_BITS - 1), CUDA_ERROR_OUT_OF_MEMORY);
    pthread_mutex_lock(&heap->lock);
    CUresult result;
    if (bytes <= LARGEST_SMALL && !managed) {
        result = alloc_small(heap, bytes, pointer);
    } else {
        block *made;
        result = block_new(heap, ROUND_UP(bytes, PIECE), managed, &made);
        if (result == CUDA_SUCCESS) {
            made->asked = bytes;
            block_link(&heap->large, made);
            *pointer = made->base;
        }
    }
    pthread_mutex_unlock(&heap->lock);
    return result;
}

static void free_small(struct heap *heap, block *home, unsigned slot) {
    bool was_full = !home->first_free;
    if (home->written) {
        memset((void *)(home->base + slot * home->asked), 0, home->asked); /* the next owner reads zeros */
    }
    home->sizes[slot] = FREE_SLOT | home->first_free;
    home->first_free = slot + 1;
    home->used--;
    if (was_full) {
        block_unlink(&heap->full[home->class], home);
        block_link(&heap->open[home->class], home);
    }
    if (!home->used) {
        block_unlink(&heap->open[home->class], home);
        block_end(home);
    }
}

CUresult heap_free(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    NEED(home, CUDA_ERROR_INVALID_VALUE);
    struct heap *heap = home->heap;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    bool over = false;
    pthread_mutex_lock(&heap->lock);
    if (block_at(pointer) == home) {
        size_t offset = (uintptr_t)pointer - home->base;
        if (home->refs) {
            if (offset == 0 && home->frees) {
                home->frees--;
            }
            if (offset == 0 && home->charged) {
                block_uncharge(home);
                result = CUDA_SUCCESS;
            }
        } else if (!home->class) {
            if (offset == 0) {
                block_unlink(&heap->large, home);
                block_end(home);
                result = CUDA_SUCCESS;
            }
        } else if (offset % home->asked == 0 && offset / home->asked < home->slots &&
                   !(home->sizes[offset / home->asked] & FREE_SLOT)) {
            free_small(heap, home, (unsigned)(offset / home->asked));
            result = CUDA_SUCCESS;
        }
        over = heap->left && is_empty(heap);
    }
    pthread_mutex_unlock(&heap->lock);
    if (over) {
        end_left(heap);
    }
    return result;
}

bool heap_find(CUdeviceptr address, extent *found) {
    block *home = block_at(address);
    if (!home) {
        return mapped_find(address, found);
    }
    found->context = home->heap->context;
    found->device = home->heap->device;
    found->pool = home->heap->pool;
    found->managed = home->managed;
    size_t offset = (uintptr_t)address - home->base;
    if (!home->class) {
        found->base = home->base;
        found->bytes = home->asked;
        return offset < home->asked;
    }
    size_t slot = offset / home->asked;
    if (slot >= home->slots || home->sizes[slot] & FREE_SLOT) {
        return false;
    }
    found->base = home->base + slot * home->asked;
    found->bytes = home->sizes[slot];
    return offset - slot * home->asked < found->bytes;
}

bool heap_holds(CUdeviceptr address, size_t bytes, bool write) {
    extent found;
    if (!heap_find(address, &found) || bytes > found.bytes - (size_t)(address - found.base)) {
        return false;
    }
    block *home = block_at(address);
    if (write && home) {
        home->written = true;
    }
    return true;
}

uint64_t heap_charged_bytes(struct heap *heap, bool highest) {
    return highest ? heap->charged_high : heap->charged;
}

void heap_forget_high(struct heap *heap) {
    heap->charged_high = heap->charged;
}

void heap_hold(struct heap *heap, uint64_t threshold) {
    pthread_mutex_lock(&heap->lock);
    heap->threshold = threshold;
    pthread_mutex_unlock(&heap->lock);
}

void heap_trim(struct heap *heap, uint64_t most) {
    pthread_mutex_lock(&heap->lock);
    trim(heap, most);
    pthread_mutex_unlock(&heap->lock);
}

bool heap_owns(CUdeviceptr address) {
    return block_at(address) != NULL || reserved_owns(address);
}

/* ---- The heap of each context. */

static void begin_in(CUcontext context) {
    context->heap = heap_new(context->device, context, NULL);
}

static void end_in(CUcontext context) {
    heap_end(context->heap);
    graph_memory_trim(context->device);
}

__attribute__((constructor)) static void register_part(void) {
    static const context_part_ops ops = {.begin = begin_in, .end = end_in};
    context_part_register(PART_MEMORY, &ops);
}
