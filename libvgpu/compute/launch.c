#include "libvgpu/compute/launch.h"

#include <stdlib.h>

#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/first_launch.h"
#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/neighbours.h"
#include "libvgpu/compute/poller.h"
#include "libvgpu/compute/streams.h"
#include "libvgpu/compute/throttle.h"
#include "libvgpu/driver/devices.h"

/* Short launches are measured in runs of about this length. */
#define RUN_NS 1000000u
#define RUN_LAUNCHES 16u

/* Launches on several streams stretch each other, so they are measured where the GPU has just been idle: after a wait.
 * So many launches at most are let through until then. Such a run is as long as what may be charged in debt for it. */
#define POSTPONED_MOST 256u
#define RUN_SEVERAL_NS 2000000u

/* From here on each launch on several streams is measured. */
#define EACH_OF_SEVERAL_NS 250000u

/* Where others may have turns on the GPU, a run must fit into one of ours. On most GPUs a turn takes 1 to 2 ms. */
#define RUN_IN_TURN_NS 300000u
#define LEAD_MOST_NS 8000000u

/* The first launches of a key are measured, and later ones each time after so much GPU time. */
#define FIRST_SAMPLES 6
#define UNSETTLED_SAMPLES 64u
#define SAMPLE_EVERY_NS 10000000u
#define SAMPLE_LEAST 16u
#define SAMPLE_RAREST 8192u

static struct launch_thread no_thread;
__thread struct launch_thread *launch_mine = &no_thread;
static __thread struct launch_thread *own;

/* Bit mask of the GPUs that this process has launched on. */
static uint32_t gpus_seen;

extern int __cxa_thread_atexit_impl(void (*end)(void *), void *object, void *library);
extern void *__dso_handle;

static void thread_ends(void *object) {
    struct launch_thread *thread = object;
    launch_mine = &no_thread;
    own = NULL;
    credit_return(&thread->credit);
    if (thread->run.sample != NULL) {
        sample_cancel(thread->run.sample);
    }
    free(thread);
}

static struct launch_thread *mine(void) {
    struct launch_thread *thread = own;
    if (thread != NULL) {
        return thread;
    }
    thread = calloc(1, sizeof *thread);
    if (thread == NULL) {
        return NULL;
    }
    thread->random = (uint32_t)((uintptr_t)thread >> 4) * 2654435761u | 1;
    if (__cxa_thread_atexit_impl(thread_ends, thread, &__dso_handle) != 0) {
        free(thread);
        return NULL;
    }
    launch_mine = own = thread;
    return thread;
}

/* Credit and events belong to the parent. */
void launch_after_fork(void) {
    if (own == NULL) {
        return;
    }
    credit_forget(&own->credit);
    for (int place = 0; place < LAUNCH_MEMOS; place++) {
        own->tallies[place].left = own->memos[place].left;
    }
    own->run.sample = NULL;
    own->lead.cost = NULL;
    launch_mine = own;
}

static uint32_t jitter(struct launch_thread *thread, uint32_t number) {
    thread->random ^= thread->random << 13;
    thread->random ^= thread->random >> 17;
    thread->random ^= thread->random << 5;
    return number - number / 4 + thread->random % (number / 2 + 1);
}

static void finish(struct sample *sample, unsigned launches, const CUstream *streams) {
    if (sample_end(sample, launches, streams)) {
        poller_wake();
    }
}

/* ---- Runs: several short launches between two events. */

static void abandon_run(struct launch_thread *thread) {
    thread->run.sample = NULL;
    launch_mine = thread;
}

void launch_close_run(void) {
    struct launch_thread *thread = own;
    if (thread == NULL || thread->run.sample == NULL) {
        return;
    }
    struct launch_run *run = &thread->run;
    struct sample *sample = run->sample;
    run->sample = NULL;
    launch_mine = thread;
    if (run->launches > 0 && throttle_clock() < run->until) {
        finish(sample, run->launches, run->streams);
        return;
    }
    __atomic_store_n(&run->cost->alone, SAMPLES_ALONE, __ATOMIC_RELAXED);
    sample_cancel(sample);
}

/* Adds the stream to those of the run; false: it can't. */
static bool joins(struct launch_run *run, CUstream stream) {
    unsigned count = run->sample->streams;
    for (unsigned place = 0; place < count; place++) {
        if (run->streams[place] == stream) {
            return true;
        }
    }
    if (!sample_join(run->sample, stream)) {
        return false;
    }
    run->streams[count] = stream;
    return true;
}

