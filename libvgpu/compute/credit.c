#include "libvgpu/compute/credit.h"

#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/throttle.h"

/* A thread takes little at first, and more each time that it comes back soon. */
#define WISH_LEAST_NS 20000
#define WISH_MOST_NS 500000
#define SOON_NS 3000000u

/* Anything that takes longer was a wait. */
#define SLEPT_NS 50000u

static int64_t next_wish(struct credit_pace *pace, int64_t cost, uint64_t now) {
    int64_t wish = pace->wish;
    if (now - pace->taken_at < SOON_NS) {
        wish = wish < WISH_MOST_NS / 2 ? wish * 2 : WISH_MOST_NS;
    } else {
        wish = WISH_LEAST_NS;
    }
    if (wish < WISH_LEAST_NS) {
        wish = WISH_LEAST_NS;
    }
    pace->wish = wish;
    return wish > cost ? wish : cost;
}

bool credit_charge(struct credit *credit, int gpu, int64_t cost) {
    int64_t *left = &credit->ns[gpu];
    if (*left >= cost) {
        *left -= cost;
        return false;
    }
    uint64_t begun = throttle_clock();
    struct credit_pace *pace = &credit->pace[gpu];
    int64_t missing = cost - *left;
    *left += gpu_time_take(gpu, missing, next_wish(pace, missing, begun)) - cost;
    pace->taken_at = throttle_clock();
    return pace->taken_at - begun > SLEPT_NS;
}

void credit_return(struct credit *credit) {
    for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        int64_t left = credit->ns[gpu];
        credit->ns[gpu] = 0;
        if (left > 0) {
            gpu_time_give(gpu, left);
        }
    }
}

void credit_forget(struct credit *credit) {
    for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        credit->ns[gpu] = 0;
    }
}
