/* The table of pools, which pools.c, pool_growth.c and pool_life.c share. */
#ifndef UNIGPU_MEMORY_POOL_TABLE_H
#define UNIGPU_MEMORY_POOL_TABLE_H

#include "libvgpu/driver/devices.h"

#define MOST_POOLS 256

struct pool {
    bool taken;
    CUmemoryPool handle; /* NULL: the pool of the device's graphs */
    CUdevice device;
    int gpu;
    bool stays; /* a device's default pool, which can't be destroyed */
    uint64_t counted;
    uint64_t reserved; /* from the share, for driver calls under way: more than `counted` */
    uint64_t wanted;   /* bytes that those calls allocate */
    unsigned calls;    /* under way: the entry stays as long */
    uint64_t living; /* living allocations, which survive the pool's end */
    bool gone; /* the pool was destroyed: its memory stays with its allocations, and the driver doesn't report it */
    bool late; /* no allocation lives, but the GPU may not have reached the last free */
    bool over; /* the GPU has reached it */
};

extern struct pool pool_table[MOST_POOLS];

/* Guards the table. Held while sizes are read and counted, never while the driver allocates, launches, frees or destroys: such
 * a call may wait for the GPU, and the GPU for a thread that needs this lock. What follows is called with it. */
void pool_table_lock(void);
bool pool_table_try_lock(void);
void pool_table_unlock(void);

/* Finds the pool of that handle, or with NULL that of the device's graphs; NULL where it isn't in the table. */
struct pool *pool_table_find(CUmemoryPool handle, CUdevice device);

/* Finds or enters it; NULL where the table is full. */
struct pool *pool_table_add(CUmemoryPool handle, CUdevice device);

/* Reads the size that the driver reports, and the part of it that is in use; false where it reports none. */
bool pool_read_size(const struct pool *pool, uint64_t *reserved, uint64_t *used);

/* Counts the size that the driver reports. Growth by calls under way is in `reserved` already, and counted when they end.
 * False, and nothing is changed, where the size is more than is left. */
bool pool_count_size(struct pool *pool);

/* Counts the sizes of all pools of the GPU. */
void pool_table_refresh(int gpu);

/* Takes the pool out of the table and gives back what is counted, now or when the last call under way ends. */
void pool_end(struct pool *pool);

/* Ends the pool where a stream has reached the free of its last allocation. */
void pool_end_if_over(struct pool *pool);

#endif
