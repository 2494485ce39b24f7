#include "libvgpu/compute/launch.h"

#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/first_launch.h"
#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/graph_parts.h"
#include "libvgpu/compute/launch_run.h"
#include "libvgpu/compute/launch_thread.h"
#include "libvgpu/compute/neighbours.h"
#include "libvgpu/compute/occupancy.h"
#include "libvgpu/compute/streams.h"
#include "libvgpu/compute/throttle.h"
#include "libvgpu/driver/devices.h"

/* Launches on several streams stretch each other, so they are measured where the GPU has just been idle: after a wait.
 * So many launches at most are let through until then. */
#define POSTPONED_MOST 256u

#define LEAD_MOST_NS 8000000u

/* A thread that launches tells the account so often how many launches it made. */
#define TELL_EVERY_NS 10000000u

/* The default stream of each thread is another one. */
static uint64_t stream_identity(const struct launch_thread *thread, CUstream stream) {
    return stream == CU_STREAM_PER_THREAD ? (uintptr_t)thread : stream == NULL ? 1 : (uintptr_t)stream;
}

/* The charge stands, unless later samples show that it was too high. */
static void note_passed(struct launch *launch) {
    launch->noted = true;
    cost_cache_note_passed(launch->cost, 1, launch->charged, launch->meaning);
}

static void charge_known(struct launch *launch, const struct cost_key *key, const struct launch_site *site,
                         uint64_t value, bool several) {
    struct launch_thread *thread = launch->thread;
    struct launch_memo *memo = launch_memo_of(thread, key);
    struct launch_lead lead = thread->lead;
    bool due =
        !launch_remembers(memo, key) || memo->left <= 0 || (memo->context != NULL && memo->context != site->context);
    enum estimate_view view = due ? neighbours_view(launch->gpu) : ESTIMATE_CLEAR;
    bool in_turn = view == ESTIMATE_CONTENDED || (view != ESTIMATE_CLEAR && !launch_is_settled(launch->cost));
    unsigned wanted = launch_run_length(launch->cost, value, in_turn, several);
    bool each = value >= COST_LONG_NS || (several && value >= LAUNCH_EACH_OF_SEVERAL_NS);
    thread->lead.cost = NULL;
    /* The launch that follows a lead goes into debt instead of waiting; later ones pay. */
    if (due && lead.cost == launch->cost && (lead.stream == site->stream || (several && each))) {
        thread->credit.ns[launch->gpu] += (int64_t)(wanted * value);
        gpu_time_give(launch->gpu, -(int64_t)(wanted * value));
    }
    bool slept = credit_charge(&thread->credit, launch->gpu, (int64_t)value);
    launch->charged = (int64_t)value;
    launch_count_passed(thread, memo);
    if (!each) {
        note_passed(launch);
    }
    if (each && !due && value < COST_LONG_NS) {
        due = true;
    }
    if (!due) {
        memo->cost = (int64_t)value;
        thread->tallies[memo - thread->memos].left = --memo->left;
        thread->tallies[memo - thread->memos].told--; /* it is counted like every launch of the slow path */
        return;
    }
    /* Next to the container's own processes, a launch with a small share mostly finds the GPU idle: no lead needed. */
    bool leads = in_turn && (each || !several) && lead.cost != launch->cost && value < LEAD_MOST_NS &&
                 (view != ESTIMATE_COMPANY || neighbours_crowd(launch->gpu));
    if (leads) {
        thread->lead = (struct launch_lead){launch->cost, site->stream};
        if (!each) {
            return;
        }
    }
    if (several && !each) {
        if (!slept && gpu_time_limited(launch->gpu) && thread->postponed++ < POSTPONED_MOST) {
            return;
        }
        thread->postponed = 0;
        if (wanted > 1) {
            thread->credit.ns[launch->gpu] += (int64_t)(2 * wanted * value);
            gpu_time_give(launch->gpu, -(int64_t)(2 * wanted * value));
        }
    }
    if (!each && !launch->apart) {
        launch_remember(launch, key, site->context, value);
    }
    /* Where others have turns, the GPU is ours from when it does this launch. */
    if (several && !each && wanted > 1 && in_turn && sample_would_begin_at_once(site)) {
        launch->wanted = wanted;
    } else {
        launch_measure(launch, site, value, wanted, several && !each);
        if (each && launch->sample == NULL && value < COST_LONG_NS) {
            note_passed(launch);
        }
    }
}

/* ---- The slow path. */

static void set_provisional(struct launch *launch, struct provisional_charge charge) {
    launch->charged = charge.ns;
    launch->sample = charge.sample;
}

/* Makes the context current in which events of the launch are recorded, where another one is. */
static bool enter(CUcontext context) {
    return context != NULL && DRIVER(cuCtxPushCurrent_v2) != NULL && DRIVER(cuCtxPopCurrent_v2) != NULL &&
           DRIVER(cuCtxPushCurrent_v2)(context) == CUDA_SUCCESS;
}

static void leave(bool entered) {
    CUcontext left;
    if (entered) {
        DRIVER(cuCtxPopCurrent_v2)(&left);
    }
}