/* The default stream of each thread is another one. */
static uint64_t stream_identity(const struct launch_thread *thread, CUstream stream) {
    return stream == CU_STREAM_PER_THREAD ? (uintptr_t)thread : stream == NULL ? 1 : (uintptr_t)stream;
}

/* ---- Launches of known cost. */

static bool settled(const struct cost *cost) {
    unsigned tried = __atomic_load_n(&cost->tried, __ATOMIC_RELAXED);
    return tried >= UNSETTLED_SAMPLES || (tried >= FIRST_SAMPLES && __atomic_load_n(&cost->settled, __ATOMIC_RELAXED));
}

static void count_passed(struct launch_thread *thread, struct launch_memo *memo) {
    struct launch_tally *tally = &thread->tallies[memo - thread->memos];
    int32_t launches = tally->left - memo->left;
    if (launches > 0 && memo->generation == __atomic_load_n(&cost_cache_generation, __ATOMIC_ACQUIRE)) {
        cost_cache_note_passed(tally->cost, launches, launches * memo->cost, tally->meaning);
    }
    tally->left = memo->left;
}

static void remember(struct launch *launch, const struct cost_key *key, CUcontext context, uint64_t value) {
    struct launch_thread *thread = launch->thread;
    uint64_t between = SAMPLE_EVERY_NS / value;
    uint32_t number = between < SAMPLE_LEAST    ? SAMPLE_LEAST
                      : between > SAMPLE_RAREST ? SAMPLE_RAREST
                                                : (uint32_t)between;
    if (value >= COST_LONG_NS || !settled(launch->cost)) {
        return;
    }
    struct launch_memo *memo = launch_memo_of(thread, key);
    uint32_t generation = __atomic_load_n(&cost_cache_generation, __ATOMIC_ACQUIRE);
    bool several = (gpus_seen & (gpus_seen - 1)) != 0;
    *memo = (struct launch_memo){.key = *key,
                                 .cost = (int64_t)value,
                                 .credit = &thread->credit.ns[launch->gpu],
                                 .context = several ? context : NULL,
                                 .generation = generation,
                                 .left = (int32_t)jitter(thread, number)};
    thread->tallies[memo - thread->memos] = (struct launch_tally){launch->cost, launch->meaning, memo->left};
}

/* Returns how many launches to measure together. */
static unsigned run_length(struct cost *cost, uint64_t value, bool in_turn, bool several) {
    uint64_t most = in_turn ? RUN_IN_TURN_NS : several ? RUN_SEVERAL_NS : RUN_NS;
    if (several && value >= EACH_OF_SEVERAL_NS) {
        return 1;
    }
    if (value >= COST_LONG_NS || __atomic_load_n(&cost->alone, __ATOMIC_RELAXED) > 0) {
        return 1;
    }
    return value * RUN_LAUNCHES <= most ? RUN_LAUNCHES : most > value ? (unsigned)(most / value) : 1;
}

