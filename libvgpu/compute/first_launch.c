#include "libvgpu/compute/first_launch.h"

#include <time.h>

#include "libvgpu/compute/throttle.h"
#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/gpu_time.h"

/* A launch of a key that is being learned waits so long for its cost, and charges a guess then; longer while the first one
 * is seen to be on the GPU, up to COST_UNKNOWN_MOST_NS. */
#define LEARN_NS 20000000u
#define LEARN_LOOK_NS 50000

#define FIRST_GUESS_NS 1000

/* While so many launches are measured, no more of those are whose charge is a guess. */
#define GUESSES_MEASURED 64u

static void pause_for(int64_t ns) {
    struct timespec pause = {0, ns};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/* Unknown ones follow each other: what comes after one waits for it, but not for ever. Answers when it was noted that
 * this one has come. */
static uint64_t note_learning(struct launch *launch, CUcontext context) {
    for (;;) {
        uint64_t begun = gpu_time_learning(launch->gpu), now = throttle_clock();
        /* One that goes on is noted again and again, as long as it may be waited for. */
        bool free = begun == 0 || begun > now || now - begun > LEARN_NS;
        if ((free && gpu_time_begin_learning(launch->gpu, begun, now)) || captures_any()) {
            return now;
        }
        if (!free) {
            pause_for(LEARN_LOOK_NS);
            samples_read(context);
        }
    }
}

/* The first one of its key is on the GPU, and takes as long as it has taken at least. */
static bool first_runs(const struct cost *cost, uint64_t now) {
    uint64_t since = __atomic_load_n(&cost->runs_since, __ATOMIC_RELAXED);
    return since != 0 && now < since + COST_UNKNOWN_MOST_NS;
}

void first_launch_await(struct launch *launch, CUcontext context) {
    uint64_t begun = throttle_clock();
    while (cost_known(launch->cost) == 0 && !captures_any()) {
        samples_read(context);
        uint64_t now = throttle_clock(), passed = now - begun;
        if (cost_known(launch->cost) > 0 || !launch->cost->learning) {
            return;
        }
        if (passed > LEARN_NS && gpu_time_ready(launch->gpu) && !first_runs(launch->cost, now)) {
            return;
        }
        pause_for(passed < LEARN_NS ? LEARN_LOOK_NS : LEARN_NS / 10);
    }
}

static void charge_exactly(struct launch *launch, int64_t cost) {
    launch_charge(launch->thread, launch->gpu, cost);
    launch->charged += cost;
}

void first_launch_charge(struct launch *launch, CUcontext context, CUstream stream, bool limited) {
    struct cost *cost = launch->cost;
    charge_exactly(launch, FIRST_GUESS_NS);
    uint64_t noted_at = 0;
    for (bool had_turn = false; limited; had_turn = true) {
        noted_at = note_learning(launch, context);
        if (gpu_time_ready(launch->gpu)) {
            break;
        }
        /* What came before has used up what there was. Who had a turn and let another go first waits for no second one. */
        gpu_time_end_learning(launch->gpu, noted_at);
        if (had_turn) {
            pause_for(LEARN_NS / 10);
        } else {
            charge_exactly(launch, launch->thread->credit[launch->gpu] + FIRST_GUESS_NS);
        }
    }
    launch->sample = sample_begin(cost, context, launch->gpu, stream);
    if (launch->sample == NULL) {
        gpu_time_end_learning(launch->gpu, noted_at);
        cost_cache_end_learning(cost, cost->meaning);
        return;
    }
    launch->sample->learning = true;
    launch->sample->noted_at = noted_at;
    launch->sample->charged = launch->charged;
}

void first_launch_charge_guess(struct launch *launch, CUcontext context, CUstream stream, int64_t guess) {
    charge_exactly(launch, guess);
    if (samples_under_way() < GUESSES_MEASURED) {
        launch->sample = sample_begin(launch->cost, context, launch->gpu, stream);
    }
    if (launch->sample != NULL) {
        launch->sample->charged = launch->charged;
    } else {
        cost_cache_note_guess(launch->cost, guess);
    }
}
