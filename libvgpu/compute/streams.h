/* Tells whether this process launches on several streams of a GPU. Then a sample may contain work of the other ones. */
#ifndef UNIGPU_COMPUTE_STREAMS_H
#define UNIGPU_COMPUTE_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

/* Notes a launch on the stream; returns streams_several. `stream` identifies it among all streams of the process. */
bool streams_note(int gpu, uint64_t stream, uint64_t now);

/* Whether launches have recently come on several streams of the GPU. */
bool streams_several(int gpu, uint64_t now);

#endif
