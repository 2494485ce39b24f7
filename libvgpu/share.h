/* The container's share of a card's time as this process sees it: the account, its rate, and who else is at work. */
#ifndef UNIGPU_SHARE_H
#define UNIGPU_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "estimate.h"

/* Takes GPU time of a card for a launch of that cost; sleeps until it may begin. Answers what was taken: the cost at
 * least, and more for the next launches, up to `wish`. `waited` is set where it slept. */
int64_t share_take(int card, int64_t cost, int64_t wish, bool *waited);

/* Gives back what wasn't used; charges where negative. */
void share_give(int card, int64_t ns);

/* Gives back what was charged too much over a longer time: piece by piece, as it is used, since an account that is full
 * earns nothing. */
void share_return(int card, int64_t ns);

/* Whether a launch could begin now. */
bool share_ready(int card);

/* Launches whose cost nobody knows yet follow each other, in the whole container; see budget.h. */
bool share_begin_learning(int card, uint64_t before, uint64_t now);
void share_end_learning(int card, uint64_t begun);
uint64_t share_learning(int card);

/* Whether launches on the card are held to a rate now. */
bool share_limited(int card);

/* Who may have disturbed a sample that was taken just now. */
enum estimate_view share_view(int card);

/* Whether the card may be at work for a fifth of the time or more: what this container may use, and what others do. */
bool share_crowded(int card);

/* Of a launch that took `own` of the card's time, and `elapsed` in all, what there was room for; see budget.h. */
uint64_t share_part(int card, uint64_t own, uint64_t elapsed, uint64_t now);

/* In the child of a fork: what is owed is the parent's. */
void share_after_fork(void);

#endif
