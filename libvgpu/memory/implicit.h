/* Memory that the driver takes without a call that asks for it: code that is loaded when a kernel first runs, stacks that grow
 * at a launch, buffers of the driver's own. No call tells its size, so it is what NVML reports for the container's processes
 * beyond what they have in the account. NVML is asked only where the total matters: where little is left, before a refusal,
 * and where a program asks how much there is.
 *
 * An ask may take milliseconds. It is never made with a lock held that others wait for, and takes at most a small part of a
 * process's time. */
#ifndef UNIGPU_MEMORY_IMPLICIT_H
#define UNIGPU_MEMORY_IMPLICIT_H

#include <stdbool.h>
#include <stdint.h>

/* Whether the container's total is within the limit. `pending`: bytes of it that this thread has reserved, and the driver
 * hasn't given yet. */
bool implicit_fits(int gpu, uint64_t pending);

/* To be called before the total is reported. */
void implicit_refresh(int gpu);

/* To be called before memory is refused: some of what was counted may have gone. */
void implicit_refresh_before_refusal(int gpu);

#endif
