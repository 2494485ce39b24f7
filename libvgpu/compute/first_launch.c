#include "libvgpu/compute/first_launch.h"

#include <time.h>

#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/throttle.h"

/* How long a launch waits for the cost of the first of its kind before it is charged a guess. It waits longer, up to
 * COST_UNKNOWN_MOST_NS, while the first one is seen to run on the GPU. */
#define LEARN_NS 20000000u
#define LEARN_POLL_NS 50000

#define FIRST_GUESS_NS 1000

/* While so many launches are being measured, launches whose charge is a guess are not measured. */
#define GUESSES_MEASURED 64u

static void pause_for(int64_t ns) {
    struct timespec pause = {0, ns};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/* Notes this launch in the account, after the one of unknown cost before it, if any. All such launches of a container
 * follow each other; each waits for the one before it, up to LEARN_NS after it was last seen to run. Returns the time
 * of the note. */
static uint64_t note_learning(const struct launch_site *site) {
    struct vgpu_compute *account = gpu_time_account(site->gpu);
    for (;;) {
        uint64_t begun = throttle_learning(account), now = throttle_clock();
        /* The poller renews the note of a launch that still runs, as long as others may wait for it. */
        bool free = begun == 0 || begun > now || now - begun > LEARN_NS;
        if ((free && throttle_begin_learning(account, begun, now)) || captures_any()) {
            return now;
        }
        if (!free) {
            pause_for(LEARN_POLL_NS);
            samples_read(site->context);
        }
    }
}

/* Whether the first launch of the kind is running on the GPU. */
static bool first_runs(const struct cost *cost, uint64_t now) {
    uint64_t since = __atomic_load_n(&cost->runs_since, __ATOMIC_RELAXED);
    return since != 0 && now < since + COST_UNKNOWN_MOST_NS;
}

void first_launch_await(const struct cost *cost, const struct launch_site *site) {
    uint64_t begun = throttle_clock();
    while (cost_known(cost) == 0 && !captures_any()) {
        samples_read(site->context);
        uint64_t now = throttle_clock(), passed = now - begun;
        if (cost_known(cost) > 0 || !cost_is_learning(cost)) {
            return;
        }
        if (passed > LEARN_NS && gpu_time_ready(site->gpu) && !first_runs(cost, now)) {
            return;
        }
        pause_for(passed < LEARN_NS ? LEARN_POLL_NS : LEARN_NS / 10);
    }
}

static void add(struct provisional_charge *charge, struct credit *credit, int gpu, int64_t ns) {
    credit_charge(credit, gpu, ns);
    charge->ns += ns;
}

struct provisional_charge first_launch_charge(struct cost *cost, struct credit *credit, const struct launch_site *site,
                                              bool limited) {
    struct vgpu_compute *account = gpu_time_account(site->gpu);
    struct provisional_charge charge = {0};
    add(&charge, credit, site->gpu, FIRST_GUESS_NS);
    uint64_t noted_at = 0;
    for (bool had_turn = false; limited; had_turn = true) {
        noted_at = note_learning(site);
        if (gpu_time_ready(site->gpu)) {
            break;
        }
        /* Earlier launches have used up the account, so this one lets another go first. It does so only once. */
        throttle_end_learning(account, noted_at);
        if (had_turn) {
            pause_for(LEARN_NS / 10);
        } else {
            add(&charge, credit, site->gpu, credit->ns[site->gpu] + FIRST_GUESS_NS);
        }
    }
    int64_t guess = limited ? cost_guess_of_long(samples_unknown_for(site->gpu, noted_at)) : 0;
    if (guess > 0) {
        add(&charge, credit, site->gpu, guess);
    }
    charge.sample = sample_begin(cost, site);
    if (charge.sample == NULL) {
        credit->ns[site->gpu] += guess;
        charge.ns -= guess;
        throttle_end_learning(account, noted_at);
        cost_cache_end_learning(cost, cost_meaning(cost));
        return charge;
    }
    charge.sample->learning = true;
    charge.sample->noted_at = noted_at;
    charge.sample->charged = charge.ns;
    return charge;
}

struct provisional_charge first_launch_charge_guess(struct cost *cost, struct credit *credit,
                                                    const struct launch_site *site, int64_t guess) {
    struct provisional_charge charge = {0};
    add(&charge, credit, site->gpu, guess);
    if (samples_under_way() < GUESSES_MEASURED) {
        charge.sample = sample_begin(cost, site);
    }
    if (charge.sample != NULL) {
        charge.sample->charged = charge.ns;
    } else {
        cost_cache_note_guess(cost, guess);
    }
    return charge;
}
