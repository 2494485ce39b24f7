#include "pages.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lock.h"

#define GRAIN 512
#define FIRST_ROOM 256
#define HOLES 1024

/* A page that is not one allocation's alone. */
struct page {
    uint64_t number; /* 0: an empty place */
    uint32_t live;   /* allocations in it */
    uint32_t grains; /* size of the first one */
};

/* How many allocations of one size would fit into pages that were begun with that size. Two sizes may share a counter:
 * it is a guess, and a wrong one is put right after the driver has answered. */
static int32_t holes[HOLES];

static struct lock lock;
static struct page *table;
static uint64_t room, count;

static uint32_t grains_of(uint64_t bytes)
{
    return (uint32_t)((bytes + GRAIN - 1) / GRAIN);
}

static int32_t *holes_of(const void *context, uint32_t grains)
{
    uint64_t mixed = ((uintptr_t)context ^ (uint64_t)grains << 40) * UINT64_C(0x9e3779b97f4a7c15);
    return &holes[mixed >> 54];
}

static void add_holes(const void *context, uint32_t grains, int32_t more)
{
    __atomic_add_fetch(holes_of(context, grains), more, __ATOMIC_RELAXED);
}

static int32_t capacity(uint32_t grains)
{
    return (int32_t)(PAGE_BYTES / GRAIN / grains);
}

static uint64_t home(uint64_t number)
{
    return number * UINT64_C(0x9e3779b97f4a7c15) >> 20 & (room - 1);
}

static struct page *find(uint64_t number)
{
    uint64_t place = home(number);
    while (table[place].number != 0 && table[place].number != number)
        place = (place + 1) & (room - 1);
    return &table[place];
}

static bool grow(void)
{
    uint64_t old_room = room;
    struct page *old = table, *larger = calloc(room > 0 ? 2 * room : FIRST_ROOM, sizeof *larger);
    if (larger == NULL)
        return false;
    table = larger;
    room = old_room > 0 ? 2 * old_room : FIRST_ROOM;
    for (uint64_t place = 0; place < old_room; place++) {
        if (old[place].number != 0)
            *find(old[place].number) = old[place];
    }
    free(old);
    return true;
}

/* Takes a page out and moves up those that were pushed past its place. */
static void drop(struct page *page)
{
    uint64_t gap = (uint64_t)(page - table), mask = room - 1;
    for (uint64_t place = (gap + 1) & mask; table[place].number != 0; place = (place + 1) & mask) {
        if (((place - home(table[place].number)) & mask) >= ((place - gap) & mask)) {
            table[gap] = table[place];
            gap = place;
        }
    }
    table[gap].number = 0;
    count--;
}

static uint64_t enter(const void *context, uint64_t number, uint32_t grains)
{
    /* Without memory for the note every such allocation counts as the first in its page, and as the last. */
    if ((count + 1) * 4 > room * 3 && !grow())
        return PAGE_BYTES;
    struct page *page = find(number);
    if (page->number == 0) {
        *page = (struct page){.number = number, .live = 1, .grains = grains};
        count++;
        add_holes(context, grains, capacity(grains) - 1);
        return PAGE_BYTES;
    }
    page->live++;
    if (page->grains == grains)
        add_holes(context, grains, -(1));
    return 0;
}

static uint64_t leave(const void *context, uint64_t number, uint32_t grains)
{
    struct page *page = room > 0 ? find(number) : NULL;
    if (page == NULL || page->number == 0)
        return PAGE_BYTES;
    if (page->grains == grains)
        add_holes(context, grains, 1);
    if (--page->live > 0)
        return 0;
    add_holes(context, page->grains, -(capacity(page->grains)));
    drop(page);
    return PAGE_BYTES;
}

bool pages_whole(uint64_t bytes, uint64_t *whole)
{
    *whole = (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    return *whole >= bytes;
}

bool pages_have_room(const void *context, uint64_t bytes)
{
    if (bytes == 0 || bytes > PAGE_BYTES / 2)
        return false;
    return __atomic_load_n(holes_of(context, grains_of(bytes)), __ATOMIC_RELAXED) > 0;
}

/* The pages that the allocation fills are its own; those at its ends it may share. */
static uint64_t each(const void *context, uint64_t address, uint64_t bytes,
    uint64_t (*end)(const void *, uint64_t, uint32_t))
{
    uint64_t first = address / PAGE_BYTES, last = (address + bytes - 1) / PAGE_BYTES;
    bool head = address % PAGE_BYTES != 0, tail = (address + bytes) % PAGE_BYTES != 0;
    uint64_t pages = last - first + 1, sum = 0;
    if (bytes == 0)
        return 0;
    if (first == last) {
        if (!head && !tail)
            return PAGE_BYTES;
        lock_take(&lock);
        sum = end(context, first, bytes > PAGE_BYTES / 2 ? UINT32_MAX / 2 : grains_of(bytes));
        lock_give(&lock);
        return sum;
    }
    if (head || tail) {
        lock_take(&lock);
        sum += head ? end(context, first, UINT32_MAX / 2) : 0;
        sum += tail ? end(context, last, UINT32_MAX / 2) : 0;
        lock_give(&lock);
    }
    return sum + (pages - head - tail) * PAGE_BYTES;
}

uint64_t pages_add(const void *context, uint64_t address, uint64_t bytes)
{
    return each(context, address, bytes, enter);
}

uint64_t pages_remove(const void *context, uint64_t address, uint64_t bytes)
{
    return each(context, address, bytes, leave);
}

/* Pages of hidden memory are one entry for each context and size, whose number no address has. */
static uint64_t hidden_number(const void *context, uint32_t grains)
{
    return UINT64_C(1) << 63 | ((uintptr_t)context ^ (uint64_t)grains << 40) * UINT64_C(0x9e3779b97f4a7c15) >> 1;
}

static uint64_t pages_of(uint32_t live, uint32_t grains)
{
    uint32_t fit = (uint32_t)capacity(grains);
    return (live + fit - 1) / fit * PAGE_BYTES;
}

uint64_t pages_add_hidden(const void *context, uint64_t bytes)
{
    uint64_t whole = 0;
    uint32_t grains = grains_of(bytes);
    pages_whole(bytes, &whole);
    if (bytes == 0 || bytes > PAGE_BYTES / 2)
        return whole;
    lock_take(&lock);
    if ((count + 1) * 4 <= room * 3 || grow()) {
        struct page *page = find(hidden_number(context, grains));
        count += page->number == 0;
        page->number = hidden_number(context, grains);
        page->grains = grains;
        page->live++;
        whole = pages_of(page->live, grains) - pages_of(page->live - 1, grains);
    }
    lock_give(&lock);
    return whole;
}

uint64_t pages_remove_hidden(const void *context, uint64_t bytes)
{
    uint64_t whole = 0;
    uint32_t grains = grains_of(bytes);
    pages_whole(bytes, &whole);
    if (bytes == 0 || bytes > PAGE_BYTES / 2)
        return whole;
    lock_take(&lock);
    struct page *page = room > 0 ? find(hidden_number(context, grains)) : NULL;
    if (page != NULL && page->number != 0) {
        page->live--;
        whole = pages_of(page->live + 1, grains) - pages_of(page->live, grains);
        if (page->live == 0)
            drop(page);
    }
    lock_give(&lock);
    return whole;
}
