/* Notices that this process is the child of a fork, and resets the state that belongs to its parent.
 *
 * A child of a process that used CUDA can't use it: the driver answers every call with CUDA_ERROR_NOT_INITIALIZED, and so
 * must libvgpu, at once, whatever the parent's other threads were doing. A child of a process that did not is limited like
 * any other process. */
#ifndef UNIGPU_INTERPOSE_FORK_H
#define UNIGPU_INTERPOSE_FORK_H

#include <stdbool.h>

#include "libvgpu/driver/driver.h"

enum fork_mark {
    FORK_WIPED,
    FORK_BEGINNING,
    FORK_CHILD, /* this process may be the child of one that used CUDA */
    FORK_BEGUN,
};

/* Lies on a page that the kernel wipes in the child of every fork, also of one without libc's handlers. */
extern unsigned char *fork_mark;

static inline bool fork_begun(void) {
    return __builtin_expect(
        __atomic_load_n(__atomic_load_n(&fork_mark, __ATOMIC_ACQUIRE), __ATOMIC_ACQUIRE) == FORK_BEGUN, 1);
}

void fork_begin(void);

/* To be called before anything else that takes a lock. */
static inline void fork_enter(void) {
    if (!fork_begun()) {
        fork_begin();
    }
}

/* Whether the driver has to answer the call alone, as its state is the parent's. Lookups are always answered: what they find
 * may be called after the child's own cuInit. NVML works in a child. */
bool fork_passes(enum driver_symbol symbol);

#endif
