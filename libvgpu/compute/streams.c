#include "libvgpu/compute/streams.h"

#include "libvgpu/base/layout.h"

/* How long after the last change of streams work of another one may still be under way. */
#define SEVERAL_NS 1000000000u

static struct {
    uint64_t last;
    uint64_t changed_at; /* 0: never */
} gpus[VGPU_MAX_GPUS];

bool streams_several(int gpu, uint64_t now) {
    uint64_t at = __atomic_load_n(&gpus[gpu].changed_at, __ATOMIC_RELAXED);
    return at != 0 && now < at + SEVERAL_NS;
}

bool streams_note(int gpu, uint64_t stream, uint64_t now) {
    uint64_t last = __atomic_exchange_n(&gpus[gpu].last, stream, __ATOMIC_RELAXED);
    if (last != stream && last != 0) {
        __atomic_store_n(&gpus[gpu].changed_at, now, __ATOMIC_RELAXED);
    }
    return streams_several(gpu, now);
}
