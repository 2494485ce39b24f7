/* The container's share of a GPU's time as this process sees it: the account, its rate, and who else is at work. */
#ifndef UNIGPU_COMPUTE_GPU_TIME_H
#define UNIGPU_COMPUTE_GPU_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/compute/estimate.h"

/* Takes GPU time of a GPU for a launch of that cost; sleeps until it may begin. Answers what was taken: the cost at
 * least, and more for the next launches, up to `wish`. `waited` is set where it slept. */
int64_t gpu_time_take(int gpu, int64_t cost, int64_t wish, bool *waited);

/* Gives back what wasn't used; charges where negative. */
void gpu_time_give(int gpu, int64_t ns);

/* Gives back what was charged too much over a longer time: piece by piece, as it is used, since an account that is full
 * earns nothing. */
void gpu_time_return(int gpu, int64_t ns);

/* Whether a launch could begin now. */
bool gpu_time_ready(int gpu);

/* Launches whose cost nobody knows yet follow each other, in the whole container; see throttle.h. */
bool gpu_time_begin_learning(int gpu, uint64_t before, uint64_t now);
void gpu_time_end_learning(int gpu, uint64_t begun);
uint64_t gpu_time_learning(int gpu);

/* Whether launches on the GPU are held to a rate now. */
bool gpu_time_limited(int gpu);

/* Who may have disturbed a sample that was taken just now. */
enum estimate_view gpu_time_view(int gpu);

/* Whether the GPU may be at work for a fifth of the time or more: what this container may use, and what others do. */
bool gpu_time_crowded(int gpu);

/* Of a launch that took `own` of the GPU's time, and `elapsed` in all, what there was room for; see throttle.h. */
uint64_t gpu_time_part(int gpu, uint64_t own, uint64_t elapsed, uint64_t now);

/* In the child of a fork: what is owed is the parent's. */
void gpu_time_after_fork(void);

#endif
