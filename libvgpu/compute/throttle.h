/* The account of one GPU's time that all processes of the container share. Knows no CUDA. The caller adds up what was
 * used.
 *
 * The account has no lock: balance and time are exchanged together. A launch that has to wait takes a ticket. The
 * ticket at the head of the queue sleeps by the clock until enough is earned; the others wait for it. The head
 * announces until when it sleeps. If that time passes, the next waiter skips it, so a dead process delays the others
 * only briefly. Every wait ends by the clock alone.
 */
#ifndef UNIGPU_COMPUTE_THROTTLE_H
#define UNIGPU_COMPUTE_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

/* Returns the GPU's rate at that time (CLOCK_MONOTONIC, ns) in hundredths of a percent; 0: not limited. */
typedef uint32_t throttle_rate(int gpu, uint64_t now);

uint64_t throttle_clock(void);

/* Takes GPU time for a launch of that cost, and in advance for later ones up to `wish`, where it is there. Sleeps until
 * the launch may begin. Returns what it took, at least the cost. */
int64_t throttle_take(struct vgpu_compute *account, int gpu, int64_t cost, int64_t wish, throttle_rate *rate);

/* Gives GPU time back, or charges it where negative, without waiting. */
void throttle_give(struct vgpu_compute *account, int64_t ns);

/* Sleeps until an account that only this process uses is out of debt. Takes nothing. */
void throttle_await(struct vgpu_compute *account, int gpu, throttle_rate *rate);

/* Whether a launch could begin now. */
bool throttle_ready(struct vgpu_compute *account, int gpu, throttle_rate *rate);

/* Notes a launch of unknown cost in place of the note `before`; false where another launch came first.
 * throttle_end_learning removes the note once the cost is known. */
bool throttle_begin_learning(struct vgpu_compute *account, uint64_t before, uint64_t now);
void throttle_end_learning(struct vgpu_compute *account, uint64_t begun);

/* Returns when such a launch was noted or last seen to run; 0: there is none. */
uint64_t throttle_learning(const struct vgpu_compute *account);

/* Returns how much of `own`, the GPU time of a launch that took `elapsed` in all and was seen finished at `now`, fits
 * next to the container's other launches. See token_bucket_part. */
uint64_t throttle_part(struct vgpu_compute *account, uint64_t own, uint64_t elapsed, uint64_t now);

#endif
