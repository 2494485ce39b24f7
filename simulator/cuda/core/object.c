/* Objects by kind. An ended object is reused, but only for its own kind. */
#include "simulator/cuda/core/object.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = 32 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static object *unused[KINDS]; /* by kind */

void *object_new(object_kind kind, size_t size) {
    unsigned index = (unsigned)kind - KIND_CONTEXT;
    pthread_mutex_lock(&lock);
    object *found = unused[index];
    if (found) {
        unused[index] = found->next_free;
    }
    pthread_mutex_unlock(&lock);
    if (!found) {
        found = aligned_alloc(16, ROUND_UP(size, 16));
        if (!found) {
            return NULL;
        }
    }
    memset(found, 0, size);
    found->kind = (uint32_t)kind;
    return found;
}

void object_end(void *handle) {
    object *ended = handle;
    unsigned index = ended->kind - KIND_CONTEXT;
    ended->kind = 0;
    pthread_mutex_lock(&lock);
    ended->next_free = unused[index];
    unused[index] = ended;
    pthread_mutex_unlock(&lock);
}
