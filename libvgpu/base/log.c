#include "libvgpu/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libvgpu/base/names.h"

static enum log_level chosen(void) {
    static int known = -1;
    int level = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (level >= 0) {
        return (enum log_level)level;
    }
    const char *wish = getenv(UNIGPU_ENV_LIBRARY_LOG);
    level = LOG_ERROR;
    if (wish != NULL && strcmp(wish, "none") == 0) {
        level = LOG_NONE;
    } else if (wish != NULL && strcmp(wish, "info") == 0) {
        level = LOG_INFO;
    } else if (wish != NULL && strcmp(wish, "debug") == 0) {
        level = LOG_DEBUG;
    }
    __atomic_store_n(&known, level, __ATOMIC_RELAXED);
    return (enum log_level)level;
}

void log_write(enum log_level level, const char *format, ...) {
    if (level > chosen()) {
        return;
    }
    int saved = errno;
    char line[512];
    int start = snprintf(line, sizeof line, "libvgpu[%d]: ", (int)getpid());
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line + start, sizeof line - (size_t)start - 1, format, arguments);
    va_end(arguments);
    if (length >= 0) {
        size_t end = strlen(line);
        line[end++] = '\n';
        /* One write, so that lines of several processes stay whole. Where stderr is closed, nothing can be done. */
        if (write(STDERR_FILENO, line, end) < 0) {
            errno = saved;
        }
    }
    errno = saved;
}
