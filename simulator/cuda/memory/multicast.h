/* Multicast objects, as binding and mapping see them. */
#ifndef UNIGPU_SIM_MULTICAST_H
#define UNIGPU_SIM_MULTICAST_H

#include "simulator/cuda/memory/physical.h"

/* Memory of a GPU at a place of the object; held. */
typedef struct binding {
    size_t at, bytes;
    device *owner;
    physical *memory; /* NULL: memory of a context, bound by its address */
    struct binding *next;
} binding;

struct multicast {
    pthread_mutex_t lock;
    unsigned wanted, count;
    uint32_t team; /* bit n: GPU n takes part */
    size_t bytes;
    binding *bindings;
};

/* The object that a handle stands for, or NULL. */
struct multicast *multicast_of(CUmemGenericAllocationHandle handle);
/* Waits until all of its GPUs take part. */
void multicast_await(struct multicast *in);

#endif
