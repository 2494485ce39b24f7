/* A mutex for the threads of one process, for sections of a few instructions: to unlock it is a plain store, so a waiter isn't
 * woken, but looks again after a moment, which grows. It needs only libc's system calls, and all zero is unlocked. */
#ifndef UNIGPU_BASE_LOCK_H
#define UNIGPU_BASE_LOCK_H

#include <sched.h>
#include <stdbool.h>
#include <time.h>

struct mutex {
    int word; /* 0: free, 1: locked */
};

/* How often a waiter looks before it lets others run, and before it sleeps; and for how long at first and at most. */
#define MUTEX_SPINS 100
#define MUTEX_YIELDS 4
#define MUTEX_FIRST_NS 20000
#define MUTEX_MOST_NS 640000

/* Defines a mutex that is unlocked in the child of a fork: the thread that holds it may live in the parent only. Every
 * mutex in libvgpu is defined so, or reset by its module. */
#define MUTEX(name) static struct mutex name __attribute__((section("libvgpu_mutexes"), aligned(4)))

extern struct mutex __start_libvgpu_mutexes[] __attribute__((visibility("hidden")));
extern struct mutex __stop_libvgpu_mutexes[] __attribute__((visibility("hidden")));

/* In the child of a fork. */
static inline void mutex_free_all(void) {
    for (struct mutex *each = __start_libvgpu_mutexes; each < __stop_libvgpu_mutexes; each++) {
        each->word = 0;
    }
}

/* False where the mutex is locked. */
static inline bool mutex_try_lock(struct mutex *lock) {
    int seen = 0;
    return __atomic_load_n(&lock->word, __ATOMIC_RELAXED) == 0 &&
           __atomic_compare_exchange_n(&lock->word, &seen, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static __attribute__((noinline, unused)) void mutex_await(struct mutex *lock) {
    long sleep_ns = MUTEX_FIRST_NS;
    for (unsigned turn = 0; !mutex_try_lock(lock); turn++) {
        if (turn >= MUTEX_SPINS + MUTEX_YIELDS) {
            nanosleep(&(struct timespec){.tv_nsec = sleep_ns}, NULL);
            sleep_ns = sleep_ns < MUTEX_MOST_NS ? 2 * sleep_ns : sleep_ns;
        } else if (turn >= MUTEX_SPINS) {
            sched_yield();
        }
    }
}

static inline void mutex_lock(struct mutex *lock) {
    int seen = 0;
    if (!__atomic_compare_exchange_n(&lock->word, &seen, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        mutex_await(lock);
    }
}

static inline void mutex_unlock(struct mutex *lock) {
    __atomic_store_n(&lock->word, 0, __ATOMIC_RELEASE);
}

#endif
