/* Sharing an allocation with other processes: its memory moves into a file. */
#include "simulator/cuda/memory/heap_share.h"

#include <sys/mman.h>
#include <unistd.h>

#include "simulator/cuda/memory/blocks.h"
#include "simulator/cuda/memory/physical.h"

CUresult heap_share(CUdeviceptr pointer, int *file, size_t *offset) {
    block *home = block_at(pointer);
    NEED(home && !home->managed && !home->refs, CUDA_ERROR_INVALID_VALUE);
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&home->heap->lock);
    if (home->file < 0) {
        int made = memory_file(home->heap->device, home->bytes);
        bool copied = made >= 0;
        for (size_t at = 0; copied && home->written && at < home->bytes;) {
            ssize_t wrote = pwrite(made, (char *)home->base + at, home->bytes - at, (off_t)at);
            copied = wrote > 0;
            at += copied ? (size_t)wrote : 0;
        }
        if (copied && mmap((void *)home->base, home->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, made, 0) !=
                          MAP_FAILED) {
            home->file = made;
        } else {
            if (made >= 0) {
                close(made);
            }
            result = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    *file = home->file;
    *offset = (uintptr_t)pointer - home->base;
    pthread_mutex_unlock(&home->heap->lock);
    return result;
}
