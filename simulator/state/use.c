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

static sim_status try_take(sim_machine *machine, uint32_t index, uint64_t memory, uint64_t context) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &machine->state->processes[machine->slot].use[index];
    sim_mutex_lock(machine, &gpu->lock);
    uint64_t bytes = memory + context;
    bool closed = context && gpu->settings.compute_mode == EXCLUSIVE_PROCESS && others_have(machine, index);
    uint64_t free = gpu->used <= capacity(gpu) ? capacity(gpu) - gpu->used : 0;
    bool fits = !closed && bytes >= memory && bytes <= free && bytes <= sim_limits_leave(machine, index, free);
    if (fits) {
        use->memory += memory;
        use->contexts += context;
        use->context_count += context != 0;
        gpu->used += bytes;
    }
    sim_mutex_unlock(machine, &gpu->lock);
    return fits ? SIM_OK : closed ? SIM_TAKEN : SIM_NO_ROOM;
}

static sim_status take(sim_machine *machine, uint32_t index, uint64_t memory, uint64_t context) {
    sim_status status = try_take(machine, index, memory, context);
    if (status != SIM_OK) {
        sim_process_reap(machine);
        status = try_take(machine, index, memory, context);
    }
    return status;
}

static void give(sim_machine *machine, uint32_t index, uint64_t memory, uint64_t context) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &machine->state->processes[machine->slot].use[index];
    sim_mutex_lock(machine, &gpu->lock);
    use->memory -= memory;
    use->contexts -= context;
    use->context_count -= context != 0;
    gpu->used -= memory + context;
    sim_mutex_unlock(machine, &gpu->lock);
}

sim_status sim_memory_reserve(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    return take(machine, gpu, bytes, 0);
}

void sim_memory_release(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    give(machine, gpu, bytes, 0);
}

sim_status sim_context_reserve(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    return take(machine, gpu, 0, bytes);
}

void sim_context_release(sim_machine *machine, uint32_t gpu, uint64_t bytes) {
    give(machine, gpu, 0, bytes);
}

uint64_t sim_memory_free_bytes(sim_machine *machine, uint32_t index) {
    sim_process_reap(machine);
    sim_gpu *gpu = &machine->state->gpus[index];
    uint64_t used = __atomic_load_n(&gpu->used, __ATOMIC_RELAXED);
    uint64_t free = used < capacity(gpu) ? capacity(gpu) - used : 0;
    if (__atomic_load_n(&gpu->limit_count, __ATOMIC_RELAXED)) {
        sim_mutex_lock(machine, &gpu->lock);
        free = sim_limits_leave(machine, index, free);
        sim_mutex_unlock(machine, &gpu->lock);
    }
    return free;
}
