/* The course of one allocation: reserve from the share, let the driver allocate, then note the allocation or cancel. */
#ifndef UNIGPU_MEMORY_RESERVATION_H
#define UNIGPU_MEMORY_RESERVATION_H

#include "libvgpu/driver/devices.h"
#include "libvgpu/memory/allocations.h"

struct reservation {
    CUcontext context;
    uint64_t bytes;
    int gpu;
    bool counted;
};

/* Reserves bytes of a GPU; false: refused. */
bool reservation_take(struct reservation *reservation, CUcontext context, int gpu, uint64_t bytes);

/* As reservation_take, for memory that the driver has given already. */
bool reservation_count(struct reservation *reservation, CUcontext context, int gpu, uint64_t bytes);

/* As reservation_take, in the calling thread's context. Without a context it reserves nothing, and the driver refuses
 * the call. */
bool reservation_take_current(struct reservation *reservation, uint64_t bytes);

/* Changes the reservation to what the driver turned out to need. False, and nothing is changed, where that is more than
 * is left. */
bool reservation_adjust(struct reservation *reservation, uint64_t bytes);

/* Gives everything back: the driver failed. */
void reservation_cancel(struct reservation *reservation);

/* Notes the memory under its key, or cancels the reservation where the driver failed. Returns the driver's result. */
CUresult reservation_finish(struct reservation *reservation, CUresult result, struct allocation_key key);

/* Gives back the memory of an allocation that was freed. */
void reservation_release(const struct allocation *entry);

#endif
