/* The container's GPU time as this process charges it: to the account that all its processes share, and where the
 * environment limits this process more tightly than the policy does, to an account of its own as well. */
#ifndef UNIGPU_COMPUTE_GPU_TIME_H
#define UNIGPU_COMPUTE_GPU_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/base/layout.h"

/* Returns the GPU's shared account: that of the usage file, or one of this process alone where there is no such file.
 */
struct vgpu_compute *gpu_time_account(int gpu);

/* Takes GPU time for a launch of that cost, and more for the next launches, up to `wish`, where it is there. Sleeps
 * until the launch may begin. Returns what it took, at least the cost. */
int64_t gpu_time_take(int gpu, int64_t cost, int64_t wish);

/* Gives back what wasn't used; charges where negative. */
void gpu_time_give(int gpu, int64_t ns);

/* Gives back what was charged too much over a longer time: piece by piece, as it is used, since a full account earns
 * nothing. */
void gpu_time_return(int gpu, int64_t ns);

/* Whether a launch could begin now. */
bool gpu_time_ready(int gpu);

/* The rate that holds this process's launches now, hundredths of a percent of the GPU; 0: they are not limited. */
uint32_t gpu_time_rate(int gpu, uint64_t now);

/* Whether launches on the GPU are limited now. */
bool gpu_time_limited(int gpu);

/* Sets `ns` to the GPU time that the container's other processes have used since this one began to use the GPU. False
 * where that isn't known at this moment, because a thread of this process is about to charge. */
bool gpu_time_of_siblings(int gpu, uint64_t *ns);

/* In the child of a fork. */
void gpu_time_after_fork(void);

#endif
