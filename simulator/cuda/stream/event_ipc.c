/* Events of one process, opened in another of the same pid namespace: the handle names the owner's file. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "simulator/cuda/stream/event.h"
#include "simulator/cuda/stream/shared_event.h"

enum { MAGIC = 0x554e4545 };

typedef struct event_handle {
    uint32_t magic;
    int32_t pid, file;
} event_handle;

_Static_assert(sizeof(event_handle) <= CU_IPC_HANDLE_SIZE, "a handle holds it");

CUresult cuIpcGetEventHandle(CUipcEventHandle *handle, CUevent event) {
    NEED_DRIVER();
    NEED(handle, CUDA_ERROR_INVALID_VALUE);
    NEED(object_is(event, KIND_EVENT) && event->shared, CUDA_ERROR_INVALID_HANDLE);
    event_handle made = {MAGIC, getpid(), shared_event_file(event->shared)};
    memset(handle, 0, sizeof *handle);
    memcpy(handle, &made, sizeof made);
    return CUDA_SUCCESS;
}

CUresult cuIpcOpenEventHandle(CUevent *event, CUipcEventHandle handle) {
    NEED_CONTEXT(current);
    event_handle from;
    memcpy(&from, &handle, sizeof from);
    NEED(event && from.magic == MAGIC, CUDA_ERROR_INVALID_VALUE);
    NEED(from.pid != getpid(), CUDA_ERROR_INVALID_CONTEXT); /* a process cannot open its own */
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", from.pid, from.file);
    shared_event *shared = shared_event_open(open(path, O_RDWR | O_CLOEXEC));
    NEED(shared, CUDA_ERROR_MAP_FAILED); /* the owner is gone, or out of sight */
    CUresult made = event_new(current, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING, shared, event);
    if (made != CUDA_SUCCESS) {
        shared_event_unref(shared);
    }
    return made;
}
