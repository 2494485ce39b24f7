/* Who a process number belongs to. */
#ifndef UNIGPU_SHARED_PROCESS_H
#define UNIGPU_SHARED_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* When the process was started, clock ticks since boot; 0 where that can't be read. */
uint64_t process_start(uint32_t pid);

/* Whether the process of that number and start lives, as far as /proc tells: one that is ending doesn't. */
bool process_lives(uint32_t pid, uint64_t start);

#endif
