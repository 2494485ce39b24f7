/* How busy a GPU and its processes were, lately and since they began. NVML reports these figures. */
#include "simulator/state/state.h"

enum { SAMPLE_EVERY_NS = 5000000, WINDOW_NS = 166667000, PROCESS_WINDOW_NS = 500000000 };

void sim_load_sample(sim_gpu *gpu, sim_use *use, uint64_t now) {
    const sim_sample *last = &gpu->samples[(gpu->sample_count + SIM_SAMPLES - 1) % SIM_SAMPLES];
    if (gpu->sample_count == 0 || now - last->at_ns >= SAMPLE_EVERY_NS) {
        gpu->samples[gpu->sample_count % SIM_SAMPLES] = (sim_sample){now, sim_busy_until(&gpu->busy, now)};
        gpu->sample_count++;
    }
    if (use && now - use->lately.at_ns >= PROCESS_WINDOW_NS) {
        use->before = use->lately;
        use->lately = (sim_sample){now, sim_busy_until(&use->busy, now)};
    }
}

/* Busy time as it was at a moment within the samples, by a straight line between two of them. */
static double busy_at(const sim_gpu *gpu, uint64_t at, sim_sample newest) {
    sim_sample after = newest;
    uint32_t kept = gpu->sample_count < SIM_SAMPLES ? gpu->sample_count : SIM_SAMPLES;
    for (uint32_t back = 1; back <= kept; back++) {
        const sim_sample *before = &gpu->samples[(gpu->sample_count - back) % SIM_SAMPLES];
        if (before->at_ns <= at) {
            if (after.at_ns == before->at_ns) {
                return (double)before->busy_ns;
            }
            double part = (double)(at - before->at_ns) / (double)(after.at_ns - before->at_ns);
            return (double)before->busy_ns + part * ((double)after.busy_ns - (double)before->busy_ns);
        }
        after = *before;
    }
    return (double)after.busy_ns;
}

static double share(double busy, double time) {
    double part = time > 0 ? busy / time : 0;
    return part < 0 ? 0 : part > 1 ? 1 : part;
}

double sim_load(sim_machine *machine, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    uint64_t now = sim_now_ns();
    sim_mutex_lock(machine, &gpu->lock);
    sim_load_sample(gpu, NULL, now);
    sim_sample newest = {now, sim_busy_until(&gpu->busy, now)};
    double before = busy_at(gpu, now - WINDOW_NS, newest);
    sim_mutex_unlock(machine, &gpu->lock);
    return share((double)newest.busy_ns - before, WINDOW_NS);
}

double sim_process_load(sim_machine *machine, int slot, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &machine->state->processes[slot].use[index];
    uint64_t now = sim_now_ns();
    sim_mutex_lock(machine, &gpu->lock);
    sim_load_sample(gpu, use, now);
    sim_sample since =
        use->lately.at_ns == now || now - use->lately.at_ns < PROCESS_WINDOW_NS / 10 ? use->before : use->lately;
    uint64_t busy = sim_busy_until(&use->busy, now);
    sim_mutex_unlock(machine, &gpu->lock);
    uint64_t from = since.at_ns > gpu->created_ns ? since.at_ns : gpu->created_ns;
    return share((double)busy - (double)since.busy_ns, (double)(now - from));
}

double sim_busy_seconds(sim_machine *machine, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_mutex_lock(machine, &gpu->lock);
    uint64_t busy = sim_busy_until(&gpu->busy, sim_now_ns());
    sim_mutex_unlock(machine, &gpu->lock);
    return (double)busy / 1e9;
}
