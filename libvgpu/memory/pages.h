/* Linear memory as the GPU counts it: in pages of 2 MiB, which small allocations share.
 *
 * A program asks for bytes and the driver takes pages. Which allocations share a page is plain from their addresses, so
 * the account has what the GPU has, and not what was asked for.
 */
#ifndef UNIGPU_MEMORY_PAGES_H
#define UNIGPU_MEMORY_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_BYTES (UINT64_C(1) << 21)

/* What an allocation will take at most: whole pages. False: more than there can be. */
bool pages_whole(uint64_t bytes, uint64_t *whole);

/* Whether an allocation of that size is likely to find room in a page that the context has already. */
bool pages_have_room(const void *context, uint64_t bytes);

/* Small allocations lie inside one page, and need no note of their own: their page knows all about them. */
bool pages_is_small(uint64_t address, uint64_t bytes);

/* Notes a small allocation; returns the bytes of the page if it is the first in it. */
uint64_t pages_add_small(const void *context, int gpu, uint64_t address, uint64_t bytes);

/* The address's small allocation was freed: the GPU, and the bytes of the page if it was the last in it. */
uint64_t pages_remove_small(uint64_t address, int *gpu);

/* Notes any other allocation; returns the bytes of pages that it is the first in. */
uint64_t pages_add(const void *context, int gpu, uint64_t address, uint64_t bytes);

/* The reverse; returns the bytes of pages that it was the last in. */
uint64_t pages_remove(uint64_t address, uint64_t bytes);

/* The context ended with all its small allocations: calls `each` with the GPU and the bytes of each of their pages. */
void pages_sweep(const void *context, void (*each)(int gpu, uint64_t bytes));

/* Notes memory that has no address, such as an array's: small ones as if those of one size were packed into pages.
 * Returns the bytes of pages that it takes more, or at its end gives back. */
uint64_t pages_add_hidden(const void *context, uint64_t bytes);
uint64_t pages_remove_hidden(const void *context, uint64_t bytes);

#endif
