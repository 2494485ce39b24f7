#include "libvgpu/compute/poller.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libvgpu/base/dl.h"
#include "libvgpu/base/lock.h"
#include "libvgpu/base/reentrancy.h"
#include "libvgpu/compute/samples.h"
#include "libvgpu/driver/driver.h"

/* The pause between polls: short after a launch, and longer and longer while it runs. */
#define FIRST_LOOK_NS 500000
#define LAST_LOOK_NS 4000000

static struct mutex lock;
static int started; /* 1: the thread runs, -1: it can't be started */
static int idle;    /* futex: 1 while the thread sleeps until it is woken */

static void *work(void *nothing) {
    CUstreamCaptureMode relaxed = CU_STREAM_CAPTURE_MODE_RELAXED;
    inside_libvgpu = true;
    if (DRIVER(cuThreadExchangeStreamCaptureMode) != NULL) {
        DRIVER(cuThreadExchangeStreamCaptureMode)(&relaxed);
    }
    for (long pause = FIRST_LOOK_NS;;) {
        struct timespec time = {0, pause};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
        if (samples_read(NULL) > 0) {
            pause = pause < LAST_LOOK_NS ? pause + pause / 2 : LAST_LOOK_NS;
            continue;
        }
        pause = FIRST_LOOK_NS;
        __atomic_store_n(&idle, 1, __ATOMIC_SEQ_CST);
        while (samples_under_way() == 0 && __atomic_load_n(&idle, __ATOMIC_SEQ_CST) == 1) {
            syscall(SYS_futex, &idle, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
        }
        __atomic_store_n(&idle, 0, __ATOMIC_SEQ_CST);
    }
    return nothing;
}

/* With an older libc not every program has libpthread, but every program that has the driver does. */
static void *thread_function(const char *name) {
    dl_lookup *dlsym = dl_dlsym();
    void *found = dlsym != NULL ? dlsym(RTLD_DEFAULT, name) : NULL;
    if (found == NULL && dlsym != NULL) {
        void *library = dl_loaded("libpthread.so.0");
        found = library != NULL ? dlsym(library, name) : NULL;
    }
    return found;
}

static void start(void) {
    __typeof__(&pthread_create) create = (__typeof__(create))thread_function("pthread_create");
    __typeof__(&pthread_detach) detach = (__typeof__(detach))thread_function("pthread_detach");
    sigset_t all, before;
    pthread_t thread;
    started = -1;
    if (create == NULL || detach == NULL) {
        return;
    }
    /* Signals are for the program's own threads. */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    if (create(&thread, NULL, work, NULL) == 0) {
        detach(thread);
        started = 1;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}

void poller_after_fork(void) {
    lock = (struct mutex){0};
    started = 0;
    idle = 0;
}

void poller_wake(void) {
    static bool prepared;
    if (__atomic_load_n(&started, __ATOMIC_ACQUIRE) == 0) {
        mutex_lock(&lock);
        if (!prepared) {
            prepared = true;
            /* Runs before the driver's own exit handlers; after those the driver must not be called. */
            atexit(samples_stop);
        }
        if (started == 0) {
            start();
        }
        mutex_unlock(&lock);
    }
    if (__atomic_load_n(&idle, __ATOMIC_SEQ_CST) == 1 && __atomic_exchange_n(&idle, 0, __ATOMIC_SEQ_CST) == 1) {
        syscall(SYS_futex, &idle, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}
