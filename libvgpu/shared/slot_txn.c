#include "libvgpu/shared/slot_txn.h"

#define NUMBER_MASK ((UINT64_C(1) << VGPU_CHANGE_BITS) - 1)

typedef unsigned __int128 pair_word __attribute__((may_alias));

static uint64_t note_of(unsigned slot, uint64_t number) {
    return (uint64_t)(slot + 1) << VGPU_CHANGE_BITS | (number & NUMBER_MASK);
}

static bool exchange(struct vgpu_total *total, uint64_t used, uint64_t last, uint64_t new_used, uint64_t new_last) {
    pair_word old = (pair_word)last << 64 | used;
    pair_word new = (pair_word)new_last << 64 | new_used;
    return __sync_bool_compare_and_swap((pair_word *)&total->used, old, new);
}

/* Marks the change that a total's note names as counted, in the slot that made it. */
static void acknowledge(struct vgpu_usage *file, unsigned gpu, uint64_t last) {
    uint64_t slot = last >> VGPU_CHANGE_BITS;
    uint64_t number = last & NUMBER_MASK;
    if (slot == 0 || slot > VGPU_SLOTS) {
        return;
    }
    uint64_t *counted = &file->slots[slot - 1].gpus[gpu].counted;
    uint64_t seen = __atomic_load_n(counted, __ATOMIC_RELAXED);
    while (seen < number) {
        if (__atomic_compare_exchange_n(counted, &seen, number, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
            return;
        }
    }
}

bool slot_txn_commit(struct vgpu_usage *file, unsigned slot, unsigned gpu, int64_t bytes, uint64_t limit) {
    struct vgpu_total *total = &file->totals[gpu];
    struct vgpu_slot_gpu *mine = &file->slots[slot].gpus[gpu];
    uint64_t number = __atomic_load_n(&mine->change, __ATOMIC_RELAXED);
    uint64_t has = __atomic_load_n(&mine->used[number & 1], __ATOMIC_RELAXED);
    if (bytes < 0 && (uint64_t)-bytes > has) {
        bytes = -(int64_t)has;
    }
    if (bytes == 0) {
        return true;
    }
    number++;
    __atomic_store_n(&mine->used[number & 1], has + (uint64_t)bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&mine->change, number, __ATOMIC_RELEASE);
    uint64_t used, last, next;
    do {
        last = __atomic_load_n(&total->last, __ATOMIC_ACQUIRE);
        used = __atomic_load_n(&total->used, __ATOMIC_ACQUIRE);
        /* Of this slot's own last change it is known: it was complete before this one began. */
        if (last >> VGPU_CHANGE_BITS != slot + 1) {
            acknowledge(file, gpu, last);
        }
        if (bytes > 0 && (used > limit || (uint64_t)bytes > limit - used)) {
            __atomic_store_n(&mine->change, number - 1, __ATOMIC_RELEASE);
            return false;
        }
        /* Only a damaged file leads below 0. */
        next = bytes < 0 && (uint64_t)-bytes > used ? 0 : used + (uint64_t)bytes;
    } while (!exchange(total, used, last, next, note_of(slot, number)));
    uint64_t peak = __atomic_load_n(&total->peak, __ATOMIC_RELAXED);
    while (peak < next &&
           !__atomic_compare_exchange_n(&total->peak, &peak, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    return true;
}

/* Returns the bytes that the slot has in the total whose note was `last`, and the number of the slot's last change. */
static uint64_t in_total(const struct vgpu_usage *file, unsigned slot, unsigned gpu, uint64_t last, uint64_t *number) {
    const struct vgpu_slot_gpu *mine = &file->slots[slot].gpus[gpu];
    uint64_t has;
    do {
        *number = __atomic_load_n(&mine->change, __ATOMIC_ACQUIRE);
        /* Read after the note: a process that changed the total since then has marked the change that it named. */
        uint64_t counted = __atomic_load_n(&mine->counted, __ATOMIC_ACQUIRE);
        uint64_t made = *number;
        if (made > 0 && last != note_of(slot, made) && counted < made) {
            made--;
        }
        has = __atomic_load_n(&mine->used[made & 1], __ATOMIC_ACQUIRE);
        if (counted > *number || last == note_of(slot, *number + 1)) {
            has = 0;
        }
    } while (__atomic_load_n(&mine->change, __ATOMIC_ACQUIRE) != *number);
    return has;
}

uint64_t slot_txn_used(const struct vgpu_usage *file, unsigned slot, unsigned gpu) {
    uint64_t number;
    return in_total(file, slot, gpu, __atomic_load_n(&file->totals[gpu].last, __ATOMIC_ACQUIRE), &number);
}

bool slot_txn_reclaim(struct vgpu_usage *file, unsigned slot, unsigned gpu, bool (*dead)(unsigned slot)) {
    struct vgpu_total *total = &file->totals[gpu];
    uint64_t number, of_dead = 0;
    bool known = dead == NULL;
    for (;;) {
        uint64_t last = __atomic_load_n(&total->last, __ATOMIC_ACQUIRE);
        uint64_t used = __atomic_load_n(&total->used, __ATOMIC_ACQUIRE);
        uint64_t has = in_total(file, slot, gpu, last, &number);
        if (has == 0) {
            return true;
        }
        /* Asked only once, even if other processes are faster: the slot's next owner begins with another number. */
        if (!known || (dead != NULL && of_dead != number)) {
            if (!dead(slot)) {
                return false;
            }
            known = true;
            of_dead = number;
            continue;
        }
        acknowledge(file, gpu, last);
        if (exchange(total, used, last, has > used ? 0 : used - has, note_of(slot, number + 1))) {
            return true;
        }
    }
}

void slot_txn_reset(struct vgpu_usage *file, unsigned slot, unsigned gpu) {
    struct vgpu_slot_gpu *mine = &file->slots[slot].gpus[gpu];
    uint64_t number = __atomic_load_n(&mine->change, __ATOMIC_RELAXED) + 1;
    __atomic_store_n(&mine->counted, number, __ATOMIC_RELEASE);
    __atomic_store_n(&mine->used[number & 1], 0, __ATOMIC_RELEASE);
    __atomic_store_n(&mine->change, number, __ATOMIC_RELEASE);
}
