#include "libvgpu/compute/launch_run.h"

#include "libvgpu/compute/poller.h"
#include "libvgpu/compute/streams.h"
#include "libvgpu/compute/throttle.h"

/* Short launches are measured in runs of about this length. */
#define RUN_NS 1000000u
#define RUN_LAUNCHES 16u

/* On several streams a run is as long as what may be charged in debt for it. It has more launches: it begins and ends with
 * less work at a time than there is in between. */
#define RUN_SEVERAL_NS 2000000u
#define RUN_SEVERAL_LAUNCHES 64u

/* Where others may have turns on the GPU, a run must fit into one of ours. On most GPUs a turn takes 1 to 2 ms. */
#define RUN_IN_TURN_NS 300000u

void launch_finish(struct sample *sample, unsigned launches, const CUstream *streams) {
    if (sample_end(sample, launches, streams)) {
        poller_wake();
    }
}

void launch_run_abandon(struct launch_thread *thread) {
    thread->run.sample = NULL;
    launch_thread_resume(thread);
}

void launch_close_run(void) {
    struct launch_thread *thread = launch_thread_known();
    if (thread == NULL || thread->run.sample == NULL) {
        return;
    }
    struct launch_run *run = &thread->run;
    struct sample *sample = run->sample;
    run->sample = NULL;
    launch_thread_resume(thread);
    if (run->launches > 0 && (sample->together || throttle_clock() < run->until)) {
        launch_finish(sample, run->launches, run->streams);
        return;
    }
    __atomic_store_n(&run->cost->alone, SAMPLES_ALONE, __ATOMIC_RELAXED);
    sample_cancel(sample);
}

/* Adds the stream to those of the run; false: it can't. */
bool launch_run_joins(struct launch_run *run, CUstream stream) {
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

/* Returns how many launches to measure together. */
unsigned launch_run_length(struct cost *cost, uint64_t value, bool in_turn, bool several) {
    uint64_t most = in_turn ? RUN_IN_TURN_NS : several ? RUN_SEVERAL_NS : RUN_NS;
    if (several && value >= LAUNCH_EACH_OF_SEVERAL_NS) {
        return 1;
    }
    if (value >= COST_LONG_NS || __atomic_load_n(&cost->alone, __ATOMIC_RELAXED) > 0) {
        return 1;
    }
    unsigned launches = several ? RUN_SEVERAL_LAUNCHES : RUN_LAUNCHES;
    return value * launches <= most ? launches : most > value ? (unsigned)(most / value) : 1;
}

/* Measures this launch, and where launches of its kind are short, the next ones with it. */
static void begin_run(struct launch_thread *thread, struct sample *sample, unsigned wanted) {
    thread->run = (struct launch_run){.sample = sample,
                                      .cost = sample->cost,
                                      .streams = {sample->stream},
                                      .until = sample->begun_at,
                                      .wanted = wanted};
    launch_thread_suspend();
}

void launch_measure(struct launch *launch, const struct launch_site *site, uint64_t value, unsigned wanted,
                    bool together) {
    struct cost *cost = launch->cost;
    __atomic_store_n(&cost->tried, __atomic_load_n(&cost->tried, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
    launch->sample = sample_begin(launch->cost, site);
    if (launch->sample == NULL) {
        return;
    }
    if (value >= COST_LONG_NS ||
        (wanted < 2 && value >= LAUNCH_EACH_OF_SEVERAL_NS && streams_several(site->gpu, launch->sample->begun_at))) {
        launch->sample->charged = launch->charged;
        return;
    }
    unsigned alone = __atomic_load_n(&cost->alone, __ATOMIC_RELAXED);
    if (alone > 0) {
        __atomic_store_n(&cost->alone, alone - 1, __ATOMIC_RELAXED);
    }
    launch->sample->together = together;
    if (wanted < 2) {
        return;
    }
    launch->in_run = true;
    begin_run(launch->thread, launch->sample, wanted);
}

void launch_measure_behind(struct launch *launch) {
    struct launch_site site = {.stream = launch->stream, .gpu = launch->gpu};
    if (DRIVER(cuCtxGetCurrent)(&site.context) != CUDA_SUCCESS) {
        return;
    }
    struct cost *cost = launch->cost;
    __atomic_store_n(&cost->tried, __atomic_load_n(&cost->tried, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
    struct sample *sample = sample_begin_behind(cost, &site);
    if (sample != NULL) {
        sample->together = true;
        begin_run(launch->thread, sample, launch->wanted);
    }
}

void launch_run_count(struct launch_thread *thread, const struct launch *launch) {
    struct launch_run *run = &thread->run;
    run->until += (uint64_t)launch->charged;
    run->launches++;
    /* Streams most often take turns, so that a whole number of rounds is the fairest part. What began with the end of a
     * launch ends with one on the same stream: then the others have as much under way as at first. */
    bool whole = run->sample->behind ? launch->stream == run->streams[0] : run->launches % run->sample->streams == 0;
    whole |= run->launches >= 2 * run->wanted;
    if (run->launches >= run->wanted && whole) {
        launch_close_run();
    }
}
