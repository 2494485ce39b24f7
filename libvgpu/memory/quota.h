/* What the container may have of a GPU, and the one way to take from it. Knows no CUDA.
 *
 * `gpu` is the GPU's place in the policy, or its index on the machine where there is none; NO_GPU is one that the
 * policy doesn't name.
 */
#ifndef UNIGPU_MEMORY_QUOTA_H
#define UNIGPU_MEMORY_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#define QUOTA_UNLIMITED UINT64_MAX

enum quota_answer {
    QUOTA_REFUSED,
    QUOTA_TAKEN,
    QUOTA_UNCOUNTED, /* allowed, and not in the account: nothing is to be given back */
};

/* Takes bytes of a GPU before the driver is asked for them. */
enum quota_answer quota_take(int gpu, uint64_t bytes);

/* As quota_take, for a wish that will be tried otherwise if refused: the refusal isn't counted. */
enum quota_answer quota_try(int gpu, uint64_t bytes);

/* Gives back what was taken. */
void quota_give(int gpu, uint64_t bytes);

/* Bytes that the container may have of the GPU; QUOTA_UNLIMITED where memory isn't held to a share. */
uint64_t quota_limit(int gpu);

/* Bytes that the container's living processes have of it. */
uint64_t quota_used(int gpu);

/* Whether memory of that size, which another process made, may be counted already: one of the container's processes has
 * as much of the GPU. */
bool quota_counted_already(int gpu, uint64_t bytes);

#endif
