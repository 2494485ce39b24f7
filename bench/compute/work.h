/* One process's work on the GPU: a kernel of a known length, and each way of launching it. The simulated GPU knows
 * the kernel by its name. */
#ifndef UNIGPU_BENCH_WORK_H
#define UNIGPU_BENCH_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/cuda.h"

enum work_call { WORK_PLAIN, WORK_EX, WORK_COOPERATIVE, WORK_PER_THREAD, WORK_GRAPH };

struct work {
    enum work_call call;
    uint64_t ns; /* of one kernel, whatever its grid */
    unsigned grid, block;
    unsigned nodes; /* of a graph */
};

/* Context, module and function; 0, or the driver's first error. */
CUresult work_open(const struct work *work);

/* A thread's own streams; launches go round them. */
struct work_lane {
    const struct work *work;
    unsigned count, next;
    CUstream streams[64];
    CUgraphExec graph;
    CUevent marks[2];
};

CUresult lane_open(struct work_lane *lane, const struct work *work, unsigned streams);
CUresult lane_launch(struct work_lane *lane);
CUresult lane_wait(struct work_lane *lane);

/* Record the GPU's time on the lane's first stream: begins with `end` false, ends with true. */
CUresult lane_mark(struct work_lane *lane, bool end);
/* Time between the two by the GPU's own clock, ns; after lane_wait. */
uint64_t lane_elapsed(struct work_lane *lane);

uint64_t work_now(void);
void work_sleep_until(uint64_t ns);

#endif
