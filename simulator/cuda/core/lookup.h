#ifndef UNIGPU_SIM_LOOKUP_H
#define UNIGPU_SIM_LOOKUP_H

#include <stdbool.h>

/* Set while an entry point's per-thread twin runs: stream 0 then means the thread's own default stream. */
extern __thread bool per_thread_default;

#endif
