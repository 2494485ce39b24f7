/* The time of a GPU. No kernel really runs: booking a kernel settles its start and its end, and every process computes the
 * same result from the shared state.
 *
 * - One process has the GPU at a time, as a real GPU runs contexts of different processes one after another. Kernels of one
 *   process run side by side as long as lanes of the GPU are free.
 * - A process may have at most one slice booked ahead of now. Processes that keep a GPU busy therefore take turns of about
 *   one slice.
 * - The rest of a longer kernel is booked later by the process that owns it, but as of the moment at which it was submitted:
 *   a real GPU finds its work in a queue and doesn't depend on the host being on time. A thread that wakes up late loses
 *   nothing while the GPU was idle, even if other processes have booked later time already.
 * - Under the multi-process service kernels of all processes share the lanes, as those of one do.
 * - A process that has had over a slice more than another waiting process lets that one go first. Waking up late therefore
 *   doesn't cost a share of the GPU either. */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "simulator/state/state.h"

enum {
    SLICE_NS = 2000000,
    PIECE_NS = SLICE_NS / 2, /* a longer kernel is booked in pieces */
    CREDIT_NS = 2 * SLICE_NS, /* how far behind the others a process counts that was idle */
    PATIENCE_NS = 50000000, /* others wait no longer for a process that has stopped asking */
    LOOK_AGAIN_NS = 1000000,
    SHORTEST_SLEEP_NS = 50000,
    SHORTEST_GAP_NS = 10000, /* an idle gap of this length is worth splitting a longer kernel */
};

/* Chooses lanes: those that come free last but in time, so that short gaps are filled first; then the earliest ones. */
static uint64_t choose_lanes(const uint64_t free_ns[SIM_LANES], const sim_job *job, bool chosen[SIM_LANES]) {
    unsigned lanes = job->lanes, part = job->part ? job->part : (1U << SIM_LANES) - 1;
    uint64_t ready = job->ready_ns, start = ready;
    if (lanes >= SIM_LANES) {
        for (int lane = 0; lane < SIM_LANES; lane++) {
            chosen[lane] = true;
            start = sim_later(start, free_ns[lane]);
        }
        return start;
    }
    lanes = lanes < 1 ? 1 : lanes;
    for (unsigned taken = 0; taken < lanes; taken++) {
        int best = -1;
        for (int lane = 0; lane < SIM_LANES; lane++) {
            if (chosen[lane] || !(part >> lane & 1)) {
                continue;
            }
            uint64_t free_at = free_ns[lane];
            uint64_t best_at = best < 0 ? 0 : free_ns[best];
            bool in_time = free_at <= ready, best_in_time = best_at <= ready;
            if (best < 0 || (in_time && !best_in_time) || (in_time && best_in_time && free_at > best_at) ||
                (!in_time && !best_in_time && free_at < best_at)) {
                best = lane;
            }
        }
        if (best < 0) {
            break;
        }
        chosen[best] = true;
        start = sim_later(start, free_ns[best]);
    }
    return start;
}

static sim_use *use_of(sim_machine *machine, int slot, uint32_t index) {
    return &machine->state->processes[slot].use[index];
}

/* Whether a process has had work waiting all the time since it last said so. */
static bool asks(const sim_gpu *gpu, int slot) {
    return gpu->asking[slot / 64] >> slot % 64 & 1;
}

/* A process that waits and is more than a slice behind this one; SIM_NO_SLOT: nobody. */
static int whose_turn(sim_machine *machine, uint32_t index, uint64_t now) {
    const sim_gpu *gpu = &machine->state->gpus[index];
    uint64_t own = use_of(machine, machine->slot, index)->served_ns;
    uint32_t words = (__atomic_load_n(&machine->state->process_high, __ATOMIC_ACQUIRE) + 63) / 64;
    for (uint32_t word = 0; word < words; word++) {
        for (uint64_t left = gpu->asking[word]; left; left &= left - 1) {
            int slot = (int)(word * 64) + __builtin_ctzll(left);
            const sim_use *theirs = use_of(machine, slot, index);
            bool still = now < theirs->asked_ns + PATIENCE_NS;
            if (slot != machine->slot && still && theirs->served_ns + SLICE_NS < own) {
                return slot;
            }
        }
    }
    return SIM_NO_SLOT;
}

