#include "libvgpu/interpose/fork.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/base/reentrancy.h"
#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/launch.h"
#include "libvgpu/compute/poller.h"
#include "libvgpu/compute/samples.h"
#include "libvgpu/memory/allocations.h"

static unsigned char unwatched = FORK_WIPED;
unsigned char *fork_mark = &unwatched;

/* Every module whose state the child has to reset, beyond its MUTEX. shared/account.c needs no entry: the kernel wipes
 * its page too. */
static void (*const after_fork[])(void) = {
    allocations_after_fork, /* each of its tables has a lock */
    poller_after_fork,      /* its thread lives in the parent only */
    samples_after_fork,     /* so do the events of its samples */
    cost_cache_after_fork,  /* its lock may have been taken; corrections of earlier charges are the parent's */
    gpu_time_after_fork,    /* GPU time that is owed is owed to the parent */
    launch_after_fork,      /* so is the credit of the thread that forked */
};

static void reset(void) {
    mutex_free_all();
    for (unsigned place = 0; place < sizeof after_fork / sizeof after_fork[0]; place++) {
        after_fork[place]();
    }
    inside_libvgpu = false;
    inside_driver = false;
}

static void in_child(void) {
    reset();
    __atomic_store_n(fork_mark, FORK_CHILD, __ATOMIC_RELEASE);
}

/* Where no page can be wiped, only libc's fork is noticed. */
static void watch(void) {
    static pid_t watcher; /* a process number: a fork may happen right here */
    pid_t me = getpid();
    if (__atomic_exchange_n(&watcher, me, __ATOMIC_RELAXED) == me) {
        return;
    }
    pthread_atfork(NULL, NULL, in_child);
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || madvise(page, bytes, MADV_WIPEONFORK) != 0) {
        __atomic_store_n(&unwatched, FORK_BEGUN, __ATOMIC_RELEASE);
        return;
    }
    *page = FORK_BEGUN;
    __atomic_store_n(&fork_mark, page, __ATOMIC_RELEASE);
}

void fork_begin(void) {
    unsigned char *mark = __atomic_load_n(&fork_mark, __ATOMIC_ACQUIRE), seen = FORK_WIPED;
    if (mark == &unwatched) {
        if (__atomic_load_n(mark, __ATOMIC_ACQUIRE) == FORK_WIPED) {
            watch();
        }
    } else if (__atomic_compare_exchange_n(mark, &seen, FORK_BEGINNING, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
        in_child();
    } else {
        while (__atomic_load_n(mark, __ATOMIC_ACQUIRE) == FORK_BEGINNING) {
            sched_yield();
        }
    }
}

bool fork_passes(enum driver_symbol symbol) {
    int count;
    unsigned char *mark = __atomic_load_n(&fork_mark, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(mark, __ATOMIC_ACQUIRE) != FORK_CHILD || symbol > DRIVER_BEFORE_NVML ||
        symbol == DRIVER_cuGetProcAddress || symbol == DRIVER_cuGetProcAddress_v2) {
        return false;
    }
    inside_libvgpu = true;
    bool own = DRIVER(cuDeviceGetCount) != NULL && DRIVER(cuDeviceGetCount)(&count) == CUDA_SUCCESS;
    inside_libvgpu = false;
    if (own) {
        __atomic_store_n(mark, FORK_BEGUN, __ATOMIC_RELEASE);
    }
    return !own;
}
