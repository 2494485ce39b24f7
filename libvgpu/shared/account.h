/* The container's account: which process has how much of which GPU, in the usage file that all of them map. */
#ifndef UNIGPU_SHARED_ACCOUNT_H
#define UNIGPU_SHARED_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

/* Takes bytes of a GPU if the container's total then stays within `limit`; the memory of processes that died is given
 * back first where that helps. `count_refusal`: a refusal is one that a program gets to see. */
bool account_take(unsigned gpu, uint64_t bytes, uint64_t limit, bool count_refusal);

/* Gives bytes of a GPU back. */
void account_give(unsigned gpu, uint64_t bytes);

/* Bytes of the GPU that the container's living processes have; 0 where the account can't be used. */
uint64_t account_used(unsigned gpu);

/* Whether the account can be used; where it can't, that is said on stderr once. */
bool account_usable(void);

/* One living process of the container that has memory of a GPU. */
struct account_process {
    uint32_t pid;
    uint64_t used;
};

/* Fills up to `room` processes that have memory of the GPU; returns how many there are. */
unsigned account_processes(unsigned gpu, struct account_process *processes, unsigned room);

/* What a context on the GPU was last seen to cost, bytes; 0 where that isn't known. */
uint64_t account_context_cost(unsigned gpu);
void account_note_context_cost(unsigned gpu, uint64_t bytes);

/* The GPU's account of GPU time, for as long as the process lives; NULL where the usage file can't be used. */
struct vgpu_compute *account_compute(unsigned gpu);

#endif
