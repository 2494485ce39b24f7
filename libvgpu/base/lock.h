/* A mutex for the threads of one process. It needs only libc's system call, and all zero is unlocked. */
#ifndef UNIGPU_BASE_LOCK_H
#define UNIGPU_BASE_LOCK_H

#include <linux/futex.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

struct mutex {
    int word; /* 0: free, 1: locked, 2: locked, and others wait */
};

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

static inline void mutex_lock(struct mutex *lock) {
    int seen = 0;
    if (__atomic_compare_exchange_n(&lock->word, &seen, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        return;
    }
    for (int turn = 0; turn < 100; turn++) {
        seen = 0;
        if (__atomic_load_n(&lock->word, __ATOMIC_RELAXED) == 0 &&
            __atomic_compare_exchange_n(&lock->word, &seen, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            return;
        }
    }
    while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE) != 0) {
        syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
    }
}

/* False where the mutex is locked. */
static inline bool mutex_try_lock(struct mutex *lock) {
    int seen = 0;
    return __atomic_compare_exchange_n(&lock->word, &seen, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void mutex_unlock(struct mutex *lock) {
    if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2) {
        syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

#endif
