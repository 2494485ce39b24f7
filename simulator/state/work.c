/* A card's time. When a kernel is submitted its start and end are settled at once: nothing runs, everything is known,
 * and every process computes the same. */
#include "simulator/state/state.h"

enum { SAMPLE_EVERY_NS = 5000000, WINDOW_NS = 166667000, PROCESS_WINDOW_NS = 500000000 };

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* Busy time up to now: what is booked, less what still lies ahead. */
static uint64_t busy_until_now(const sim_busy *busy, uint64_t now) {
    uint64_t ahead = busy->until_ns > now ? busy->until_ns - now : 0;
    return busy->booked_ns > ahead ? busy->booked_ns - ahead : 0;
}

static void add_interval(sim_busy *busy, uint64_t start, uint64_t end) {
    uint64_t from = later(start, busy->until_ns);
    if (end > from) {
        busy->booked_ns += end - from;
        busy->until_ns = end;
    }
}

static void sample(sim_gpu *gpu, uint64_t now) {
    const sim_sample *last = &gpu->samples[(gpu->sample_count + SIM_SAMPLES - 1) % SIM_SAMPLES];
    if (gpu->sample_count == 0 || now - last->at_ns >= SAMPLE_EVERY_NS) {
        gpu->samples[gpu->sample_count % SIM_SAMPLES] = (sim_sample){now, busy_until_now(&gpu->busy, now)};
        gpu->sample_count++;
    }
}

static void sample_use(sim_use *use, uint64_t now) {
    if (now - use->lately.at_ns >= PROCESS_WINDOW_NS) {
        use->before = use->lately;
        use->lately = (sim_sample){now, busy_until_now(&use->busy, now)};
    }
}

/* The lanes to take: those that come free last but in time, so that short gaps are filled first; then the earliest. */
static uint64_t choose_lanes(const sim_gpu *gpu, unsigned lanes, uint64_t ready, bool chosen[SIM_LANES]) {
    uint64_t start = ready;
    for (unsigned taken = 0; taken < lanes; taken++) {
        int best = -1;
        for (int lane = 0; lane < SIM_LANES; lane++) {
            if (chosen[lane]) {
                continue;
            }
            uint64_t free_at = gpu->lane_free_ns[lane];
            uint64_t best_at = best < 0 ? 0 : gpu->lane_free_ns[best];
            bool in_time = free_at <= ready, best_in_time = best_at <= ready;
            if (best < 0 || (in_time && !best_in_time) || (in_time && best_in_time && free_at > best_at) ||
                (!in_time && !best_in_time && free_at < best_at)) {
                best = lane;
            }
        }
        chosen[best] = true;
        start = later(start, gpu->lane_free_ns[best]);
    }
    return start;
}

uint64_t sim_work_book(sim_machine *machine, uint32_t index, unsigned lanes, uint64_t duration, uint64_t ready) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &machine->state->processes[machine->slot].use[index];
    lanes = lanes < 1 ? 1 : lanes > SIM_LANES ? SIM_LANES : lanes;
    bool chosen[SIM_LANES] = {false};
    uint64_t now = sim_now_ns();
    sim_lock_take(machine, &gpu->lock);
    sample(gpu, now);
    sample_use(use, now);
    uint64_t start = choose_lanes(gpu, lanes, later(ready, now), chosen);
    uint64_t end = start + duration;
    for (int lane = 0; lane < SIM_LANES; lane++) {
        if (chosen[lane]) {
            gpu->lane_free_ns[lane] = end;
            use->lane_end_ns[lane] = end;
        }
    }
    add_interval(&gpu->busy, start, end);
    add_interval(&use->busy, start, end);
    sim_lock_release(machine, &gpu->lock);
    return end;
}

void sim_work_rebook(sim_machine *machine, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    uint32_t high = __atomic_load_n(&machine->state->process_high, __ATOMIC_ACQUIRE);
    uint64_t last = 0;
    for (int lane = 0; lane < SIM_LANES; lane++) {
        uint64_t end = 0;
        for (uint32_t slot = 0; slot < high; slot++) {
            end = later(end, machine->state->processes[slot].use[index].lane_end_ns[lane]);
        }
        if (end < gpu->lane_free_ns[lane]) {
            gpu->lane_free_ns[lane] = end;
        }
        last = later(last, gpu->lane_free_ns[lane]);
    }
    uint64_t now = sim_now_ns();
    if (gpu->busy.until_ns > later(last, now)) {
        gpu->busy.booked_ns -= gpu->busy.until_ns - later(last, now);
        gpu->busy.until_ns = later(last, now);
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
    sim_lock_take(machine, &gpu->lock);
    sample(gpu, now);
    sim_sample newest = {now, busy_until_now(&gpu->busy, now)};
    double before = busy_at(gpu, now - WINDOW_NS, newest);
    sim_lock_release(machine, &gpu->lock);
    return share((double)newest.busy_ns - before, WINDOW_NS);
}

double sim_process_load(sim_machine *machine, int slot, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = &machine->state->processes[slot].use[index];
    uint64_t now = sim_now_ns();
    sim_lock_take(machine, &gpu->lock);
    sample_use(use, now);
    sim_sample since = use->lately.at_ns == now || now - use->lately.at_ns < PROCESS_WINDOW_NS / 10 ? use->before
                                                                                                   : use->lately;
    uint64_t busy = busy_until_now(&use->busy, now);
    sim_lock_release(machine, &gpu->lock);
    uint64_t from = later(since.at_ns, gpu->created_ns);
    return share((double)busy - (double)since.busy_ns, (double)(now - from));
}

double sim_busy_seconds(sim_machine *machine, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_lock_take(machine, &gpu->lock);
    uint64_t busy = busy_until_now(&gpu->busy, sim_now_ns());
    sim_lock_release(machine, &gpu->lock);
    return (double)busy / 1e9;
}
