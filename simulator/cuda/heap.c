/* Device memory, backed by the process's own address space: a device pointer is an address here, so that pointers are
 * unique over all cards and every copy is plain; the pages come when something is written.
 *
 * The card gives memory in pieces of 2 MiB. A large allocation has pieces of its own; small ones share a piece with
 * others of their size class.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "simulator/cuda/driver.h"

enum {
    PIECE_BITS = 21,
    ADDRESS_BITS = 47,
    TABLE_BITS = 13,
    GRAIN = 512, /* alignment of every pointer */
    CLASSES = 48,
};

#define PIECE ((size_t)1 << PIECE_BITS)
#define LARGEST_SMALL (PIECE / 2)

struct block {
    uintptr_t base;
    size_t bytes; /* whole pieces */
    heap *heap;
    uint64_t charged; /* bytes on the card */
    bool managed;
    bool written;
    int file; /* of shared memory, or -1 */
    unsigned keepers; /* graphs' nodes that own the addresses; the memory comes and goes */
    unsigned frees;   /* submitted for such memory, but not run yet */
    /* A piece shared by small allocations: */
    unsigned class; /* 0: not shared */
    unsigned slots, used;
    uint32_t first_free; /* index + 1 of the first free slot, 0: none; chained through sizes */
    uint32_t *sizes;     /* of a taken slot its bytes; of a free one FREE | next */
    block *next, *previous;
    size_t asked; /* bytes of a large allocation */
};

#define FREE_SLOT 0x80000000U

struct heap {
    device *device;
    CUcontext context;
    CUmemoryPool pool;
    pthread_mutex_t lock;
    uint64_t charged, charged_high;
    block *large;
    block *open[CLASSES]; /* shared pieces with room, by class */
    block *full[CLASSES];
};

/* Which block lies at a piece's address: a table of tables, so that the whole address space costs 64 KiB at first. */
static block **_Atomic tables[1 << (ADDRESS_BITS - PIECE_BITS - TABLE_BITS)];

