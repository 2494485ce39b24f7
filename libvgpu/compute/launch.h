/* Charges launches and paces them.
 *
 * Each thread holds credit, GPU time that it took from the container's account in advance, and remembers the costs of
 * its launches. A launch of known cost only compares a key and subtracts a number: no clock, no lock, no atomic.
 * Waiting and measuring are on a slow path.
 */
#ifndef UNIGPU_COMPUTE_LAUNCH_H
#define UNIGPU_COMPUTE_LAUNCH_H

#include <stdbool.h>

#include "libvgpu/compute/launch_thread.h"
#include "libvgpu/driver/driver.h"

/* Charges the launch, and sleeps until it may begin. Call before the driver. `stream` must not be NULL for the
 * per-thread default stream: see launch_stream. */
void launch_begin(struct launch *launch, const struct cost_key *key, CUstream stream);

/* As launch_begin, for one of several launches that a single driver call makes. */
void launch_begin_alone(struct launch *launch, const struct cost_key *key, CUstream stream);

/* Measures the launch, or undoes the charge of one that failed. Call after the driver. Returns the result. */
CUresult launch_end(struct launch *launch, CUresult result);

static inline bool launch_spend(struct launch_memo *memo) {
    if (__builtin_expect(memo->left <= 0 || *memo->credit < memo->cost, 0)) {
        return false;
    }
    memo->left--;
    *memo->credit -= memo->cost;
    return true;
}

/* Charges the launch from a memo; false: launch_begin has to. */
static inline bool launch_at_once(const struct cost_key *key) {
    struct launch_memo *memo = launch_memo_of(launch_mine, key);
    return __builtin_expect(launch_remembers(memo, key) && memo->context == NULL, 1) && launch_spend(memo);
}

/* Returns the stream as events name it. */
static inline CUstream launch_stream(CUstream stream, bool per_thread) {
    return per_thread && stream == NULL ? CU_STREAM_PER_THREAD : stream;
}

/* Whether the stream is one of the calling thread's current context, whichever that is. */
static inline bool launch_on_default(CUstream stream) {
    return stream == NULL || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
}

/* As launch_at_once, where one handle may mean functions of several contexts: that of the stream counts. */
static inline bool launch_in_context(const struct cost_key *key, CUstream stream) {
    struct launch_memo *memo = launch_memo_of(launch_mine, key);
    CUcontext context = NULL;
    if (!launch_remembers(memo, key) || memo->context == NULL) {
        return false;
    }
    CUresult found = launch_on_default(stream) || DRIVER(cuStreamGetCtx) == NULL
                         ? DRIVER(cuCtxGetCurrent)(&context)
                         : DRIVER(cuStreamGetCtx)(stream, &context);
    return found == CUDA_SUCCESS && context == memo->context && launch_spend(memo);
}

#endif
