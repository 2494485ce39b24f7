/* Slots of processes: claiming one, finding its owner, and reclaiming what dead processes held. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "simulator/state/state.h"

/* Slot locks lie past the file's end, where nothing is ever read or written. */
#define SLOT_BYTES ((off_t)1 << 40)

typedef struct identity {
    uint64_t pid_namespace;
    uint64_t image;
    uint32_t pid;
} identity;

static identity own_identity(void) {
    identity own = {.pid = (uint32_t)getpid()};
    struct stat namespace;
    if (stat("/proc/self/ns/pid", &namespace) == 0) {
        own.pid_namespace = namespace.st_ino;
    }
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (int i = 0; random && i < 16; i++) {
        hash = (hash ^ random[i]) * 0x100000001b3ULL;
    }
    own.image = hash;
    return own;
}

static bool is_own(const sim_process *process, const identity *own) {
    return process->taken && process->pid == own->pid && process->image == own->image &&
           process->pid_namespace == own->pid_namespace;
}

static bool hold_slot(const sim_machine *machine, int slot) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SLOT_BYTES + slot, .l_len = 1};
    return fcntl(machine->fd, F_SETLK, &lock) == 0;
}

pid_t sim_process_pid(sim_machine *machine, int slot) {
    if (slot == machine->slot) {
        return getpid();
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SLOT_BYTES + slot, .l_len = 1};
    if (fcntl(machine->fd, F_GETLK, &lock) != 0) {
        return 0; /* cannot tell: never rob the living */
    }
    return lock.l_type == F_UNLCK ? -1 : lock.l_pid;
}

/* Recomputes what the GPU's processes hold; call with the GPU locked. A process killed between its own figure and
 * the GPU's sum leaves the sum wrong, so nobody trusts it across a death. */
static void add_up(sim_machine *machine, uint32_t gpu) {
    uint64_t used = 0;
    uint32_t high = __atomic_load_n(&machine->state->process_high, __ATOMIC_ACQUIRE);
    for (uint32_t slot = 0; slot < high; slot++) {
        const sim_use *use = &machine->state->processes[slot].use[gpu];
        used += use->memory + use->contexts;
    }
    machine->state->gpus[gpu].used = used;
}

static void take_back(sim_machine *machine, int slot) {
    sim_process *process = &machine->state->processes[slot];
    for (uint32_t gpu = 0; gpu < machine->state->gpu_count; gpu++) {
        sim_mutex_lock(machine, &machine->state->gpus[gpu].lock);
        memset(&process->use[gpu], 0, sizeof process->use[gpu]);
        add_up(machine, gpu);
        sim_work_forget(machine, gpu, slot);
        sim_mutex_unlock(machine, &machine->state->gpus[gpu].lock);
    }
    process->generation++;
    process->suspended = SIM_RUNNING;
    __atomic_store_n(&process->taken, 0, __ATOMIC_RELEASE);
}

void sim_process_reap(sim_machine *machine) {
    sim_state *state = machine->state;
    sim_mutex_lock(machine, &state->lock);
    for (uint32_t slot = 0; slot < state->process_high; slot++) {
        if (state->processes[slot].taken && (int)slot != machine->slot && sim_process_pid(machine, (int)slot) < 0) {
            take_back(machine, (int)slot);
        }
    }
    sim_mutex_unlock(machine, &state->lock);
}

/* A lock that still names the slot was left by its former owner. */
static void free_left_lock(sim_machine *machine, sim_mutex *lock) {
    uint32_t word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);
    if ((word & 0x7FFFFFFFU) == (uint32_t)machine->slot + 1) {
        sim_mutex_unlock(machine, lock);
    }
}

static void settle(sim_machine *machine, const identity *own) {
    sim_state *state = machine->state;
    free_left_lock(machine, &state->lock);
    for (uint32_t gpu = 0; gpu < state->gpu_count; gpu++) {
        free_left_lock(machine, &state->gpus[gpu].lock);
    }
    sim_mutex_lock(machine, &state->lock);
    if ((uint32_t)machine->slot >= state->process_high) {
        __atomic_store_n(&state->process_high, (uint32_t)machine->slot + 1, __ATOMIC_RELEASE);
    }
    take_back(machine, machine->slot);
    sim_process *process = &state->processes[machine->slot];
    process->pid = own->pid;
    process->pid_namespace = own->pid_namespace;
    process->image = own->image;
    memset(process->name, 0, sizeof process->name);
    FILE *name = fopen("/proc/self/comm", "re");
    if (name) {
        if (fgets(process->name, sizeof process->name, name)) {
            process->name[strcspn(process->name, "\n")] = 0;
        }
        fclose(name);
    }
    sim_groups_read(process);
    __atomic_store_n(&process->taken, 1, __ATOMIC_RELEASE);
    sim_mutex_unlock(machine, &state->lock);
}

sim_status sim_process_join(sim_machine *machine) {
    sim_state *state = machine->state;
    identity own = own_identity();
    uint32_t high = __atomic_load_n(&state->process_high, __ATOMIC_ACQUIRE);
    for (uint32_t slot = 0; slot < high; slot++) {
        if (is_own(&state->processes[slot], &own) && hold_slot(machine, (int)slot)) {
            machine->slot = (int)slot;
            return SIM_OK;
        }
    }
    /* Slots that look free first; then any whose owner is gone. */
    for (int pass = 0; pass < 2; pass++) {
        for (int slot = 0; slot < SIM_MAX_PROCESSES; slot++) {
            bool taken = __atomic_load_n(&state->processes[slot].taken, __ATOMIC_ACQUIRE);
            if ((pass == 1 || !taken) && hold_slot(machine, slot)) {
                machine->slot = slot;
                settle(machine, &own);
                return SIM_OK;
            }
        }
    }
    return SIM_FULL;
}
