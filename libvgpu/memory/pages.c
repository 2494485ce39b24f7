#include "libvgpu/memory/pages.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "libvgpu/base/lock.h"

#define GRAIN 512
#define FIRST_ROOM 256
#define HOLES 1024

/* A page that several allocations may share. */
struct page {
    uint64_t number; /* 0: an empty place */
    const void *context;
    uint32_t live; /* allocations in it; `ends` of them are ends of larger ones */
    uint32_t ends;
    uint32_t grains; /* size that all its small allocations have had so far; 0: they differ */
    int32_t gpu;
};

/* How many more allocations of one size fit into pages that began with that size. Two sizes may share a counter, so it
 * is a guess. A wrong guess is corrected once the driver has answered. */
static int32_t holes[HOLES];

MUTEX(lock);
static struct page *table;
static uint64_t room, count;

static uint32_t grains_of(uint64_t bytes) {
    return (uint32_t)((bytes + GRAIN - 1) / GRAIN);
}

static int32_t *holes_of(const void *context, uint32_t grains) {
    uint64_t mixed = ((uintptr_t)context ^ (uint64_t)grains << 40) * UINT64_C(0x9e3779b97f4a7c15);
    return &holes[mixed >> 54];
}

/* Called with the lock, so that no locked instruction is needed; others only read. */
static void add_holes(const void *context, uint32_t grains, int32_t more) {
    int32_t *here = holes_of(context, grains);
    __atomic_store_n(here, __atomic_load_n(here, __ATOMIC_RELAXED) + more, __ATOMIC_RELAXED);
}

static int32_t capacity(uint32_t grains) {
    return (int32_t)(PAGE_BYTES / GRAIN / grains);
}

static uint64_t home(uint64_t number) {
    return number * UINT64_C(0x9e3779b97f4a7c15) >> 20 & (room - 1);
}

static struct page *find(uint64_t number) {
    uint64_t place = home(number);
    while (table[place].number != 0 && table[place].number != number) {
        place = (place + 1) & (room - 1);
    }
    return &table[place];
}

static bool grow(void) {
    uint64_t old_room = room;
    struct page *old = table, *larger = calloc(room > 0 ? 2 * room : FIRST_ROOM, sizeof *larger);
    if (larger == NULL) {
        return false;
    }
    table = larger;
    room = old_room > 0 ? 2 * old_room : FIRST_ROOM;
    for (uint64_t place = 0; place < old_room; place++) {
        if (old[place].number != 0) {
            *find(old[place].number) = old[place];
        }
    }
    free(old);
    return true;
}

/* Removes a page, and moves up the entries that were pushed past its place. */
static void drop(struct page *page) {
    uint64_t gap = (uint64_t)(page - table), mask = room - 1;
    for (uint64_t place = (gap + 1) & mask; table[place].number != 0; place = (place + 1) & mask) {
        if (((place - home(table[place].number)) & mask) >= ((place - gap) & mask)) {
            table[gap] = table[place];
            gap = place;
        }
    }
    table[gap] = (struct page){0};
    count--;
}

/* Returns the page's entry, which it makes where there is none; NULL without memory for it: its contents then count
 * until the process ends. */
static struct page *enter(const void *context, int gpu, uint64_t number) {
    if ((count + 1) * 4 > room * 3 && !grow()) {
        return NULL;
    }
    struct page *page = find(number);
    if (page->number == 0) {
        *page = (struct page){.number = number, .context = context, .gpu = gpu};
        count++;
    }
    page->live++;
    return page;
}

static uint64_t leave(struct page *page) {
    if (--page->live > 0) {
        return 0;
    }
    drop(page);
    return PAGE_BYTES;
}

static struct page *known(uint64_t number) {
    struct page *page = room > 0 ? find(number) : NULL;
    return page != NULL && page->number != 0 ? page : NULL;
}

/* From now on the sizes in the page differ, so the room left in it can't be guessed. */
static void mix(struct page *page) {
    if (page->grains != 0) {
        add_holes(page->context, page->grains, (int32_t)(page->live - page->ends) - 1 - capacity(page->grains));
    }
    page->grains = 0;
}

bool pages_is_small(uint64_t address, uint64_t bytes) {
    return bytes <= PAGE_BYTES / 2 && address / PAGE_BYTES == (address + bytes - 1) / PAGE_BYTES;
}

uint64_t pages_add_small(const void *context, int gpu, uint64_t address, uint64_t bytes) {
    uint32_t grains = grains_of(bytes);
    uint64_t more = PAGE_BYTES;
    mutex_lock(&lock);
    struct page *page = enter(context, gpu, address / PAGE_BYTES);
    if (page != NULL && page->live == 1) {
        page->grains = grains;
        add_holes(context, grains, capacity(grains) - 1);
    } else if (page != NULL) {
        if (page->grains == grains) {
            add_holes(context, grains, -1);
        } else {
            mix(page);
        }
        more = 0;
    }
    mutex_unlock(&lock);
    return more;
}

uint64_t pages_remove_small(uint64_t address, int *gpu) {
    uint64_t less = 0;
    mutex_lock(&lock);
    struct page *page = known(address / PAGE_BYTES);
    if (page != NULL && page->live > page->ends) {
        *gpu = page->gpu;
        if (page->grains != 0) {
            add_holes(page->context, page->grains, page->live == 1 ? 1 - capacity(page->grains) : 1);
        }
        less = leave(page);
    }
    mutex_unlock(&lock);
    return less;
}

