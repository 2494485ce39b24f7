/* Sample the GPU time of each process group, as the simulated GPU itself accounts for it:
 * `gpu_time_sampler FOLDER GPU PERIOD_US`.
 *
 * Prints one line per period until it is killed: `NS BUSY GROUP=BUSY ...`, that is CLOCK_MONOTONIC, the GPU's busy time
 * and the busy time of each process group that ever used it, all in ns. The time of a process still counts after its
 * death, as last sampled.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "simulator/state/state.h"

enum { MOST_GROUPS = 512 };

static struct seen {
    uint32_t generation, pid;
    uint64_t busy;
    unsigned group; /* place in `groups` + 1 */
} seen[SIM_MAX_PROCESSES];

static struct group {
    pid_t id;
    uint64_t gone; /* busy time of those that are dead */
    uint64_t now;
} groups[MOST_GROUPS];

/* The simulator books kernels ahead of time: leave out the part that lies in the future. */
static uint64_t busy_of(sim_machine *machine, uint32_t gpu_index, const sim_process *process) {
    sim_gpu *gpu = &machine->state->gpus[gpu_index];
    sim_mutex_lock(machine, &gpu->lock);
    uint64_t busy = sim_busy_until(&process->use[gpu_index].busy, sim_now_ns());
    sim_mutex_unlock(machine, &gpu->lock);
    return busy;
}

static unsigned group_of(uint32_t pid) {
    pid_t id = getpgid((pid_t)pid);
    for (unsigned place = 0; place < MOST_GROUPS; place++) {
        if (groups[place].id == id || groups[place].id == 0) {
            groups[place].id = id;
            return place + 1;
        }
    }
    fprintf(stderr, "gpu_time_sampler: more than %d process groups\n", MOST_GROUPS);
    exit(1);
}

static void sample(sim_machine *machine, uint32_t gpu_index, uint32_t slot) {
    sim_process *process = &machine->state->processes[slot];
    struct seen *known = &seen[slot];
    uint64_t busy = busy_of(machine, gpu_index, process);
    if (known->generation != process->generation || known->pid != process->pid) {
        if (known->group != 0) {
            groups[known->group - 1].gone += known->busy;
        }
        *known = (struct seen){process->generation, process->pid, 0, 0};
    }
    if (busy == 0) {
        return;
    }
    known->busy = busy;
    if (known->group == 0) {
        known->group = group_of(process->pid);
    }
}

int main(int count, char **words) {
    sim_machine *machine;
    if (count != 4 || sim_join(words[1], &machine) != SIM_OK) {
        fprintf(stderr, "usage: gpu_time_sampler FOLDER GPU PERIOD_US; FOLDER holds a simulated machine\n");
        return 2;
    }
    uint32_t gpu_index = (uint32_t)atoi(words[2]);
    uint64_t period = (uint64_t)atol(words[3]) * 1000;
    for (uint64_t due = sim_now_ns();; due += period) {
        struct timespec until = {(time_t)(due / 1000000000U), (long)(due % 1000000000U)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        uint64_t whole = (uint64_t)(sim_busy_seconds(machine, gpu_index) * 1e9);
        uint64_t now = sim_now_ns();
        for (uint32_t slot = 0; slot < machine->state->process_high; slot++) {
            sample(machine, gpu_index, slot);
        }
        for (unsigned place = 0; place < MOST_GROUPS && groups[place].id != 0; place++) {
            groups[place].now = groups[place].gone;
        }
        for (uint32_t slot = 0; slot < machine->state->process_high; slot++) {
            if (seen[slot].group != 0) {
                groups[seen[slot].group - 1].now += seen[slot].busy;
            }
        }
        printf("%lu %lu", now, whole);
        for (unsigned place = 0; place < MOST_GROUPS && groups[place].id != 0; place++) {
            printf(" %d=%lu", (int)groups[place].id, groups[place].now);
        }
        printf("\n");
        fflush(stdout);
    }
}