/* Finds when the job can start, and how much of it may run at once: next to what its process has booked, or after everything
 * that any process has booked. */
static uint64_t place(const sim_gpu *gpu, const sim_use *use, const sim_job *job, bool *chosen, uint64_t *piece) {
    if (gpu->settings.mps) {
        return choose_lanes(gpu->lane_end_ns, job, chosen);
    }
    uint64_t start = choose_lanes(use->lane_end_ns, job, chosen);
    uint64_t card_end = sim_busy_end(&gpu->busy);
    for (uint32_t i = 0; i < use->busy.count; i++) {
        const sim_span *turn = &use->busy.spans[i];
        if (turn->end_ns > start) {
            start = sim_later(start, turn->start_ns);
            *piece = turn->end_ns < card_end ? sim_earlier(*piece, turn->end_ns - start) : *piece;
            return start;
        }
    }
    return sim_later(start, card_end);
}

/* Time that went by idle before `start`, since the job was there. */
static bool left_idle(const sim_gpu *gpu, const sim_use *use, const sim_job *job, uint64_t start, sim_span *gap) {
    sim_span past = {sim_later(job->ready_ns, use->busy.sum_until_ns), start};
    uint64_t least = job->left_ns < SHORTEST_GAP_NS ? job->left_ns : SHORTEST_GAP_NS;
    return !gpu->settings.mps && past.start_ns < past.end_ns && sim_busy_gap(&gpu->busy, past, least, gap);
}

static void book_piece(sim_gpu *gpu, sim_use *use, sim_job *job, const bool *chosen, uint64_t start, uint64_t piece) {
    uint64_t end = start + piece;
    for (int lane = 0; lane < SIM_LANES; lane++) {
        if (chosen[lane] && gpu->lane_end_ns[lane] < end) {
            __atomic_store_n(&gpu->lane_end_ns[lane], end, __ATOMIC_RELAXED);
        }
        if (chosen[lane] && use->lane_end_ns[lane] < end) {
            __atomic_store_n(&use->lane_end_ns[lane], end, __ATOMIC_RELAXED);
        }
    }
    sim_busy_add(&gpu->busy, start, end);
    use->served_ns += sim_busy_add(&use->busy, start, end);
    gpu->served_ns = sim_later(gpu->served_ns, use->served_ns);
    job->ready_ns = end;
    job->left_ns -= piece;
}

/* Lets processes that were held back try again. */
static void wake(sim_gpu *gpu) {
    if (__atomic_exchange_n(&gpu->held, 0, __ATOMIC_ACQ_REL)) {
        __atomic_add_fetch(&gpu->turn, 1, __ATOMIC_RELEASE);
        syscall(SYS_futex, &gpu->turn, FUTEX_WAKE, SIM_MAX_PROCESSES, NULL, NULL, 0);
    }
}

bool sim_work_book(sim_machine *machine, uint32_t index, sim_job *job, uint64_t now) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_use *use = use_of(machine, machine->slot, index);
    job->behind = SIM_NO_SLOT;
    sim_mutex_lock(machine, &gpu->lock);
    sim_load_sample(gpu, use, now);
    use->asked_ns = now;
    if (!asks(gpu, machine->slot)) {
        use->served_ns = sim_later(use->served_ns, gpu->served_ns > CREDIT_NS ? gpu->served_ns - CREDIT_NS : 0);
    }
    while (job->left_ns) {
        uint64_t piece = sim_earlier(job->left_ns, PIECE_NS);
        bool chosen[SIM_LANES] = {false};
        uint64_t start = place(gpu, use, job, chosen, &piece);
        sim_span gap;
        if (left_idle(gpu, use, job, sim_earlier(start, now), &gap)) {
            start = gap.start_ns;
            piece = sim_earlier(job->left_ns, sim_earlier(PIECE_NS, gap.end_ns - start));
        }
        uint64_t ahead = sim_busy_ahead(&use->busy, now);
        uint64_t growth = sim_busy_growth(&use->busy, start, start + piece);
        if (start + piece > now && ahead + growth > SLICE_NS) {
            job->look_ns = sim_later(sim_busy_moment(&use->busy, SLICE_NS - PIECE_NS), now + SHORTEST_SLEEP_NS);
            break;
        }
        job->behind = growth && !gpu->settings.mps ? whose_turn(machine, index, now) : SIM_NO_SLOT;
        if (job->behind != SIM_NO_SLOT) {
            job->turn = __atomic_load_n(&gpu->turn, __ATOMIC_RELAXED);
            __atomic_store_n(&gpu->held, 1, __ATOMIC_RELEASE);
            break;
        }
        book_piece(gpu, use, job, chosen, start, piece);
    }
    sim_mutex_unlock(machine, &gpu->lock);
    return job->left_ns == 0;
}

