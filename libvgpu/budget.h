/* One card's account of GPU time, which all of the container's processes share. Knows no CUDA, and leaves it to its
 * caller to add up what was used.
 *
 * There is no lock in it: balance and time are exchanged together. Who must wait takes a turn; the one whose turn is
 * served sleeps by the clock until enough is earned, the others wait for it. The one that is served says until when it
 * sleeps; who comes after passes it over when that is past, so that the dead hold up nobody. A wait always ends by time
 * alone.
 */
#ifndef UNIGPU_BUDGET_H
#define UNIGPU_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

/* The rate of a card at that time, CLOCK_MONOTONIC in ns: hundredths of a percent, 0 not limited. */
typedef uint32_t budget_rate(int card, uint64_t now);

uint64_t budget_clock(void);

/* Takes GPU time for a launch of that cost, and more for the next ones, up to `wish`, where it is there; sleeps until the
 * launch may begin. Answers what was taken: the cost at least. `waited` is set where it slept. */
int64_t budget_take(struct vgpu_compute *account, int card, int64_t cost, int64_t wish, budget_rate *rate,
                    bool *waited);

/* Gives back (or charges, where negative) what turned out otherwise; nobody waits for this. */
void budget_give(struct vgpu_compute *account, int64_t ns);

/* Sleeps until an account of this process alone is out of debt; nothing is taken. Answers whether it slept. */
bool budget_await(struct vgpu_compute *account, int card, budget_rate *rate);

/* Whether a launch could begin now. */
bool budget_ready(struct vgpu_compute *account, int card, budget_rate *rate);

/* Notes a launch whose cost nobody knows yet, in place of the note `before`, unless another came first; and that it is
 * known now. */
bool budget_begin_learning(struct vgpu_compute *account, uint64_t before, uint64_t now);
void budget_end_learning(struct vgpu_compute *account, uint64_t begun);

/* When such a launch was noted, or seen to go on, that may still run; 0: none. */
uint64_t budget_learning(const struct vgpu_compute *account);

/* Of a launch that took `own` of the card's time, and `elapsed` in all until it was seen to be done at `now`, what there was
 * room for beside the container's others: see bucket.h. */
uint64_t budget_part(struct vgpu_compute *account, uint64_t own, uint64_t elapsed, uint64_t now);

#endif
