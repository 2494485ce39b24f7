/* Lines on stderr, as UNIGPU_LOG asks: none, error (default), info, debug. */
#ifndef UNIGPU_BASE_LOG_H
#define UNIGPU_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_NONE, LOG_ERROR, LOG_INFO, LOG_DEBUG };

__attribute__((format(printf, 2, 3))) void log_write(enum log_level level, const char *format, ...);

/* The same line only once in the life of the process; `said` is the place's own mark. */
#define LOG_ONCE(level, ...)                                     \
    do {                                                         \
        static bool said;                                        \
        if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED)) \
            log_write(level, __VA_ARGS__);                       \
    } while (0)

#endif
