/* One GPU's account of GPU time, which all of the container's processes share. Knows no CUDA, and leaves it to its
 * caller to add up what was used.
 *
 * There is no lock in it: balance and time are exchanged together. Who must wait takes a turn; the one whose turn is
 * served sleeps by the clock until enough is earned, the others wait for it. The one that is served says until when it
 * sleeps; who comes after passes it over when that is past, so that the dead hold up nobody. A wait always ends by time
 * alone.
 */
#ifndef UNIGPU_COMPUTE_THROTTLE_H
#define UNIGPU_COMPUTE_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

/* The rate of a GPU at that time, CLOCK_MONOTONIC in ns: hundredths of a percent, 0 not limited. */
typedef uint32_t throttle_rate(int gpu, uint64_t now);

uint64_t throttle_clock(void);

/* Takes GPU time for a launch of that cost, and more for the next ones, up to `wish`, where it is there; sleeps until the
 * launch may begin. Answers what was taken: the cost at least. `waited` is set where it slept. */
int64_t throttle_take(struct vgpu_compute *account, int gpu, int64_t cost, int64_t wish, throttle_rate *rate);

/* Gives back (or charges, where negative) what turned out otherwise; nobody waits for this. */
void throttle_give(struct vgpu_compute *account, int64_t ns);

/* Sleeps until an account of this process alone is out of debt; nothing is taken. Answers whether it slept. */
void throttle_await(struct vgpu_compute *account, int gpu, throttle_rate *rate);

/* Whether a launch could begin now. */
bool throttle_ready(struct vgpu_compute *account, int gpu, throttle_rate *rate);

/* Notes a launch whose cost nobody knows yet, in place of the note `before`, unless another came first; and that it is
 * known now. */
bool throttle_begin_learning(struct vgpu_compute *account, uint64_t before, uint64_t now);
void throttle_end_learning(struct vgpu_compute *account, uint64_t begun);

/* When such a launch was noted, or seen to go on, that may still run; 0: none. */
uint64_t throttle_learning(const struct vgpu_compute *account);

/* Of a launch that took `own` of the GPU's time, and `elapsed` in all until it was seen to be done at `now`, what there was
 * room for beside the container's others: see token_bucket.h. */
uint64_t throttle_part(struct vgpu_compute *account, uint64_t own, uint64_t elapsed, uint64_t now);

#endif
