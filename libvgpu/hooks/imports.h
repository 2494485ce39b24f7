/* Memory that another process made. */
#ifndef UNIGPU_HOOKS_IMPORTS_H
#define UNIGPU_HOOKS_IMPORTS_H

#include <stdbool.h>
#include <stdint.h>

/* Whether one of the container's processes has that much of the GPU, and so may be the one that made it. */
bool imports_made_here(int gpu, uint64_t bytes);

#endif
