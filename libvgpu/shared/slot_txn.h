/* Changes of a GPU's total that survive a kill at any instruction. There is no lock, and it is always known whether a
 * change took effect.
 *
 * A slot has one owner at a time: the process that holds the slot's file lock, and in it one thread. The owner takes
 * three steps:
 *   1. It writes the slot's new bytes into the word that the next change's number selects.
 *   2. It writes the next change's number.
 *   3. It exchanges the GPU's total together with a note of the last change (slot, number), if the limit allows it.
 * Before step 3 it marks the change in the previous note as counted, in the slot that made that change, unless that is its
 * own. A slot's last change is in the total exactly if the total's note names it, or the slot has it marked; those before its
 * last one always are.
 *
 * A dead owner's bytes are taken out of the total by step 3 alone, under the number after its last one. Nothing has to
 * be written into the slot, so any number of processes may try at once: one exchange succeeds, the others see that, and
 * no process waits for one that was stopped in the middle. A slot was emptied like that if its note or mark is of a
 * later change than its own last one.
 */
#ifndef UNIGPU_SHARED_SLOT_TXN_H
#define UNIGPU_SHARED_SLOT_TXN_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

#define SLOT_TXN_NO_LIMIT INT64_MAX

/* Returns the slot's bytes in the GPU's total. */
uint64_t slot_txn_used(const struct vgpu_usage *file, unsigned slot, unsigned gpu);

/* Adds `bytes`; where negative, takes at most what the slot has. False, and nothing is changed, where the total would
 * exceed `limit`. Only for the slot's owner. */
bool slot_txn_commit(struct vgpu_usage *file, unsigned slot, unsigned gpu, int64_t bytes, uint64_t limit);

/* Takes the bytes of the slot's owner out of the total if `dead` says that the owner is dead; false where it lives.
 * `dead` is NULL where that is known. */
bool slot_txn_reclaim(struct vgpu_usage *file, unsigned slot, unsigned gpu, bool (*dead)(unsigned slot));

/* Readies a slot that has nothing in the total for its next owner. Only for the process that holds its lock. */
void slot_txn_reset(struct vgpu_usage *file, unsigned slot, unsigned gpu);

#endif