/* Measures this launch, and where launches of its kind are short, the next ones with it. */
static void measure(struct launch *launch, const struct launch_site *site, uint64_t value, unsigned wanted) {
    struct launch_run *run = &launch->thread->run;
    struct cost *cost = launch->cost;
    __atomic_store_n(&cost->tried, __atomic_load_n(&cost->tried, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
    launch->sample = sample_begin(launch->cost, site);
    if (launch->sample == NULL) {
        return;
    }
    if (value >= COST_LONG_NS ||
        (wanted < 2 && value >= EACH_OF_SEVERAL_NS && streams_several(site->gpu, launch->sample->begun_at))) {
        launch->sample->charged = launch->charged;
        return;
    }
    unsigned alone = __atomic_load_n(&cost->alone, __ATOMIC_RELAXED);
    if (alone > 0) {
        __atomic_store_n(&cost->alone, alone - 1, __ATOMIC_RELAXED);
    }
    if (wanted < 2) {
        return;
    }
    *run = (struct launch_run){.sample = launch->sample,
                               .cost = launch->cost,
                               .streams = {site->stream},
                               .until = launch->sample->begun_at,
                               .wanted = wanted};
    launch->in_run = true;
    launch_mine = &no_thread;
}

static void charge_known(struct launch *launch, const struct cost_key *key, const struct launch_site *site,
                         uint64_t value, bool several) {
    struct launch_thread *thread = launch->thread;
    struct launch_memo *memo = launch_memo_of(thread, key);
    struct launch_lead lead = thread->lead;
    bool due =
        !launch_remembers(memo, key) || memo->left <= 0 || (memo->context != NULL && memo->context != site->context);
    enum estimate_view view = due ? neighbours_view(launch->gpu) : ESTIMATE_CLEAR;
    bool in_turn = view == ESTIMATE_CONTENDED || (view != ESTIMATE_CLEAR && !settled(launch->cost));
    unsigned wanted = run_length(launch->cost, value, in_turn, several);
    bool each = value >= COST_LONG_NS || (several && value >= EACH_OF_SEVERAL_NS);
    thread->lead.cost = NULL;
    /* The launch that follows a lead goes into debt instead of waiting; later ones pay. */
    if (due && lead.cost == launch->cost && lead.stream == site->stream) {
        thread->credit.ns[launch->gpu] += (int64_t)(wanted * value);
        gpu_time_give(launch->gpu, -(int64_t)(wanted * value));
    }
    bool slept = credit_charge(&thread->credit, launch->gpu, (int64_t)value);
    launch->charged = (int64_t)value;
    count_passed(thread, memo);
    if (value < COST_LONG_NS) {
        cost_cache_note_passed(launch->cost, 1, (int64_t)value, launch->meaning);
    }
    if (each && !due && value < COST_LONG_NS) {
        due = true;
    }
    if (!due) {
        memo->cost = (int64_t)value;
        thread->tallies[memo - thread->memos].left = --memo->left;
        return;
    }
    /* Next to the container's own processes, a launch with a small share mostly finds the GPU idle: no lead needed. */
    bool leads = in_turn && lead.cost != launch->cost && value < LEAD_MOST_NS &&
                 (view != ESTIMATE_COMPANY || neighbours_crowd(launch->gpu));
    if (leads) {
        thread->lead = (struct launch_lead){launch->cost, site->stream};
        if (value < COST_LONG_NS) {
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
    if (!each) {
        remember(launch, key, site->context, value);
    }
    measure(launch, site, value, wanted);
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
    if ((__atomic_load_n(&gpus_seen, __ATOMIC_RELAXED) & 1u << gpu) == 0 &&
        __atomic_fetch_or(&gpus_seen, 1u << gpu, __ATOMIC_RELAXED) != 0) {
        cost_cache_expire_memos();
    }
    if (samples_under_way() > 0 && !captures_any()) {
        samples_read(site.context);
    }
    launch->cost = cost_cache_find(key, site.context);
    launch->meaning = cost_meaning(launch->cost);
    uint64_t value = cost_known(launch->cost);
    struct launch_run *run = &thread->run;
    uint64_t now = throttle_clock();
    bool several = streams_note(gpu, stream_identity(thread, stream), now);
    if (run->sample != NULL &&
        (run->cost != launch->cost || run->sample->meaning != launch->meaning || now > run->until + value ||
         thread->credit.ns[gpu] < (int64_t)value || !joins(run, stream))) {
        launch_close_run();
    }
    if (run->sample != NULL) {
        thread->credit.ns[gpu] -= (int64_t)value;
        launch->charged = (int64_t)value;
        launch->in_run = true;
        cost_cache_note_passed(launch->cost, 1, (int64_t)value, launch->meaning);
        return;
    }
    if (value == 0 && cost_cache_begin_learning(launch->cost, throttle_clock())) {
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
    struct launch_thread *thread = mine();
    if (thread == NULL || !devices_of_stream(stream, &site.context, &site.gpu) || site.gpu == NO_GPU ||
        captures_stream(stream)) {
        launch_close_run();
        return;
    }
    launch->thread = thread;
    launch->gpu = site.gpu;
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
        abandon_run(launch->thread);
    }
}

static void end(struct launch *launch, CUresult result) {
    struct launch_thread *thread = launch->thread;
    struct launch_run *run = &thread->run;
    if (result != CUDA_SUCCESS) {
        thread->credit.ns[launch->gpu] += launch->charged;
        cost_cache_note_passed(launch->cost, -1, -launch->charged, launch->meaning);
        if (launch->in_run) {
            launch->sample = run->sample;
            abandon_run(thread);
        }
        if (launch->sample != NULL) {
            sample_cancel(launch->sample);
        }
        return;
    }
    if (launch->sample != NULL) {
        sample_launched(launch->sample);
    }
    if (launch->in_run) {
        run->until += (uint64_t)launch->charged;
        run->launches++;
        /* Streams most often take turns, so that a whole number of rounds is the fairest part. */
        bool whole = run->launches % run->sample->streams == 0 || run->launches >= 2 * run->wanted;
        if (run->launches >= run->wanted && whole) {
            launch_close_run();
        }
    } else if (launch->sample != NULL) {
        finish(launch->sample, 1, &launch->sample->stream);
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
