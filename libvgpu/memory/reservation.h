/* The course of one allocation: take from the share, let the driver work, then note it or give back. */
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

/* Takes bytes of a GPU; false: refused. */
bool reservation_take(struct reservation *reservation, CUcontext context, int gpu, uint64_t bytes);

/* As reservation_take, on the calling thread's context; without one nothing is taken, and the driver says what is wrong. */
bool reservation_take_current(struct reservation *reservation, uint64_t bytes);

/* The driver turned out to need more or less; false, and nothing is changed, where more isn't to be had. */
bool reservation_adjust(struct reservation *reservation, uint64_t bytes);

/* Gives all back: the driver gave nothing. */
void reservation_cancel(struct reservation *reservation);

/* Notes the memory under its key if the driver gave it, else gives back; answers the driver's result. */
CUresult reservation_finish(struct reservation *reservation, CUresult result, struct allocation_key key);

/* Gives back what a note says. */
void reservation_release(const struct allocation *entry);

#endif
