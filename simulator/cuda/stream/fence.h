/* Fences: points in a stream's work, such as the one at which an event was last recorded. Waiters hold on to a fence after
 * the event has moved on. */
#ifndef UNIGPU_SIM_FENCE_H
#define UNIGPU_SIM_FENCE_H

#include <stdbool.h>
#include <stdint.h>

struct shared_event;

typedef struct fence {
    int refs;
    bool done;
    uint64_t at_ns; /* once done: when all work before it is complete */
    /* Of an event that processes share: */
    struct shared_event *shared; /* NULL: of this process alone */
    uint64_t ticket; /* which of its records this is */
    bool foreign; /* settled when the shared event says so, in whichever process */
} fence;

fence *fence_new(void);
fence *fence_ref(fence *held);
void fence_unref(fence *held);
/* Settles the fence: all work before it is complete at that time, which may still lie ahead. */
void fence_signal(fence *reached, uint64_t at_ns);
bool fence_is_signalled(fence *asked);
/* Waits until the fence is settled; returns its time, which may still lie ahead. */
uint64_t fence_wait(fence *awaited);

#endif
