/* Tells processes apart whose numbers are reused. */
#ifndef UNIGPU_SHARED_PROCESS_H
#define UNIGPU_SHARED_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Returns when the process started, clock ticks since boot; 0 where that can't be read. */
uint64_t process_start(uint32_t pid);

/* Whether the process of that number and start time lives, according to /proc. A process that is exiting doesn't. */
bool process_lives(uint32_t pid, uint64_t start);

/* Returns the number of the process's parent; 0 where that can't be read. */
uint32_t process_parent(uint32_t pid);

#endif