static void charge(struct launch *launch, const struct cost_key *key, struct launch_site site) {
    struct launch_thread *thread = launch->thread;
    CUstream stream = site.stream;
    int gpu = launch->gpu;
    uint64_t now = throttle_clock();
    launch_note_gpu(gpu);
    if (now - thread->told_at >= TELL_EVERY_NS) {
        thread->told_at = now;
        launch_tell(thread);
    }
    if (samples_under_way() > 0 && !captures_any()) {
        samples_read(site.context);
    }
    launch->cost = cost_cache_find(key, site.context);
    launch->meaning = cost_meaning(launch->cost);
    uint64_t value = cost_known(launch->cost);
    struct launch_run *run = &thread->run;
    if (cost_key_kind(key) == COST_OF_GRAPH) {
        launch->apart = graph_parts_charge((const void *)(uintptr_t)key->handle, gpu, value);
        launch->parted = launch->apart ? value : 0;
    }
    bool several = streams_note(gpu, stream_identity(thread, stream), now);
    if (run->sample != NULL && (run->cost != launch->cost || run->sample->meaning != launch->meaning ||
                                (!run->sample->together && now > run->until + value) ||
                                thread->credit.ns[gpu] < (int64_t)value || !launch_run_joins(run, stream))) {
        launch_close_run();
    }
    if (run->sample != NULL) {
        thread->credit.ns[gpu] -= (int64_t)value;
        launch->charged = (int64_t)value;
        launch->in_run = true;
        note_passed(launch);
        sample_spend(run->sample, now, SPENT_MOST_NS);
        return;
    }
    if (value == 0 && cost_cache_begin_learning(launch->cost, throttle_clock())) {
        __atomic_store_n(&launch->cost->part, occupancy_part(key), __ATOMIC_RELAXED);
        set_provisional(launch, first_launch_charge(launch->cost, &thread->credit, &site, gpu_time_limited(gpu)));
        return;
    }
    if (value == 0 && gpu_time_limited(gpu)) {
        first_launch_await(launch->cost, &site);
    }
    int64_t guess = value == 0 ? cost_cache_guess(launch->cost, throttle_clock()) : 0;
    if (guess > 0) {
        set_provisional(launch, first_launch_charge_guess(launch->cost, &thread->credit, &site, guess));
    } else {
        /* Another thread may have made it unknown just now. */
        value = cost_known(launch->cost);
        charge_known(launch, key, &site, value > 0 ? value : 1, several);
    }
}

/* The launch's GPU is that of its stream, whichever context is current. */
static void begin(struct launch *launch, const struct cost_key *key, CUstream stream) {
    struct launch_site site = {.stream = stream};
    CUcontext current = NULL;
    *launch = (struct launch){0};
    struct launch_thread *thread = launch_thread_mine();
    if (thread == NULL || !devices_of_stream(stream, &site.context, &site.gpu) || site.gpu == NO_GPU ||
        captures_stream(stream)) {
        launch_close_run();
        return;
    }
    launch->thread = thread;
    launch->gpu = site.gpu;
    launch->stream = stream;
    if (DRIVER(cuCtxGetCurrent)(&current) == CUDA_SUCCESS && current != site.context) {
        launch->context = site.context;
    }
    bool entered = enter(launch->context);
    charge(launch, key, site);
    leave(entered);
}

void launch_begin(struct launch *launch, const struct cost_key *key, CUstream stream) {
    begin(launch, key, stream);
}

void launch_begin_alone(struct launch *launch, const struct cost_key *key, CUstream stream) {
    begin(launch, key, stream);
    launch->in_run = false;
    if (launch->thread != NULL) {
        launch_run_abandon(launch->thread);
    }
}

static void end(struct launch *launch, CUresult result) {
    struct launch_thread *thread = launch->thread;
    struct launch_run *run = &thread->run;
    if (result != CUDA_SUCCESS) {
        thread->credit.ns[launch->gpu] += launch->charged;
        if (launch->noted) {
            cost_cache_note_passed(launch->cost, -1, -launch->charged, launch->meaning);
        }
        if (launch->parted > 0) {
            graph_parts_undo((const void *)(uintptr_t)launch->cost->key.handle, launch->gpu, launch->parted);
        }
        if (launch->in_run) {
            launch->sample = run->sample;
            launch_run_abandon(thread);
        }
        if (launch->sample != NULL) {
            sample_cancel(launch->sample);
        }
        return;
    }
    thread->passed[launch->gpu]++;
    if (launch->sample != NULL) {
        sample_launched(launch->sample);
    }
    if (launch->in_run) {
        launch_run_count(thread, launch);
    } else if (launch->wanted > 0) {
        launch_measure_behind(launch);
    } else if (launch->sample != NULL) {
        launch_finish(launch->sample, 1, &launch->sample->stream);
    }
}

CUresult launch_end(struct launch *launch, CUresult result) {
    if (launch->thread != NULL) {
        bool entered = enter(launch->context);
        end(launch, result);
        leave(entered);
    }
    return result;
}
