/* The container's account: the memory that each process has of each GPU, in the usage file, which all of them map. */
#ifndef UNIGPU_SHARED_ACCOUNT_H
#define UNIGPU_SHARED_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"
#include "libvgpu/shared/usage_file.h"

enum account_answer {
    ACCOUNT_REFUSED, /* false, as the others are true */
    ACCOUNT_TAKEN,
    ACCOUNT_NEAR, /* taken, and so little is left that implicit memory matters */
};

/* Takes bytes of a GPU if the container's total, with implicit memory, then stays within `limit`. Gives back memory of
 * dead processes first where that helps. `count_refusal`: the program will see a refusal, so it is counted. */
enum account_answer account_take(unsigned gpu, uint64_t bytes, uint64_t limit, bool count_refusal);

/* Gives bytes of a GPU back. */
void account_give(unsigned gpu, uint64_t bytes);

/* What bytes may be noted to be; all others are the program's data. */
enum account_kind { ACCOUNT_DATA, ACCOUNT_CONTEXT, ACCOUNT_CODE };

/* Notes what bytes of this process are, after they were taken; where negative, before they are given back. */
void account_note_kind(unsigned gpu, enum account_kind kind, int64_t bytes);

/* Adds to the container's launches. */
void account_count_launches(unsigned gpu, uint64_t launches);

/* Returns the bytes of the GPU that the container's living processes have, implicit memory included; 0 where the account
 * can't be used. */
uint64_t account_used(unsigned gpu);

/* The same, with what dead processes had and nobody has given back yet. */
uint64_t account_total(unsigned gpu);

/* Returns the bytes of the GPU that this process has, without implicit memory; 0 likewise. */
uint64_t account_own(unsigned gpu);

/* Whether the account can be used. Where it can't, the reason is logged once. */
bool account_usable(void);

/* Returns the usage file, mapped; NULL where it can't be used. */
struct usage_file *account_file(void);

/* One living process of the container that has memory of a GPU. */
struct account_process {
    uint32_t pid;
    uint64_t used;
};

/* Lists the processes that have memory of the GPU, without implicit memory, and sets their number. The caller frees the list, which is NULL where
 * there are none, or no memory for it: threads may have stacks too small for it. */
struct account_process *account_processes(unsigned gpu, unsigned *count);

/* Returns the cost of a context on the GPU when last measured, bytes; 0: unknown. */
uint64_t account_context_cost(unsigned gpu);
void account_note_context_cost(unsigned gpu, uint64_t bytes);

/* Notes how much memory of the GPU the driver took for the container's processes beyond what they have in the account. */
void account_note_implicit(unsigned gpu, uint64_t bytes);

/* Returns the last such note; 0 where the account can't be used. */
uint64_t account_implicit(unsigned gpu);

/* Returns the account of the GPU's time, which stays valid as long as the process lives; NULL where the usage file
 * can't be used. */
struct vgpu_compute *account_compute(unsigned gpu);

#endif
