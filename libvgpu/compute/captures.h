/* Streams of this process that are being captured: into those nothing of ours may be recorded. */
#ifndef UNIGPU_COMPUTE_CAPTURES_H
#define UNIGPU_COMPUTE_CAPTURES_H

#include <stdbool.h>

#include "libvgpu/driver/driver.h"

/* Whether any stream of the process is being captured. */
bool captures_any(void);

/* Whether this one is: asks the driver only where any is. */
bool captures_stream(CUstream stream);

/* Between these two nothing starts to be captured; false where something is, and then there is nothing to end. */
bool captures_hold_off(void);
void captures_let_go(void);

/* Around the driver's call that begins a capture of the stream. */
void captures_begin(CUstream stream);
void captures_begun(CUstream stream, CUresult result);

/* The stream isn't captured any more. */
void captures_end(CUstream stream);

#endif
