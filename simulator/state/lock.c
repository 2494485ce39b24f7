/* Mutexes in the shared file that survive the death of their owner: a waiter asks the kernel whether the owner's slot is
 * still locked, and takes the mutex over if it is not.
 *
 * Not a robust pthread mutex: its owner is a thread number, and in containers with pid namespaces of their own many
 * processes share one. Not a record lock either: two system calls a lock.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "simulator/state/state.h"

#define WAITED 0x80000000U
#define LOOK_AFTER_NS 2000000 /* how long a waiter sleeps before it asks whether the owner lives */
#define SPINS 200

/* Tell the processor that this thread waits for another. */
static void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

static uint32_t exchange_if(sim_mutex *lock, uint32_t expected, uint32_t wanted) {
    __atomic_compare_exchange_n(&lock->word, &expected, wanted, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    return expected;
}

void sim_mutex_lock(sim_machine *machine, sim_mutex *lock) {
    uint32_t mine = (uint32_t)machine->slot + 1;
    for (int spin = 0; spin < SPINS; spin++) {
        uint32_t seen = exchange_if(lock, 0, mine);
        if (seen == 0) {
            return;
        }
        if (seen & WAITED) {
            break;
        }
        cpu_relax();
    }
    for (;;) {
        /* Others may sleep too: taken after a wait, the word keeps saying so. */
        uint32_t seen = exchange_if(lock, 0, mine | WAITED);
        if (seen == 0) {
            return;
        }
        if (!(seen & WAITED)) {
            uint32_t now = exchange_if(lock, seen, seen | WAITED);
            if (now != seen) {
                continue;
            }
            seen |= WAITED;
        }
        struct timespec patience = {.tv_nsec = LOOK_AFTER_NS};
        long slept = syscall(SYS_futex, &lock->word, FUTEX_WAIT, seen, &patience, NULL, 0);
        if (slept == -1 && errno == ETIMEDOUT) {
            int owner = (int)(seen & ~WAITED) - 1;
            if (owner != machine->slot && sim_process_pid(machine, owner) < 0 &&
                exchange_if(lock, seen, mine | WAITED) == seen) {
                return;
            }
        }
    }
}

void sim_mutex_unlock(sim_machine *machine, sim_mutex *lock) {
    (void)machine;
    if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) & WAITED) {
        syscall(SYS_futex, &lock->word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}
