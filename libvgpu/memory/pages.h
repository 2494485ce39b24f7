/* Linear memory in the pages of 2 MiB that the GPU hands out.
 *
 * A program asks for bytes, and the driver takes pages. Small allocations share a page, and their addresses show which.
 * So the account holds what the GPU gave, not what the program asked for.
 */
#ifndef UNIGPU_MEMORY_PAGES_H
#define UNIGPU_MEMORY_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_BYTES (UINT64_C(1) << 21)

/* Rounds up to whole pages, the most that an allocation takes. False on overflow. */
bool pages_whole(uint64_t bytes, uint64_t *whole);

/* Whether an allocation of that size is likely to fit into a page that the context has. */
bool pages_have_room(const void *context, uint64_t bytes);

/* Whether the allocation is small: it lies inside one page, which counts it, so it needs no note of its own. */
bool pages_is_small(uint64_t address, uint64_t bytes);

/* Notes a small allocation. Returns the bytes of the page if it is the first in it. */
uint64_t pages_add_small(const void *context, int gpu, uint64_t address, uint64_t bytes);

/* Removes the small allocation at the address. Returns the bytes of the page if it was the last in it, and sets the
 * GPU. */
uint64_t pages_remove_small(uint64_t address, int *gpu);

/* Notes any other allocation. Returns the bytes of the pages in which it is the first. */
uint64_t pages_add(const void *context, int gpu, uint64_t address, uint64_t bytes);

/* Removes it. Returns the bytes of the pages in which it was the last. */
uint64_t pages_remove(uint64_t address, uint64_t bytes);

/* Removes all small allocations of a context that ended. Calls `each` with GPU and bytes of each of their pages. */
void pages_sweep(const void *context, void (*each)(int gpu, uint64_t bytes));

/* Notes or removes memory without an address, such as an array's. Small allocations of one size count as if they were
 * packed into pages. Returns the bytes of the pages that are added or removed. */
uint64_t pages_add_hidden(const void *context, uint64_t bytes);
uint64_t pages_remove_hidden(const void *context, uint64_t bytes);

#endif
