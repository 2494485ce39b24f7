/* What the container may have of a card, and the one way to take from it. Knows no CUDA.
 *
 * `card` is the card's place in the policy, or its index on the machine where there is none; NO_CARD is one that the
 * policy doesn't name.
 */
#ifndef UNIGPU_QUOTA_H
#define UNIGPU_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#define NO_CARD (-1)
#define QUOTA_UNLIMITED UINT64_MAX

enum quota_answer {
    QUOTA_REFUSED,
    QUOTA_TAKEN,
    QUOTA_UNCOUNTED, /* allowed, and not in the account: nothing is to be given back */
};

/* Takes bytes of a card before the driver is asked for them. */
enum quota_answer quota_take(int card, uint64_t bytes);

/* As quota_take, for a wish that will be tried otherwise if refused: the refusal isn't counted. */
enum quota_answer quota_try(int card, uint64_t bytes);

/* Gives back what was taken. */
void quota_give(int card, uint64_t bytes);

/* Bytes that the container may have of the card; QUOTA_UNLIMITED where memory isn't held to a share. */
uint64_t quota_limit(int card);

/* Bytes that the container's living processes have of it. */
uint64_t quota_used(int card);

#endif
