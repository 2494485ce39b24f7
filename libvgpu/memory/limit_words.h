/* Says on stderr, once, that a limit in the environment has no effect, and what would have one. */
#ifndef UNIGPU_MEMORY_LIMIT_WORDS_H
#define UNIGPU_MEMORY_LIMIT_WORDS_H

#include <stdint.h>

/* Compares the environment's limits of the GPU with the container's, of which `memory` is that of memory; or QUOTA_UNLIMITED. */
void limit_words_say(int gpu, uint64_t memory);

#endif
