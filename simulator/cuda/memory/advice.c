#include "simulator/cuda/memory/advice.h"

#include <pthread.h>
#include <stdlib.h>

/* Ranges of which something was said, in the order of their addresses, apart from each other. */
typedef struct range {
    CUdeviceptr start, end;
    advice known;
    struct range *next;
} range;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static range *ranges;

static const advice nothing;

/* Cuts the range that holds the address, so that one begins there. */
static bool cut(CUdeviceptr at) {
    for (range *each = ranges; each; each = each->next) {
        if (each->start < at && at < each->end) {
            range *rest = malloc(sizeof *rest);
            if (!rest) {
                return false;
            }
            *rest = (range){at, each->end, each->known, each->next};
            each->end = at;
            each->next = rest;
            return true;
        }
    }
    return true;
}

/* Makes ranges, of which nothing is known yet, in the gaps between start and end. */
static bool fill(CUdeviceptr start, CUdeviceptr end) {
    range **link = &ranges;
    while (*link && (*link)->end <= start) {
        link = &(*link)->next;
    }
    for (CUdeviceptr at = start; at < end; link = &(*link)->next) {
        if (!*link || (*link)->start > at) {
            CUdeviceptr until = *link && (*link)->start < end ? (*link)->start : end;
            range *made = malloc(sizeof *made);
            if (!made) {
                return false;
            }
            *made = (range){at, until, nothing, *link};
            *link = made;
        }
        at = (*link)->end;
    }
    return true;
}

CUresult advice_change(CUdeviceptr start, size_t bytes, void (*change)(advice *known, const void *how),
                       const void *how) {
    CUdeviceptr end = start + bytes;
    pthread_mutex_lock(&lock);
    bool ready = cut(start) && cut(end) && fill(start, end);
    for (range *each = ranges; ready && each && each->start < end; each = each->next) {
        if (each->start >= start) {
            change(&each->known, how);
        }
    }
    pthread_mutex_unlock(&lock);
    return ready ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

void advice_look(CUdeviceptr start, size_t bytes, void (*look)(const advice *known, void *into), void *into) {
    CUdeviceptr at = start, end = start + bytes;
    pthread_mutex_lock(&lock);
    for (const range *each = ranges; each && at < end; each = each->next) {
        if (each->end > at) {
            if (each->start > at) {
                look(&nothing, into);
            }
            if (each->start < end) {
                look(&each->known, into);
            }
            at = each->end;
        }
    }
    if (at < end) {
        look(&nothing, into);
    }
    pthread_mutex_unlock(&lock);
}

void advice_forget(CUdeviceptr start, size_t bytes) {
    pthread_mutex_lock(&lock);
    for (range **link = &ranges; *link;) {
        range *each = *link;
        if (each->start >= start && each->end <= start + bytes) {
            *link = each->next;
            free(each);
        } else {
            link = &each->next;
        }
    }
    pthread_mutex_unlock(&lock);
}