void pages_sweep(const void *context, void (*each)(int gpu, uint64_t bytes)) {
    mutex_lock(&lock);
    for (uint64_t place = 0; place < room;) {
        struct page *page = &table[place];
        if (page->number == 0 || page->context != context || page->number >> 63 != 0) {
            place++;
            continue;
        }
        int gpu = page->gpu;
        if (page->grains != 0) {
            add_holes(context, page->grains, (int32_t)(page->live - page->ends) - capacity(page->grains));
        }
        drop(page); /* then read the same place again: another entry may have moved in */
        each(gpu, PAGE_BYTES);
    }
    mutex_unlock(&lock);
}

bool pages_whole(uint64_t bytes, uint64_t *whole) {
    *whole = (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    return *whole >= bytes;
}

bool pages_have_room(const void *context, uint64_t bytes) {
    if (bytes == 0 || bytes > PAGE_BYTES / 2) {
        return false;
    }
    return __atomic_load_n(holes_of(context, grains_of(bytes)), __ATOMIC_RELAXED) > 0;
}

/* An allocation shares at most the pages at its two ends with others. */
struct span {
    uint64_t first, last, inner;
    bool head, tail;
};

static struct span span_of(uint64_t address, uint64_t bytes) {
    struct span span = {.first = address / PAGE_BYTES,
                        .last = (address + bytes - 1) / PAGE_BYTES,
                        .head = address % PAGE_BYTES != 0,
                        .tail = (address + bytes) % PAGE_BYTES != 0};
    if (span.first == span.last && (span.head || span.tail)) {
        span.head = true;
        span.tail = false;
    }
    span.inner = (span.last - span.first + 1 - span.head - span.tail) * PAGE_BYTES;
    return span;
}

static uint64_t end_in(const void *context, int gpu, uint64_t number) {
    struct page *page = enter(context, gpu, number);
    if (page == NULL) {
        return PAGE_BYTES;
    }
    mix(page);
    page->ends++;
    return page->live == 1 ? PAGE_BYTES : 0;
}

static uint64_t end_out(uint64_t number) {
    struct page *page = known(number);
    if (page == NULL || page->ends == 0) {
        return 0;
    }
    page->ends--;
    return leave(page);
}

uint64_t pages_add(const void *context, int gpu, uint64_t address, uint64_t bytes) {
    struct span span = span_of(address, bytes);
    if (bytes == 0) {
        return 0;
    }
    if (span.head || span.tail) {
        mutex_lock(&lock);
        span.inner += span.head ? end_in(context, gpu, span.first) : 0;
        span.inner += span.tail ? end_in(context, gpu, span.last) : 0;
        mutex_unlock(&lock);
    }
    return span.inner;
}

uint64_t pages_remove(uint64_t address, uint64_t bytes) {
    struct span span = span_of(address, bytes);
    if (bytes == 0) {
        return 0;
    }
    if (span.head || span.tail) {
        mutex_lock(&lock);
        span.inner += span.head ? end_out(span.first) : 0;
        span.inner += span.tail ? end_out(span.last) : 0;
        mutex_unlock(&lock);
    }
    return span.inner;
}

/* Hidden memory has one entry for each context and size, under a number that no address has. */
static uint64_t hidden_number(const void *context, uint32_t grains) {
    return UINT64_C(1) << 63 | ((uintptr_t)context ^ (uint64_t)grains << 40) * UINT64_C(0x9e3779b97f4a7c15) >> 1;
}

static uint64_t pages_of(uint32_t live, uint32_t grains) {
    uint32_t fit = (uint32_t)capacity(grains);
    return (live + fit - 1) / fit * PAGE_BYTES;
}

uint64_t pages_add_hidden(const void *context, uint64_t bytes) {
    uint64_t whole = 0;
    uint32_t grains = grains_of(bytes);
    pages_whole(bytes, &whole);
    if (bytes == 0 || bytes > PAGE_BYTES / 2) {
        return whole;
    }
    mutex_lock(&lock);
    if ((count + 1) * 4 <= room * 3 || grow()) {
        struct page *page = find(hidden_number(context, grains));
        count += page->number == 0;
        page->number = hidden_number(context, grains);
        page->grains = grains;
        page->live++;
        whole = pages_of(page->live, grains) - pages_of(page->live - 1, grains);
    }
    mutex_unlock(&lock);
    return whole;
}

uint64_t pages_remove_hidden(const void *context, uint64_t bytes) {
    uint64_t whole = 0;
    uint32_t grains = grains_of(bytes);
    pages_whole(bytes, &whole);
    if (bytes == 0 || bytes > PAGE_BYTES / 2) {
        return whole;
    }
    mutex_lock(&lock);
    struct page *page = room > 0 ? find(hidden_number(context, grains)) : NULL;
    if (page != NULL && page->number != 0) {
        page->live--;
        whole = pages_of(page->live + 1, grains) - pages_of(page->live, grains);
        if (page->live == 0) {
            drop(page);
        }
    }
    mutex_unlock(&lock);
    return whole;
}
