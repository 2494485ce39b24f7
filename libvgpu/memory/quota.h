/* The container's share of a GPU's memory. All memory is taken from it and given back to it here. Knows no CUDA. */
#ifndef UNIGPU_MEMORY_QUOTA_H
#define UNIGPU_MEMORY_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "libvgpu/shared/account.h"

#define QUOTA_UNLIMITED UINT64_MAX

enum quota_answer {
    QUOTA_REFUSED,
    QUOTA_UNCOUNTED, /* allowed, but not in the account: nothing has to be given back */
    QUOTA_TAKEN,
    QUOTA_NEAR, /* taken, and little is left: implicit_fits tells whether it still fits with what the driver took unasked */
};

static inline bool quota_counted(enum quota_answer answer) {
    return answer >= QUOTA_TAKEN;
}

/* Takes bytes of the share. Call before the driver allocates. */
enum quota_answer quota_take(int gpu, uint64_t bytes);

/* As quota_take, where the caller has another try after a refusal: the refusal isn't counted. */
enum quota_answer quota_try(int gpu, uint64_t bytes);

/* Gives bytes back to the share. */
void quota_give(int gpu, uint64_t bytes);

/* Notes what bytes that were taken are, for those who look on. Where negative, call before they are given back. */
void quota_note_kind(int gpu, enum account_kind kind, int64_t bytes);

/* Returns the bytes that the container may have of the GPU; QUOTA_UNLIMITED where its memory isn't limited. */
uint64_t quota_limit(int gpu);

/* Returns the bytes that the container's living processes have of the GPU, implicit memory included. */
uint64_t quota_used(int gpu);

/* As quota_used, but memory of processes that have died may still be in it. */
uint64_t quota_total(int gpu);

/* Returns the bytes that this process has of the GPU, without implicit memory. */
uint64_t quota_own(int gpu);

/* Whether memory of that size, which another process made, may be counted already: one of the container's processes has
 * as much of the GPU. */
bool quota_counted_already(int gpu, uint64_t bytes);

#endif
