#include "libvgpu/compute/poller.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libvgpu/base/reentrancy.h"
#include "libvgpu/driver/driver.h"
#include "libvgpu/base/dl.h"
#include "libvgpu/base/lock.h"
#include "libvgpu/compute/samples.h"

/* Looks come at these distances: soon after a launch, and ever more rarely while it goes on. */
#define FIRST_LOOK_NS 500000
#define LAST_LOOK_NS 4000000

static struct mutex lock;
static int started; /* 1: there is a thread, -1: there can't be one */
static int idle;    /* futex: 1 while the thread sleeps for good */

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

/* libpthread isn't in every program of an older libc; where the driver is, it is. */
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
    /* Signals are the program's own threads'. */
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
            /* After this the driver's own ends come, and then it mustn't be asked. */
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
