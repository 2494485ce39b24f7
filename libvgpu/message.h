/* Lines on stderr, as UNIGPU_LOG asks: none, error (default), info, debug. */
#ifndef UNIGPU_MESSAGE_H
#define UNIGPU_MESSAGE_H

#include <stdbool.h>

enum message_level { MESSAGE_NONE, MESSAGE_ERROR, MESSAGE_INFO, MESSAGE_DEBUG };

__attribute__((format(printf, 2, 3))) void message(enum message_level level, const char *format, ...);

/* The same line only once in the life of the process; `said` is the place's own mark. */
#define MESSAGE_ONCE(level, ...)                                 \
    do {                                                         \
        static bool said;                                        \
        if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED)) \
            message(level, __VA_ARGS__);                         \
    } while (0)

#endif
