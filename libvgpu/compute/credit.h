/* GPU time that one thread took from the container's account ahead of its launches. Only that thread touches it. */
#ifndef UNIGPU_COMPUTE_CREDIT_H
#define UNIGPU_COMPUTE_CREDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

/* How much the thread takes at once. */
struct credit_pace {
    int64_t wish; /* ns, at the last time */
    uint64_t taken_at;
};

struct credit {
    int64_t ns[VGPU_MAX_GPUS];
    struct credit_pace pace[VGPU_MAX_GPUS];
};

/* Charges a launch of that cost. Where the credit is too small it takes more from the account, which may sleep. Returns
 * whether it slept. */
bool credit_charge(struct credit *credit, int gpu, int64_t cost);

/* Returns to the account what is left on every GPU. */
void credit_return(struct credit *credit);

/* Forgets the credit: it is the parent's after a fork. */
void credit_forget(struct credit *credit);

#endif
