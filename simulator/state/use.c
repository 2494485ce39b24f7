/* Memory of the GPUs: each reservation and release is one step under the GPU's lock. */
#include "simulator/state/state.h"

static uint64_t capacity(const sim_gpu *gpu) {
    return gpu->total_memory - gpu->reserved_memory;
}

enum { EXCLUSIVE_PROCESS = 3 };

/* Whether another process has a context on the GPU. Call with the GPU locked. */
static bool others_have(const sim_machine *machine, uint32_t index) {
    uint32_t high = __atomic_load_n(&machine->state->process_high, __ATOMIC_ACQUIRE);
    for (uint32_t slot = 0; slot < high; slot++) {
        if ((int)slot != machine->slot && machine->state->processes[slot].use[index].context_count) {
            return true;
        }
    }
    return false;
}

/* What is taken or given back. */
typedef struct amount {
    uint64_t memory, context;
    bool managed;
} amount;

static sim_status try_take(sim_machine *machine, uint32_t index, amount wanted) {
    uint64_t memory = wanted.memory, context = wanted.context;
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &machine->state->processes[machine->slot].use[index];
    sim_mutex_lock(machine, &gpu->lock);
    uint64_t bytes = memory + context;
    bool closed = context && gpu->settings.compute_mode == EXCLUSIVE_PROCESS && others_have(machine, index);
    uint64_t free = gpu->used <= capacity(gpu) ? capacity(gpu) - gpu->used : 0;
    bool fits = !closed && bytes >= memory && bytes <= free &&
                (wanted.managed || bytes <= sim_limits_leave(machine, machine->slot, index, free));
    if (fits) {
        use->memory += memory;
        use->managed += wanted.managed ? memory : 0;
        use->contexts += context;
        use->context_count += context != 0;
        gpu->used += bytes;
    }
    sim_mutex_unlock(machine, &gpu->lock);
    return fits ? SIM_OK : closed ? SIM_TAKEN : SIM_NO_ROOM;
}

static sim_status take(sim_machine *machine, uint32_t index, amount wanted) {
    sim_process_check(machine, SIM_CHECKPOINTED);
    sim_status status = try_take(machine, index, wanted);
    if (status != SIM_OK) {
        sim_process_reap(machine);
        status = try_take(machine, index, wanted);
    }
    return status;
}

static void give(sim_machine *machine, uint32_t index, amount given) {
    sim_process_check(machine, SIM_CHECKPOINTED);
    uint64_t memory = given.memory, context = given.context;
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &machine->state->processes[machine->slot].use[index];
    sim_mutex_lock(machine, &gpu->lock);
    use->memory -= memory;
    use->managed -= given.managed ? memory : 0;
    use->contexts -= context;
    use->context_count -= context != 0;
    gpu->used -= memory + context;
    sim_mutex_unlock(machine, &gpu->lock);
}

sim_status sim_memory_reserve(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    return take(machine, gpu, (amount){.memory = bytes});
}

void sim_memory_release(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    give(machine, gpu, (amount){.memory = bytes});
}

sim_status sim_managed_reserve(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    return take(machine, gpu, (amount){.memory = bytes, .managed = true});
}

void sim_managed_release(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    give(machine, gpu, (amount){.memory = bytes, .managed = true});
}

sim_status sim_context_reserve(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    return take(machine, gpu, (amount){.context = bytes});
}

void sim_context_release(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    give(machine, gpu, (amount){.context = bytes});
}

uint64_t sim_memory_free_bytes(sim_machine *machine, uint32_t index) {
    sim_process_reap(machine);
    sim_gpu *gpu = &machine->state->gpus[index];
    uint64_t used = __atomic_load_n(&gpu->used, __ATOMIC_RELAXED);
    uint64_t free = used < capacity(gpu) ? capacity(gpu) - used : 0;
    if (__atomic_load_n(&gpu->limit_count, __ATOMIC_RELAXED)) {
        sim_mutex_lock(machine, &gpu->lock);
        free = sim_limits_leave(machine, machine->slot, index, free);
        sim_mutex_unlock(machine, &gpu->lock);
    }
    return free;
}
