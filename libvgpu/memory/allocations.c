#include "libvgpu/memory/allocations.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "libvgpu/base/lock.h"

#define SHARDS 64
#define FIRST_ROOM 64

/* A hash table with open addressing. Removing an entry closes its gap, so that no marks of removed entries pile up. */
struct shard {
    struct mutex lock;
    uint32_t count;
    uint32_t room; /* a power of two, or 0 */
    struct allocation *entries;
} __attribute__((aligned(64)));

static struct shard shards[SHARDS];

_Static_assert(sizeof(struct allocation) == 32, "two in a cache line");

/* By handle alone, so that one search finds it whatever its kind. */
static uint64_t mix(uint64_t handle) {
    uint64_t mixed = handle * UINT64_C(0x9e3779b97f4a7c15);
    return mixed ^ mixed >> 29;
}

static struct shard *shard_of(uint64_t hash) {
    return &shards[hash >> 58 & (SHARDS - 1)];
}

static uint32_t home(const struct shard *shard, const struct allocation *entry) {
    return (uint32_t)mix(entry->handle) & (shard->room - 1);
}

static void put(struct shard *shard, const struct allocation *entry) {
    uint32_t place = home(shard, entry);
    while (shard->entries[place].kind != 0) {
        place = (place + 1) & (shard->room - 1);
    }
    /* Field by field: the caller has just written them one by one, and a wider read would wait for that. */
    struct allocation *note = &shard->entries[place];
    note->handle = entry->handle;
    note->bytes = entry->bytes;
    note->context = entry->context;
    note->limit = entry->limit;
    note->gpu = entry->gpu;
    note->kind = entry->kind;
}

static bool grow(struct shard *shard) {
    struct shard larger = {.room = shard->room > 0 ? shard->room * 2 : FIRST_ROOM};
    larger.entries = calloc(larger.room, sizeof *larger.entries);
    if (larger.entries == NULL) {
        return false;
    }
    for (uint32_t place = 0; place < shard->room; place++) {
        if (shard->entries[place].kind != 0) {
            put(&larger, &shard->entries[place]);
        }
    }
    free(shard->entries);
    shard->entries = larger.entries;
    shard->room = larger.room;
    return true;
}

bool allocations_add_note(const struct allocation *entry) {
    struct shard *shard = shard_of(mix(entry->handle));
    mutex_lock(&shard->lock);
    bool fits = (shard->count + 1) * 4 <= shard->room * 3 || grow(shard);
    if (fits) {
        put(shard, entry);
        __atomic_store_n(&shard->count, shard->count + 1, __ATOMIC_RELAXED);
    }
    mutex_unlock(&shard->lock);
    return fits;
}

/* Moves up the entries that were pushed past the gap. */
static void close_gap(struct shard *shard, uint32_t gap) {
    uint32_t mask = shard->room - 1;
    for (uint32_t place = (gap + 1) & mask; shard->entries[place].kind != 0; place = (place + 1) & mask) {
        if (((place - home(shard, &shard->entries[place])) & mask) >= ((place - gap) & mask)) {
            shard->entries[gap] = shard->entries[place];
            gap = place;
        }
    }
    shard->entries[gap].kind = 0;
    __atomic_store_n(&shard->count, shard->count - 1, __ATOMIC_RELAXED);
}

enum search { FIND, REMOVE };

/* `kinds`: a bit for each kind. */
static bool search(uint64_t handle, uint32_t limit, unsigned kinds, struct allocation *entry, enum search what) {
    uint64_t hash = mix(handle);
    struct shard *shard = shard_of(hash);
    bool found = false;
    /* A caller knows the key from a call that noted it before: an empty shard needs no lock. */
    if (__atomic_load_n(&shard->count, __ATOMIC_RELAXED) == 0) {
        return false;
    }
    mutex_lock(&shard->lock);
    uint32_t mask = shard->room - 1;
    for (uint32_t place = (uint32_t)hash & mask; shard->room > 0 && shard->entries[place].kind != 0;
         place = (place + 1) & mask) {
        const struct allocation *each = &shard->entries[place];
        if (each->handle == handle && (kinds >> each->kind & 1) != 0 && each->limit == limit) {
            *entry = *each;
            if (what == REMOVE) {
                close_gap(shard, place);
            }
            found = true;
            break;
        }
    }
    mutex_unlock(&shard->lock);
    return found;
}

bool allocations_remove(struct allocation_key key, struct allocation *entry) {
    return search(key.handle, key.limit, 1u << key.kind, entry, REMOVE);
}

bool allocations_remove_memory(uint64_t address, struct allocation *entry) {
    return search(address, 0, 1u << ALLOCATION_LINEAR | 1u << ALLOCATION_POOLED, entry, REMOVE);
}

bool allocations_find(struct allocation_key key, struct allocation *entry) {
    return search(key.handle, key.limit, 1u << key.kind, entry, FIND);
}

/* Whether the note's union holds a context. */
static bool has_context(uint8_t kind) {
    return kind != 0 && kind != ALLOCATION_POOLED && kind != ALLOCATION_HANDLE;
}

void allocations_sweep(void *context, void (*each)(const struct allocation *entry)) {
    for (struct shard *shard = shards; shard < shards + SHARDS; shard++) {
        mutex_lock(&shard->lock);
        uint32_t place = 0;
        while (place < shard->room) {
            if (has_context(shard->entries[place].kind) && shard->entries[place].context == context) {
                struct allocation entry = shard->entries[place];
                close_gap(shard, place);
                each(&entry); /* then read the same place again: another note may have moved in */
            } else {
                place++;
            }
        }
        mutex_unlock(&shard->lock);
    }
}

void allocations_after_fork(void) {
    for (struct shard *shard = shards; shard < shards + SHARDS; shard++) {
        shard->lock = (struct mutex){0};
    }
}
