#include "libvgpu/interpose/fork.h"

#include <pthread.h>
#include <stdbool.h>

#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/launch.h"
#include "libvgpu/compute/poller.h"
#include "libvgpu/compute/samples.h"

/* Every module whose state the child has to reset. shared/account.c needs no entry: the kernel wipes its page (see
 * MADV_WIPEONFORK there), also where the program forks without libc's fork. */
static void (*const after_fork[])(void) = {
    poller_after_fork,     /* its thread lives in the parent only */
    samples_after_fork,    /* so do the events of its samples */
    cost_cache_after_fork, /* its lock may have been taken; corrections of earlier charges are the parent's */
    gpu_time_after_fork,   /* GPU time that is owed is owed to the parent */
    launch_after_fork,     /* so is the credit of the thread that forked */
};

static void in_child(void) {
    for (unsigned place = 0; place < sizeof after_fork / sizeof after_fork[0]; place++) {
        after_fork[place]();
    }
}

void fork_watch(void) {
    static bool watching;
    if (!__atomic_load_n(&watching, __ATOMIC_RELAXED) && !__atomic_exchange_n(&watching, true, __ATOMIC_RELAXED)) {
        pthread_atfork(NULL, NULL, in_child);
    }
}
