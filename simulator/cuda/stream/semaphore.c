/* Semaphores of other APIs. Two kinds of files stand in for what one would export: an eventfd for a binary semaphore, and a file
 * of eight bytes that holds the counter of a timeline. */
#include "simulator/cuda/stream/semaphore.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "simulator/cuda/core/context.h"

struct CUextSemaphore_st {
    object object;
    int file;
    uint64_t *counter; /* of a timeline; NULL: a binary one */
};

CUresult cuImportExternalSemaphore(CUexternalSemaphore *ext_sem_out,
                                   const CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC *wanted) {
    NEED_CONTEXT(current);
    NEED(ext_sem_out && wanted && wanted->flags == 0, CUDA_ERROR_INVALID_VALUE);
    bool timeline = wanted->type == CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_TIMELINE_FD;
    NEED(timeline || wanted->type == CU_EXTERNAL_HANDLE_TYPE_OPAQUE_FD, CUDA_ERROR_NOT_SUPPORTED);
    struct stat found;
    bool sound = fstat(wanted->handle.fd, &found) == 0 && (!timeline || found.st_size >= (off_t)sizeof(uint64_t));
    NEED(sound, CUDA_ERROR_INVALID_HANDLE);
    void *counter = NULL;
    if (timeline) {
        counter = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, wanted->handle.fd, 0);
        NEED(counter != MAP_FAILED, CUDA_ERROR_INVALID_HANDLE);
    }
    CUexternalSemaphore made = object_new(KIND_SEMAPHORE, sizeof *made);
    NEED(made, CUDA_ERROR_OUT_OF_MEMORY);
    made->file = wanted->handle.fd; /* it belongs to the driver from here on */
    made->counter = counter;
    *ext_sem_out = made;
    return CUDA_SUCCESS;
}

CUresult cuDestroyExternalSemaphore(CUexternalSemaphore ext_sem) {
    NEED_CONTEXT(current);
    NEED(object_is(ext_sem, KIND_SEMAPHORE), CUDA_ERROR_INVALID_HANDLE);
    if (ext_sem->counter) {
        munmap(ext_sem->counter, sizeof(uint64_t));
    }
    close(ext_sem->file);
    object_end(ext_sem);
    return CUDA_SUCCESS;
}

CUresult semaphore_list_new(const CUexternalSemaphore *semaphores, const void *params, unsigned count,
                            semaphore_list **made) {
    _Static_assert(sizeof(CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS) == sizeof(CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS),
                   "lists hold either");
    NEED(semaphores && params && count, CUDA_ERROR_INVALID_VALUE);
    for (unsigned i = 0; i < count; i++) {
        NEED(object_is(semaphores[i], KIND_SEMAPHORE), CUDA_ERROR_INVALID_HANDLE);
    }
    size_t handles = count * sizeof *semaphores, values = count * sizeof(CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS);
    semaphore_list *list = malloc(sizeof *list + handles + values);
    NEED(list, CUDA_ERROR_OUT_OF_MEMORY);
    list->count = count;
    list->params = (CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *)(list->semaphores + count);
    memcpy(list->semaphores, semaphores, handles);
    memcpy(list->params, params, values);
    *made = list;
    return CUDA_SUCCESS;
}

static bool reached(const struct CUextSemaphore_st *semaphore, uint64_t value) {
    return __atomic_load_n(semaphore->counter, __ATOMIC_ACQUIRE) >= value;
}

void semaphore_run(const op *work) {
    CUexternalSemaphore semaphore = work->as.semaphore.semaphore;
    uint64_t value = work->as.semaphore.value, one = 1;
    ssize_t moved = 0;
    if (!object_is(semaphore, KIND_SEMAPHORE)) {
        return; /* destroyed before its work was done: nothing is left to wait for */
    }
    if (work->kind == OP_SIGNAL) {
        if (semaphore->counter) {
            __atomic_store_n(semaphore->counter, value, __ATOMIC_RELEASE);
        } else {
            moved = write(semaphore->file, &one, sizeof one);
        }
    } else if (semaphore->counter) {
        while (!reached(semaphore, value)) {
            struct timespec pause = {.tv_nsec = 20000};
            nanosleep(&pause, NULL);
        }
    } else {
        struct pollfd ready = {.fd = semaphore->file, .events = POLLIN};
        while (moved <= 0 && poll(&ready, 1, -1) >= 0) {
            moved = read(semaphore->file, &one, sizeof one); /* another waiter may have been first */
        }
    }
}
