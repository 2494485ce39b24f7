/* Changes of a card's total that survive a kill at any instruction: no lock, and always known whether they happened.
 *
 * A slot has one owner at a time: the process that holds the slot's file lock, and in it one thread. The owner
 *   1. writes what the slot will have into the word that the next change's number will select,
 *   2. writes the next change's number,
 *   3. exchanges the card's total and its note of the last change (slot, number) at once, if the limit allows it.
 * Before step 3 it marks the previous note, whoever's that was, in that slot as counted. A change is in the total exactly
 * if the total's note names it or its slot has it marked; else `change_settle` takes step 2 back.
 */
#ifndef UNIGPU_CHANGE_H
#define UNIGPU_CHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

#define CHANGE_NO_LIMIT INT64_MAX

/* Bytes of the card that the slot stands for. */
static inline uint64_t change_slot_used(const struct vgpu_usage *file, unsigned slot, unsigned card)
{
    const struct vgpu_slot_card *mine = &file->slots[slot].cards[card];
    uint64_t number = __atomic_load_n(&mine->change, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&mine->used[number & 1], __ATOMIC_RELAXED);
}

/* Adds `bytes` (or takes, where negative, at most what the slot has); false, and nothing is changed, where the total
 * would be more than `limit`. Only for the slot's owner. */
bool change_make(struct vgpu_usage *file, unsigned slot, unsigned card, int64_t bytes, uint64_t limit);

/* Takes a change back that a dead owner began and didn't make. Only for the slot's present owner. */
void change_settle(struct vgpu_usage *file, unsigned slot, unsigned card);

#endif