static block **place(uintptr_t address, bool make) {
    size_t piece = address >> PIECE_BITS;
    size_t index = piece >> TABLE_BITS;
    if (address >> ADDRESS_BITS) {
        return NULL;
    }
    block **table = __atomic_load_n(&tables[index], __ATOMIC_ACQUIRE);
    if (!table) {
        if (!make) {
            return NULL;
        }
        block **fresh = calloc((size_t)1 << TABLE_BITS, sizeof *fresh);
        if (!fresh) {
            return NULL;
        }
        if (__atomic_compare_exchange_n(&tables[index], &table, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            table = fresh;
        } else {
            free(fresh);
        }
    }
    return &table[piece & (((size_t)1 << TABLE_BITS) - 1)];
}

static block *block_at(CUdeviceptr address) {
    block **found = place((uintptr_t)address, false);
    return found ? __atomic_load_n(found, __ATOMIC_ACQUIRE) : NULL;
}

static bool point_at(const block *target, block *value) {
    for (uintptr_t at = target->base; at < target->base + target->bytes; at += PIECE) {
        block **found = place(at, true);
        if (!found) {
            return false;
        }
        __atomic_store_n(found, value, __ATOMIC_RELEASE);
    }
    return true;
}

/* Addresses of single pieces lately freed, empty again: mapping them anew would cost more than all the rest. */
enum { SPARE = 64 };
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;
static uintptr_t spares[SPARE];
static int spare_count;

static uintptr_t take_spare(void) {
    pthread_mutex_lock(&spare_lock);
    uintptr_t found = spare_count ? spares[--spare_count] : 0;
    pthread_mutex_unlock(&spare_lock);
    return found;
}

static void unmap_pieces(uintptr_t base, size_t bytes, bool written, bool shared) {
    bool kept = false;
    if (bytes == PIECE && !shared && (!written || madvise((void *)base, bytes, MADV_DONTNEED) == 0)) {
        pthread_mutex_lock(&spare_lock);
        kept = spare_count < SPARE;
        if (kept) {
            spares[spare_count++] = base;
        }
        pthread_mutex_unlock(&spare_lock);
    }
    if (!kept) {
        munmap((void *)base, bytes);
    }
}

static uintptr_t map_pieces(size_t bytes) {
    uintptr_t spare = bytes == PIECE ? take_spare() : 0;
    if (spare) {
        return spare;
    }
    /* One piece more, to cut an aligned range out of. */
    char *area = mmap(NULL, bytes + PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) {
        return 0;
    }
    uintptr_t start = ROUND_UP((uintptr_t)area, PIECE);
    size_t before = start - (uintptr_t)area;
    if (before) {
        munmap(area, before);
    }
    munmap((void *)(start + bytes), PIECE - before);
    madvise((void *)start, bytes, MADV_NOHUGEPAGE);
    return start;
}

static void link_block(block **list, block *added) {
    added->previous = NULL;
    added->next = *list;
    if (*list) {
        (*list)->previous = added;
    }
    *list = added;
}

static void unlink_block(block **list, block *removed) {
    if (removed->previous) {
        removed->previous->next = removed->next;
    } else {
        *list = removed->next;
    }
    if (removed->next) {
        removed->next->previous = removed->previous;
    }
}

/* A block with addresses of its own, for which `charged` bytes were taken on the card. */
static CUresult map_block(heap *heap, size_t bytes, uint64_t charged, block **made) {
    block *fresh = calloc(1, sizeof *fresh);
    uintptr_t base = fresh ? map_pieces(bytes) : 0;
    if (base) {
        *fresh = (block){.base = base, .bytes = bytes, .heap = heap, .charged = charged, .file = -1};
        if (point_at(fresh, fresh)) {
            *made = fresh;
            return CUDA_SUCCESS;
        }
        point_at(fresh, NULL);
        munmap((void *)base, bytes);
    }
    free(fresh);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult block_new(heap *heap, size_t bytes, bool managed, block **made) {
    uint32_t gpu = heap->device->gpu;
    uint64_t charged = bytes;
    if (sim_use_take(sim_driver.machine, gpu, charged) != SIM_OK) {
        if (!managed) {
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        charged = 0; /* managed memory that does not fit lives on the host */
    }
    CUresult result = map_block(heap, bytes, charged, made);
    if (result == CUDA_SUCCESS) {
        (*made)->managed = managed;
        heap->charged += charged;
        heap->charged_high = heap->charged > heap->charged_high ? heap->charged : heap->charged_high;
    } else if (charged) {
        sim_use_give(sim_driver.machine, gpu, charged);
    }
    return result;
}

static void block_end(block *ended) {
    point_at(ended, NULL);
    /* Managed memory is written by the host too, unseen. */
    unmap_pieces(ended->base, ended->bytes, ended->written || ended->managed || ended->class == 0, ended->file >= 0);
    if (ended->file >= 0) {
        close(ended->file);
    }
    if (ended->charged) {
        ended->heap->charged -= ended->keepers ? 0 : ended->charged;
        sim_use_give(sim_driver.machine, ended->heap->device->gpu, ended->charged);
    }
    free(ended->sizes);
    free(ended);
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

heap *heap_new(device *device, CUcontext context, CUmemoryPool pool) {
    heap *made = calloc(1, sizeof *made);
    if (made) {
        made->device = device;
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

void heap_end(heap *heap) {
    end_list(heap->large);
    for (int class = 0; class < CLASSES; class++) {
        end_list(heap->open[class]);
        end_list(heap->full[class]);
    }
    pthread_mutex_destroy(&heap->lock);
    free(heap);
}

static CUresult alloc_small(heap *heap, size_t bytes, CUdeviceptr *pointer) {
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
        link_block(&heap->open[class], home);
    }
    unsigned slot = home->first_free - 1;
    home->first_free = home->sizes[slot] & ~FREE_SLOT;
    home->sizes[slot] = (uint32_t)bytes;
    home->used++;
    if (!home->first_free) {
        unlink_block(&heap->open[class], home);
        link_block(&heap->full[class], home);
    }
    *pointer = home->base + slot * slot_bytes;
    return CUDA_SUCCESS;
}

CUresult heap_alloc(heap *heap, size_t bytes, bool managed, CUdeviceptr *pointer) {
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
            link_block(&heap->large, made);
            *pointer = made->base;
        }
    }
    pthread_mutex_unlock(&heap->lock);
    return result;
}

static void free_small(heap *heap, block *home, unsigned slot) {
    bool was_full = !home->first_free;
    if (home->written) {
        memset((void *)(home->base + slot * home->asked), 0, home->asked); /* the next owner reads zeros */
    }
    home->sizes[slot] = FREE_SLOT | home->first_free;
    home->first_free = slot + 1;
    home->used--;
    if (was_full) {
        unlink_block(&heap->full[home->class], home);
        link_block(&heap->open[home->class], home);
    }
    if (!home->used) {
        unlink_block(&heap->open[home->class], home);
        block_end(home);
    }
}

static void uncharge(block *target) {
    if (target->charged) {
        sim_use_give(sim_driver.machine, target->heap->device->gpu, target->charged);
        __atomic_sub_fetch(&target->heap->device->graph_bytes, target->charged, __ATOMIC_RELAXED);
        target->charged = 0;
        madvise((void *)target->base, target->bytes, MADV_DONTNEED);
    }
}

CUresult heap_reserve(heap *heap, size_t bytes, CUdeviceptr *pointer) {
    NEED(bytes <= (size_t)1 << (ADDRESS_BITS - 1), CUDA_ERROR_OUT_OF_MEMORY);
    block *made;
    pthread_mutex_lock(&heap->lock);
    CUresult result = map_block(heap, ROUND_UP(bytes, PIECE), 0, &made);
    if (result == CUDA_SUCCESS) {
        made->asked = bytes;
        made->keepers = 1;
        link_block(&heap->large, made);
        *pointer = made->base;
    }
    pthread_mutex_unlock(&heap->lock);
    return result;
}

CUresult heap_charge(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    NEED(home, CUDA_ERROR_INVALID_VALUE);
    device *owner = home->heap->device;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&home->heap->lock);
    if (home->charged) {
        result = home->frees ? CUDA_SUCCESS : result;
    } else {
        result = CUDA_ERROR_OUT_OF_MEMORY;
        if (sim_use_take(sim_driver.machine, owner->gpu, home->bytes) == SIM_OK) {
            home->charged = home->bytes;
            uint64_t all = __atomic_add_fetch(&owner->graph_bytes, home->bytes, __ATOMIC_RELAXED);
            owner->graph_bytes_high = all > owner->graph_bytes_high ? all : owner->graph_bytes_high;
            result = CUDA_SUCCESS;
        }
    }
    pthread_mutex_unlock(&home->heap->lock);
    return result;
}

void heap_uncharge(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    if (home) {
        pthread_mutex_lock(&home->heap->lock);
        uncharge(home);
        pthread_mutex_unlock(&home->heap->lock);
    }
}

void heap_expect_free(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    if (home && __atomic_load_n(&home->keepers, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&home->heap->lock);
        home->frees++;
        pthread_mutex_unlock(&home->heap->lock);
    }
}

void heap_keep(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    if (home) {
        __atomic_add_fetch(&home->keepers, 1, __ATOMIC_RELAXED);
    }
}

void heap_unkeep(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    if (!home || !home->keepers || __atomic_sub_fetch(&home->keepers, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    heap *heap = home->heap;
    pthread_mutex_lock(&heap->lock);
    if (!home->charged) { /* otherwise it has become an allocation like others */
        unlink_block(&heap->large, home);
        block_end(home);
    }
    pthread_mutex_unlock(&heap->lock);
}

CUresult heap_free(CUdeviceptr pointer) {
    block *home = block_at(pointer);
    NEED(home, CUDA_ERROR_INVALID_VALUE);
    heap *heap = home->heap;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&heap->lock);
    if (block_at(pointer) == home) {
        size_t offset = (uintptr_t)pointer - home->base;
        if (home->keepers) {
            if (offset == 0 && home->frees) {
                home->frees--;
            }
            if (offset == 0 && home->charged) {
                uncharge(home);
                result = CUDA_SUCCESS;
            }
        } else if (!home->class) {
            if (offset == 0) {
                unlink_block(&heap->large, home);
                block_end(home);
                result = CUDA_SUCCESS;
            }
        } else if (offset % home->asked == 0 && offset / home->asked < home->slots &&
                   !(home->sizes[offset / home->asked] & FREE_SLOT)) {
            free_small(heap, home, (unsigned)(offset / home->asked));
            result = CUDA_SUCCESS;
        }
    }
    pthread_mutex_unlock(&heap->lock);
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

uint64_t heap_charged_bytes(heap *heap, bool highest) {
    return highest ? heap->charged_high : heap->charged;
}

void heap_forget_high(heap *heap) {
    heap->charged_high = heap->charged;
}

bool heap_owns(CUdeviceptr address) {
    return block_at(address) != NULL || reserved_owns(address);
}

CUresult heap_share(CUdeviceptr pointer, int *file, size_t *offset) {
    block *home = block_at(pointer);
    NEED(home && !home->managed && !home->keepers && !home->heap->pool, CUDA_ERROR_INVALID_VALUE);
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&home->heap->lock);
    if (home->file < 0) {
        int made = memory_file(home->heap->device, home->bytes);
        bool copied = made >= 0;
        for (size_t at = 0; copied && home->written && at < home->bytes;) {
            ssize_t wrote = pwrite(made, (char *)home->base + at, home->bytes - at, (off_t)at);
            copied = wrote > 0;
            at += copied ? (size_t)wrote : 0;
        }
        if (copied && mmap((void *)home->base, home->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, made, 0) !=
                          MAP_FAILED) {
            home->file = made;
        } else {
            if (made >= 0) {
                close(made);
            }
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    *file = home->file;
    *offset = (uintptr_t)pointer - home->base;
    pthread_mutex_unlock(&home->heap->lock);
    return result;
}

uint64_t graph_memory(const device *device, bool highest) {
    return highest ? device->graph_bytes_high : __atomic_load_n(&device->graph_bytes, __ATOMIC_RELAXED);
}

void graph_memory_forget_high(device *device) {
    device->graph_bytes_high = device->graph_bytes;
}
