#include "simulator/cuda/stream/shared_event.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "simulator/cuda/core/driver.h"

enum { LOOK_AGAIN_NS = 20000000 }; /* whether the process that recorded still lives */

/* In the file. Clocks are the same in every process of a machine. */
typedef struct content {
    uint64_t recorded, done;
    uint64_t at_ns;
    uint32_t changes; /* waiters sleep on it */
    int32_t slot;     /* of the process that recorded last */
    uint32_t generation;
} content;

struct shared_event {
    int refs, file;
    content *content;
};

shared_event *shared_event_open(int file) {
    shared_event *made = calloc(1, sizeof *made);
    void *mapped =
        made && file >= 0 ? mmap(NULL, sizeof(content), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    if (mapped == MAP_FAILED) {
        free(made);
        if (file >= 0) {
            close(file);
        }
        return NULL;
    }
    *made = (shared_event){.refs = 1, .file = file, .content = mapped};
    return made;
}

shared_event *shared_event_new(void) {
    int file = memfd_create("unigpu-sim-event", MFD_CLOEXEC);
    if (file >= 0 && ftruncate(file, sizeof(content)) != 0) {
        close(file);
        return NULL;
    }
    return shared_event_open(file);
}

shared_event *shared_event_ref(shared_event *held) {
    __atomic_add_fetch(&held->refs, 1, __ATOMIC_RELAXED);
    return held;
}

void shared_event_unref(shared_event *held) {
    if (held && __atomic_sub_fetch(&held->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        munmap(held->content, sizeof *held->content);
        close(held->file);
        free(held);
    }
}

int shared_event_file(const shared_event *named) {
    return named->file;
}

uint64_t shared_event_begin(shared_event *recorded) {
    content *in = recorded->content;
    int slot = sim_driver.machine->slot;
    __atomic_store_n(&in->slot, slot, __ATOMIC_RELAXED);
    __atomic_store_n(&in->generation, sim_driver.machine->state->processes[slot].generation, __ATOMIC_RELAXED);
    return __atomic_add_fetch(&in->recorded, 1, __ATOMIC_ACQ_REL);
}

uint64_t shared_event_last(const shared_event *asked) {
    return __atomic_load_n(&asked->content->recorded, __ATOMIC_ACQUIRE);
}

void shared_event_signal(shared_event *reached, uint64_t ticket, uint64_t at_ns) {
    content *in = reached->content;
    uint64_t done = __atomic_load_n(&in->done, __ATOMIC_ACQUIRE);
    if (ticket > done) {
        __atomic_store_n(&in->at_ns, at_ns, __ATOMIC_RELAXED);
        __atomic_store_n(&in->done, ticket, __ATOMIC_RELEASE);
    }
    __atomic_add_fetch(&in->changes, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &in->changes, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool shared_event_reached(shared_event *asked, uint64_t ticket, uint64_t *at_ns) {
    content *in = asked->content;
    bool reached = __atomic_load_n(&in->done, __ATOMIC_ACQUIRE) >= ticket;
    *at_ns = reached ? __atomic_load_n(&in->at_ns, __ATOMIC_RELAXED) : 0;
    return reached;
}

static bool recorder_is_dead(const content *in) {
    sim_machine *machine = sim_driver.machine;
    int slot = __atomic_load_n(&in->slot, __ATOMIC_RELAXED);
    if (slot < 0 || slot >= SIM_MAX_PROCESSES || slot == machine->slot) {
        return false;
    }
    const sim_process *process = &machine->state->processes[slot];
    bool same = process->generation == __atomic_load_n(&in->generation, __ATOMIC_RELAXED);
    return !same || !process->taken || sim_process_pid(machine, slot) < 0;
}

uint64_t shared_event_wait(shared_event *awaited, uint64_t ticket) {
    content *in = awaited->content;
    for (uint64_t at;;) {
        uint32_t seen = __atomic_load_n(&in->changes, __ATOMIC_ACQUIRE);
        if (shared_event_reached(awaited, ticket, &at)) {
            return at;
        }
        struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
        if (syscall(SYS_futex, &in->changes, FUTEX_WAIT, seen, &pause, NULL, 0) != 0 && recorder_is_dead(in)) {
            return sim_now_ns();
        }
    }
}
