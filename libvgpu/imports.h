/* Memory that another process made. */
#ifndef UNIGPU_IMPORTS_H
#define UNIGPU_IMPORTS_H

#include <stdbool.h>
#include <stdint.h>

/* Whether one of the container's processes has that much of the card, and so may be the one that made it. */
bool imports_made_here(int card, uint64_t bytes);

#endif
