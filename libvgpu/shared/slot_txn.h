/* Changes of a GPU's total that survive a kill at any instruction: no lock, and always known whether they happened.
 *
 * A slot has one owner at a time: the process that holds the slot's file lock, and in it one thread. The owner
 *   1. writes what the slot will have into the word that the next change's number will select,
 *   2. writes the next change's number,
 *   3. exchanges the GPU's total and its note of the last change (slot, number) at once, if the limit allows it.
 * Before step 3 it marks the previous note, whoever's that was, in that slot as counted. A change is in the total exactly
 * if the total's note names it or its slot has it marked.
 *
 * What a dead owner had is taken out of the total by step 3 alone, under the number after its last. Nothing in the slot
 * has to be written for that, so any number of processes may try at once: one exchange succeeds, the others see it, and
 * nobody waits for one that was stopped in the middle. A slot whose note or mark is of a later change than its own last
 * was emptied so.
 */
#ifndef UNIGPU_SHARED_SLOT_TXN_H
#define UNIGPU_SHARED_SLOT_TXN_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

#define SLOT_TXN_NO_LIMIT INT64_MAX

/* Bytes of the GPU's total that are the slot's. */
uint64_t slot_txn_used(const struct vgpu_usage *file, unsigned slot, unsigned gpu);

/* Adds `bytes` (or takes, where negative, at most what the slot has); false, and nothing is changed, where the total
 * would be more than `limit`. Only for the slot's owner. */
bool slot_txn_commit(struct vgpu_usage *file, unsigned slot, unsigned gpu, int64_t bytes, uint64_t limit);

/* Takes what the slot's owner had out of the total if `dead` says that it is; false where it lives. Without `dead` that
 * is known. */
bool slot_txn_reclaim(struct vgpu_usage *file, unsigned slot, unsigned gpu, bool (*dead)(unsigned slot));

/* Readies a slot that has nothing in the total for its next owner. Only for the holder of its lock. */
void slot_txn_reset(struct vgpu_usage *file, unsigned slot, unsigned gpu);

#endif