bool sim_work_fits(sim_machine *machine, uint32_t index, uint64_t duration) {
    sim_gpu *gpu = &machine->state->gpus[index];
    if (duration > SLICE_NS) {
        return false;
    }
    sim_mutex_lock(machine, &gpu->lock);
    uint64_t ahead = sim_busy_ahead(&use_of(machine, machine->slot, index)->busy, sim_now_ns());
    sim_mutex_unlock(machine, &gpu->lock);
    return ahead + duration <= SLICE_NS;
}

uint64_t sim_work_start(sim_machine *machine, uint32_t index, const sim_job *job) {
    const sim_gpu *gpu = &machine->state->gpus[index];
    const sim_use *use = use_of(machine, machine->slot, index);
    const uint64_t *lanes = gpu->settings.mps ? gpu->lane_end_ns : use->lane_end_ns;
    bool chosen[SIM_LANES] = {false};
    uint64_t ends[SIM_LANES];
    for (int lane = 0; lane < SIM_LANES; lane++) {
        ends[lane] = __atomic_load_n(&lanes[lane], __ATOMIC_RELAXED);
    }
    return choose_lanes(ends, job, chosen);
}

void sim_work_ask(sim_machine *machine, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_mutex_lock(machine, &gpu->lock);
    gpu->asking[machine->slot / 64] |= 1ULL << machine->slot % 64;
    sim_mutex_unlock(machine, &gpu->lock);
}

void sim_work_rest(sim_machine *machine, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_mutex_lock(machine, &gpu->lock);
    gpu->asking[machine->slot / 64] &= ~(1ULL << machine->slot % 64);
    sim_mutex_unlock(machine, &gpu->lock);
    wake(gpu);
}

void sim_work_wait(sim_machine *machine, uint32_t index, const sim_job *refused) {
    sim_gpu *gpu = &machine->state->gpus[index];
    if (refused->behind == SIM_NO_SLOT) {
        wake(gpu);
        struct timespec until = {(time_t)(refused->look_ns / 1000000000U), (long)(refused->look_ns % 1000000000U)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        return;
    }
    struct timespec patience = {.tv_nsec = LOOK_AGAIN_NS};
    long slept = syscall(SYS_futex, &gpu->turn, FUTEX_WAIT, refused->turn, &patience, NULL, 0);
    if (slept == -1 && errno == ETIMEDOUT && sim_process_pid(machine, refused->behind) < 0) {
        sim_process_reap(machine);
    }
}

void sim_work_forget(sim_machine *machine, uint32_t index, int dead) {
    sim_gpu *gpu = &machine->state->gpus[index];
    uint32_t high = __atomic_load_n(&machine->state->process_high, __ATOMIC_ACQUIRE);
    uint64_t now = sim_now_ns();
    gpu->asking[dead / 64] &= ~(1ULL << dead % 64);
    sim_busy_cut(&gpu->busy, now);
    for (uint32_t slot = 0; slot < high; slot++) {
        const sim_use *use = use_of(machine, (int)slot, index);
        if (use->busy.sum_until_ns > now) {
            sim_busy_add(&gpu->busy, now, use->busy.sum_until_ns); /* perhaps more than it had, never less */
        }
        for (uint32_t i = 0; i < use->busy.count; i++) {
            if (use->busy.spans[i].end_ns > now) {
                sim_busy_add(&gpu->busy, sim_later(use->busy.spans[i].start_ns, now), use->busy.spans[i].end_ns);
            }
        }
    }
    __atomic_store_n(&gpu->held, 1, __ATOMIC_RELEASE);
}
