/* Streams of this process that are being captured. libvgpu must not record events into those. */
#ifndef UNIGPU_COMPUTE_CAPTURES_H
#define UNIGPU_COMPUTE_CAPTURES_H

#include <stdbool.h>

#include "libvgpu/driver/driver.h"

/* Whether any stream of the process is being captured. */
bool captures_any(void);

/* Whether this stream is being captured. Asks the driver only where any stream is. */
bool captures_stream(CUstream stream);

/* Asks the driver whether this stream is being captured, by whichever call that began. */
bool captures_ask(CUstream stream);

/* No capture begins between these two calls. False, and captures_let_go must not be called, where one is under way. */
bool captures_hold_off(void);
void captures_let_go(void);

/* Sets the calling thread's capture mode to RELAXED, so that no query of ours spoils a capture, and returns the mode to
 * restore. */
CUstreamCaptureMode captures_relax(void);
void captures_restore(CUstreamCaptureMode before);

/* To be called before and after the driver begins a capture of the stream. Without memory for the note, the process never
 * measures again: the capture's end isn't known. */
void captures_begin(CUstream stream);
void captures_begun(CUstream stream, CUresult result);

/* To be called when the stream's capture ends. */
void captures_end(CUstream stream);

#endif
