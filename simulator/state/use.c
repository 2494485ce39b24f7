/* Memory of the GPUs: each reservation and release is one step under the GPU's lock. */
#include "simulator/state/state.h"

static uint64_t capacity(const sim_gpu *gpu) {
    return gpu->total_memory - gpu->reserved_memory;
}

static bool try_take(sim_machine *machine, uint32_t index, uint64_t memory, uint64_t context) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &machine->state->processes[machine->slot].use[index];
    sim_mutex_lock(machine, &gpu->lock);
    uint64_t bytes = memory + context;
    bool fits = bytes >= memory && gpu->used <= capacity(gpu) && bytes <= capacity(gpu) - gpu->used;
    if (fits) {
        use->memory += memory;
        use->contexts += context;
        use->context_count += context != 0;
        gpu->used += bytes;
    }
    sim_mutex_unlock(machine, &gpu->lock);
    return fits;
}

static sim_status take(sim_machine *machine, uint32_t index, uint64_t memory, uint64_t context) {
    if (try_take(machine, index, memory, context)) {
        return SIM_OK;
    }
    sim_process_reap(machine);
    return try_take(machine, index, memory, context) ? SIM_OK : SIM_NO_ROOM;
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
    return used < capacity(gpu) ? capacity(gpu) - used : 0;
}
