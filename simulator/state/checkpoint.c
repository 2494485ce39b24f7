/* Suspending processes: one that is locked makes no calls, one that is checkpointed has nothing on its GPUs. The contents of its
 * memory are in the host's anyway. */
#include <linux/futex.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "simulator/state/state.h"

static sim_process *find(sim_machine *machine, pid_t pid, int *slot) {
    uint32_t high = __atomic_load_n(&machine->state->process_high, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < high; i++) {
        if (machine->state->processes[i].taken && sim_process_pid(machine, (int)i) == pid) {
            *slot = (int)i;
            return &machine->state->processes[i];
        }
    }
    return NULL;
}

static int change(sim_machine *machine, pid_t pid, uint32_t from, uint32_t to) {
    int slot;
    sim_process *target = find(machine, pid, &slot);
    if (!target) {
        return SIM_NO_PROCESS;
    }
    if (!__atomic_compare_exchange_n(&target->suspended, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        return SIM_WRONG_STATE;
    }
    syscall(SYS_futex, &target->suspended, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    return SIM_OK;
}

int sim_process_lock(sim_machine *machine, pid_t pid) {
    return change(machine, pid, SIM_RUNNING, SIM_LOCKED);
}

int sim_process_unlock(sim_machine *machine, pid_t pid) {
    return change(machine, pid, SIM_LOCKED, SIM_RUNNING);
}

int sim_process_state(sim_machine *machine, pid_t pid, uint32_t *state) {
    int slot;
    const sim_process *target = find(machine, pid, &slot);
    if (target) {
        *state = __atomic_load_n(&target->suspended, __ATOMIC_ACQUIRE);
    }
    return target ? SIM_OK : SIM_NO_PROCESS;
}

void sim_process_await(sim_machine *machine, uint32_t from) {
    uint32_t *state = &machine->state->processes[machine->slot].suspended;
    for (uint32_t seen; (seen = __atomic_load_n(state, __ATOMIC_ACQUIRE)) >= from;) {
        syscall(SYS_futex, state, FUTEX_WAIT, seen, NULL, NULL, 0);
    }
}

/* When the kernels that a process has booked are over. */
static uint64_t work_end(const sim_process *target, uint32_t gpus) {
    uint64_t end = 0;
    for (uint32_t gpu = 0; gpu < gpus; gpu++) {
        for (int lane = 0; lane < SIM_LANES; lane++) {
            end = sim_later(end, __atomic_load_n(&target->use[gpu].lane_end_ns[lane], __ATOMIC_RELAXED));
        }
    }
    return end;
}

static void park(sim_machine *machine, sim_process *target, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &target->use[index];
    sim_mutex_lock(machine, &gpu->lock);
    use->parked_memory = use->memory;
    use->parked_managed = use->managed;
    use->parked_contexts = use->contexts;
    gpu->used -= use->memory + use->contexts;
    use->memory = use->managed = use->contexts = 0;
    sim_mutex_unlock(machine, &gpu->lock);
}

/* Puts everything back, or nothing. */
static bool unpark(sim_machine *machine, int slot, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &machine->state->processes[slot].use[index];
    sim_mutex_lock(machine, &gpu->lock);
    uint64_t wanted = use->parked_memory + use->parked_contexts, counted = wanted - use->parked_managed;
    uint64_t capacity = gpu->total_memory - gpu->reserved_memory;
    uint64_t free = gpu->used < capacity ? capacity - gpu->used : 0;
    bool fits = wanted <= free && counted <= sim_limits_leave(machine, slot, index, free);
    if (fits) {
        use->memory = use->parked_memory;
        use->managed = use->parked_managed;
        use->contexts = use->parked_contexts;
        use->parked_memory = use->parked_managed = use->parked_contexts = 0;
        gpu->used += wanted;
    }
    sim_mutex_unlock(machine, &gpu->lock);
    return fits;
}

int sim_process_checkpoint(sim_machine *machine, pid_t pid) {
    int slot, changed = change(machine, pid, SIM_LOCKED, SIM_CHECKPOINTED);
    sim_process *target = changed == SIM_OK ? find(machine, pid, &slot) : NULL;
    if (!target) {
        return changed == SIM_OK ? SIM_NO_PROCESS : changed;
    }
    uint32_t gpus = machine->state->gpu_count;
    for (uint64_t end; (end = work_end(target, gpus)) > sim_now_ns();) {
        struct timespec until = {(time_t)(end / 1000000000U), (long)(end % 1000000000U)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    for (uint32_t gpu = 0; gpu < gpus; gpu++) {
        park(machine, target, gpu);
    }
    return SIM_OK;
}

int sim_process_restore(sim_machine *machine, pid_t pid) {
    int slot;
    sim_process *target = find(machine, pid, &slot);
    if (!target) {
        return SIM_NO_PROCESS;
    }
    if (__atomic_load_n(&target->suspended, __ATOMIC_ACQUIRE) != SIM_CHECKPOINTED) {
        return SIM_WRONG_STATE;
    }
    sim_process_reap(machine);
    for (uint32_t gpu = 0; gpu < machine->state->gpu_count; gpu++) {
        if (!unpark(machine, slot, gpu)) {
            while (gpu-- > 0) {
                park(machine, target, gpu);
            }
            return SIM_NO_ROOM;
        }
    }
    return change(machine, pid, SIM_CHECKPOINTED, SIM_LOCKED);
}
