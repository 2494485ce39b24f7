/* Which launches are measured, and how: one by one, or in runs of several short ones between two moments. */
#ifndef UNIGPU_COMPUTE_LAUNCH_RUN_H
#define UNIGPU_COMPUTE_LAUNCH_RUN_H

#include "libvgpu/compute/launch_thread.h"

/* From here on each launch on several streams is measured. */
#define LAUNCH_EACH_OF_SEVERAL_NS 80000u

/* Returns how many launches of that cost, ns, to measure together. `in_turn`: others may have turns on the GPU;
 * `several`: the process launches on several streams. */
unsigned launch_run_length(struct cost *cost, uint64_t value, bool in_turn, bool several);

/* Measures this launch, and where more are wanted, the next ones of its kind with it. `together`: on whatever streams they
 * come, and kernels side by side count once. */
void launch_measure(struct launch *launch, const struct launch_site *site, uint64_t value, unsigned wanted,
                    bool together);

/* Measures the next launches, as many as this one wants, from where the GPU has done this one. */
void launch_measure_behind(struct launch *launch);

/* Whether the launch is one more of the run: on a stream that is in it, or that can join it. */
bool launch_run_joins(struct launch_run *run, CUstream stream);

/* Forgets the run. */
void launch_run_abandon(struct launch_thread *thread);

/* Counts one more launch of the run, and ends the run where it is long enough. */
void launch_run_count(struct launch_thread *thread, const struct launch *launch);

/* Ends this thread's run: the next launch is not part of it. */
void launch_close_run(void);

/* Ends the sample of launches on these streams. */
void launch_finish(struct sample *sample, unsigned launches, const CUstream *streams);

#endif
