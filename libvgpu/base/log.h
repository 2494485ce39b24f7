/* Lines on stderr. UNIGPU_LOG sets the level: none, error (default), info, debug. */
#ifndef UNIGPU_BASE_LOG_H
#define UNIGPU_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_NONE, LOG_ERROR, LOG_INFO, LOG_DEBUG };

__attribute__((format(printf, 2, 3))) void log_write(enum log_level level, const char *format, ...);

/* Writes the line only once in the life of the process; `said` belongs to the place of the call. */
#define LOG_ONCE(level, ...)                                     \
    do {                                                         \
        static bool said;                                        \
        if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED)) \
            log_write(level, __VA_ARGS__);                       \
    } while (0)

#endif
