/* Addresses of device memory. The process's own address space backs it: a device pointer is an ordinary address. Pointers are
 * therefore unique across all GPUs and every copy is a memmove; pages are allocated when something is written. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "simulator/cuda/memory/blocks.h"

enum { TABLE_BITS = 13 };

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

block *block_at(CUdeviceptr address) {
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

/* Addresses of single pieces lately freed, empty again: mapping them again would cost more than everything else. */
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

void block_link(block **list, block *added) {
    added->previous = NULL;
    added->next = *list;
    if (*list) {
        (*list)->previous = added;
    }
    *list = added;
}

void block_unlink(block **list, block *removed) {
    if (removed->previous) {
        removed->previous->next = removed->next;
    } else {
        *list = removed->next;
    }
    if (removed->next) {
        removed->next->previous = removed->previous;
    }
}

CUresult block_map(struct heap *heap, size_t bytes, uint64_t charged, block **made) {
    block *fresh = calloc(1, sizeof *fresh);
    uintptr_t base = fresh ? map_pieces(bytes) : 0;
    if (base) {
        static uint64_t last_id;
        uint64_t id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
        *fresh = (block){.id = id, .base = base, .bytes = bytes, .heap = heap, .charged = charged, .file = -1};
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

void block_unmap(block *ended) {
    point_at(ended, NULL);
    /* Managed memory is written by the host too, unseen. */
    unmap_pieces(ended->base, ended->bytes, ended->written || ended->managed || ended->class == 0, ended->file >= 0);
    if (ended->file >= 0) {
        close(ended->file);
    }
    free(ended->sizes);
    free(ended->lenders);
    free(ended);
}

static uint64_t higher(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static block *named(block_name name) {
    block *found = name.base ? block_at(name.base) : NULL;
    return found && found->id == name.id ? found : NULL;
}

/* Memory that a block holds itself. */
static uint64_t own_part(const block *held) {
    return held->charged - held->owed;
}

bool block_charge(block *target) {
    device *owner = target->heap->device;
    pthread_mutex_lock(&owner->graph_lock);
    uint64_t lent = 0;
    for (size_t i = 0; i < target->lender_count; i++) {
        const block *lender = named(target->lenders[i]);
        lent += lender ? own_part(lender) : 0;
    }
    lent = sim_earlier(lent, target->bytes);
    uint64_t wanted = target->bytes - lent, kept = owner->graph_reserved - owner->graph_used;
    uint64_t more = wanted > kept ? wanted - kept : 0;
    bool taken = !more || sim_memory_reserve(sim_driver.machine, owner->gpu, more) == SIM_OK;
    if (taken) {
        target->charged = target->bytes;
        target->owed = lent;
        owner->graph_used += wanted;
        owner->graph_reserved += more;
        owner->graph_used_high = higher(owner->graph_used, owner->graph_used_high);
        owner->graph_reserved_high = higher(owner->graph_reserved, owner->graph_reserved_high);
    }
    pthread_mutex_unlock(&owner->graph_lock);
    return taken;
}

void block_uncharge(block *target) {
    if (target->charged) {
        device *owner = target->heap->device;
        pthread_mutex_lock(&owner->graph_lock);
        uint64_t given = own_part(target);
        block *borrower = named(target->borrower);
        if (borrower) { /* what stands on it takes over as much as it lacks */
            uint64_t passed = sim_earlier(given, borrower->owed);
            borrower->owed -= passed;
            given -= passed;
        }
        owner->graph_used -= given;
        target->charged = target->owed = 0;
        pthread_mutex_unlock(&owner->graph_lock);
        madvise((void *)target->base, target->bytes, MADV_DONTNEED);
    }
}

CUresult block_borrow(block *borrower, const CUdeviceptr *lenders, size_t count) {
    borrower->lenders = calloc(count + 1, sizeof *borrower->lenders);
    NEED(borrower->lenders, CUDA_ERROR_OUT_OF_MEMORY);
    for (size_t i = 0; i < count; i++) {
        block *lender = block_at(lenders[i]);
        if (lender && lender->heap == borrower->heap) {
            borrower->lenders[borrower->lender_count++] = (block_name){lender->base, lender->id};
            lender->borrower = (block_name){borrower->base, borrower->id};
        }
    }
    return CUDA_SUCCESS;
}

void graph_memory_trim(device *owner) {
    pthread_mutex_lock(&owner->graph_lock);
    uint64_t kept = owner->graph_reserved - owner->graph_used;
    owner->graph_reserved = owner->graph_used;
    pthread_mutex_unlock(&owner->graph_lock);
    if (kept) {
        sim_memory_release(sim_driver.machine, owner->gpu, kept);
    }
}
