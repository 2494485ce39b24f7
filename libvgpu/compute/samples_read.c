/* Reads the samples that the GPU has finished. */
#include "libvgpu/base/log.h"
#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/neighbours.h"
#include "libvgpu/compute/reading.h"
#include "libvgpu/compute/samples.h"
#include "libvgpu/compute/streams.h"
#include "libvgpu/compute/throttle.h"

/* One call asks about so many unfinished samples: later ones of a stream don't finish earlier. */
#define UNDONE_MOST 32

/* How long a sample took, and how much of that was after the end of every other one. */
struct span {
    struct ends_launch end;
    struct ends *ends; /* those before it; NULL: all launches go to one stream */
    bool sure; /* the end before it is known */
};

/* A host that isn't interrupted launches, and records an event, in less time. */
#define USUAL_CALL_NS 15000u

static bool interrupted(const struct sample *sample) {
    return sample->gap > sample->asked_for + USUAL_CALL_NS ||
           sample->ended_at - sample->begun_at > sample->gap + USUAL_CALL_NS;
}

/* Whether a launch lately added about as much. */
static bool agrees(struct cost *cost, uint64_t added) {
    bool found = false;
    for (unsigned place = 0; place < COST_ADDED; place++) {
        uint64_t before = cost->added[place];
        found |= added <= before + before / 16 && before <= added + added / 16;
    }
    cost->added[cost->adds++ % COST_ADDED] = added;
    return found;
}

/* Returns the GPU time that a launch which is measured by itself took of its own: what it added, where others may have had
 * turns in between no more than what it takes alone. */
static uint64_t own_of(struct span *span, enum estimate_view view, uint64_t elapsed, uint64_t cost) {
    span->end.whole = elapsed;
    if (span->ends == NULL) {
        return view == ESTIMATE_COMPANY && cost < elapsed ? cost : elapsed;
    }
    if (view == ESTIMATE_CLEAR) {
        return ends_charge(span->ends, &span->end, elapsed);
    }
    if (span->end.part != ENDS_WHOLE) {
        return ends_charge(span->ends, &span->end, cost);
    }
    /* What fills the GPU runs alone, so that it takes its whole time, in whatever order it is read. */
    ends_add(span->ends, &span->end, cost);
    return cost;
}

/* Adds a finished sample to its cost, and corrects charges: the launch's own, where it was provisional, and earlier
 * ones. */
static void learn(struct sample *sample, struct span *span, uint64_t now) {
    static struct reading_gaps gaps;
    struct cost *cost = sample->cost;
    struct reading_facts facts = {.at = now,
                                  .whole = span->end.whole,
                                  .host = sample->ended_at - sample->begun_at,
                                  .gap = sample->gap,
                                  .asked_for = sample->asked_for,
                                  .spent = sample->spent,
                                  .launches = sample->launches,
                                  .view = neighbours_view(sample->gpu),
                                  .backlogged = sample->backlogged,
                                  .several = span->ends != NULL,
                                  .behind = sample->behind,
                                  .together = sample->together};
    /* A kernel began when there was room for it: one that fills the GPU, when the one before it had ended. An end that a busy
     * host recorded late makes the next one too short, so one of the last ones must agree. */
    if (facts.launches == 1 && facts.several && span->sure && span->end.part > 0 && span->end.added > 0) {
        uint64_t ran = (uint64_t)(span->end.at - ends_begin(span->ends, &span->end));
        if (ran < span->end.whole && agrees(cost, ran)) {
            facts.whole = ran;
            facts.host = 0;
            facts.backlogged = true;
        }
    }
    struct reading reading = reading_of(&facts, &gaps);
    if (!reading.usable) {
        __atomic_store_n(&cost->alone, SAMPLES_ALONE, __ATOMIC_RELAXED);
        return;
    }
    /* Each launch of its own may have cost less. */
    if (facts.together && facts.launches > 1 && reading.waited) {
        __atomic_store_n(&cost->alone, SAMPLES_ALONE_OF_SEVERAL, __ATOMIC_RELAXED);
    }
    uint64_t elapsed = reading.elapsed;
    bool in_company = facts.view == ESTIMATE_COMPANY;
    reading.sample.charged = sample->charged >= 0 && !in_company && !facts.several ? elapsed : 0;
    int64_t missing = cost_cache_add(cost, reading.sample, sample->meaning);
    if (sample->charged >= 0) {
        uint64_t own = own_of(span, facts.view, elapsed, cost->value);
        uint64_t part = throttle_part(gpu_time_account(sample->gpu), own, elapsed, now);
        /* Next to others of the container it is charged the time that was left for it. */
        missing += (int64_t)(in_company ? part : own) - sample->charged;
    }
    log_write(LOG_DEBUG, "GPU %d: %u launches of a %s took %llu ns, view %d, %s: %llu ns each; charged %lld too little",
              sample->gpu, sample->launches, cost_key_kind(&cost->key) == COST_OF_GRAPH ? "graph" : "kernel",
              (unsigned long long)elapsed, (int)facts.view, reading.sample.exact ? "exactly" : "at most",
              (unsigned long long)cost->value, (long long)missing);
    /* A long launch must wait until much is earned, so it gets back at once what it was charged too much. */
    if (missing < 0 && sample->charged < 0) {
        gpu_time_return(sample->gpu, -missing);
    } else if (missing != 0) {
        gpu_time_give(sample->gpu, -missing);
    }
}

/* Charges a running launch of unknown cost for the time since it began. */
static void charge_so_far(struct sample *sample, uint64_t now) {
    if (sample->started_at == 0) {
        if (sample->backlogged && DRIVER(cuEventQuery)(sample->before) == CUDA_ERROR_NOT_READY) {
            return;
        }
        sample->started_at = sample->backlogged ? now : sample->ended_at;
        samples_note_unknown(sample->gpu, sample->started_at);
        if (sample->meaning == cost_meaning(sample->cost)) {
            __atomic_store_n(&sample->cost->runs_since, sample->started_at, __ATOMIC_RELAXED);
        }
    }
    uint64_t passed = now > sample->started_at ? now - sample->started_at : 0;
    int64_t more = (int64_t)(passed < COST_UNKNOWN_MOST_NS ? passed : COST_UNKNOWN_MOST_NS) - sample->charged;
    if (more > 0) {
        sample->charged += more;
        gpu_time_give(sample->gpu, -more);
    }
    /* Renews the note in the account, by which others see that it runs. */
    if (passed < COST_UNKNOWN_MOST_NS && sample->noted_at != 0 &&
        throttle_begin_learning(gpu_time_account(sample->gpu), sample->noted_at, now)) {
        sample->noted_at = now;
    }
}

/* Returns the ns from one event to another; negative: the other way round, or unknown. */
static int64_t between(CUevent from, CUevent to) {
    float milliseconds;
    if (DRIVER(cuEventElapsedTime)(&milliseconds, from, to) != CUDA_SUCCESS) {
        return -1;
    }
    return (int64_t)((double)milliseconds * 1e6);
}

/* Puts the earliest event before the sample's launches into `before`, and the latest one after them into `after`: a
 * stream that had less to do begins earlier, and ends earlier. */
static void order(struct sample *sample) {
    for (unsigned place = 0; place + 1 < sample->streams; place++) {
        CUevent before = sample->others[place].before, after = sample->others[place].after;
        if (!sample->behind && between(before, sample->before) > 0) {
            sample->others[place].before = sample->before;
            sample->before = before;
        }
        if (between(sample->after, after) > 0) {
            sample->others[place].after = sample->after;
            sample->after = after;
        }
    }
}

/* Sets when the sample ended, and what it added, by the latest end before it. Keeps its end where that is the latest. */
static void advance(struct sample_pairs *pairs, struct sample *sample, struct ends_launch *end) {
    CUevent spare = pairs->latest;
    if (spare != NULL) {
        int64_t further = between(spare, sample->after);
        end->at = ends_last(&pairs->ends) + further;
        if (further <= 0) {
            end->added = 0;
            return;
        }
        end->added = (uint64_t)further < end->whole ? (uint64_t)further : end->whole;
    } else if (DRIVER(cuEventCreate)(&spare, CU_EVENT_DEFAULT) != CUDA_SUCCESS) {
        return;
    }
    pairs->latest = sample->after;
    pairs->late = interrupted(sample);
    sample->after = spare;
}

/* Threads' default streams are different ones of the same name. */
static uint64_t stream_of(const struct sample *sample) {
    return sample->stream == CU_STREAM_PER_THREAD ? ENDS_NO_STREAM
           : sample->stream == NULL               ? (uintptr_t)CU_STREAM_LEGACY
                                                  : (uintptr_t)sample->stream;
}

static CUresult query(const struct sample *sample) {
    CUresult result = DRIVER(cuEventQuery)(sample->after);
    for (unsigned place = 0; place + 1 < sample->streams && result == CUDA_SUCCESS; place++) {
        result = DRIVER(cuEventQuery)(sample->others[place].after);
    }
    return result;
}

/* Whether the GPU has finished the sample, or it can't be read at all. */
static bool finished(struct sample *sample, uint64_t now) {
    sample->result = query(sample);
    if (sample->result == CUDA_ERROR_NOT_READY && sample->learning) {
        charge_so_far(sample, now);
    }
    return sample->result != CUDA_ERROR_NOT_READY;
}

/* Adds the sample to the finished ones, which are in the order of their ends: what each adds is what it took beyond the ones
 * before it. */
static void add_finished(struct sample **batch, struct sample *sample, CUevent reference) {
    sample->end = 0;
    if (sample->result == CUDA_SUCCESS && reference != NULL) {
        order(sample);
        sample->end = between(reference, sample->after);
    }
    struct sample **link = batch;
    while (*link != NULL && (*link)->end <= sample->end) {
        link = &(*link)->next;
    }
    sample->next = *link;
    *link = sample;
}

/* Launches on several streams add to what others did before them. */
static void learn_with_ends(struct sample *sample, struct sample_pairs *pairs, uint64_t whole, uint64_t now) {
    struct span span = {.end = {.whole = whole,
                                .added = whole,
                                .late = interrupted(sample) ? sample->gap : 0,
                                .stream = stream_of(sample),
                                .part = __atomic_load_n(&sample->cost->part, __ATOMIC_RELAXED)},
                        .sure = !pairs->late};
    if (streams_several(sample->gpu, now)) {
        span.ends = &pairs->ends;
        advance(pairs, sample, &span.end);
    }
    learn(sample, &span, now);
    if (span.ends != NULL && sample->charged < 0) {
        ends_add(span.ends, &span.end, cost_known(sample->cost) * sample->launches);
    }
}

static void read_one(struct sample *sample, uint64_t now) {
    struct sample_pairs *pairs = sample_store_of(sample->context);
    if (sample->result == CUDA_SUCCESS && pairs != NULL) {
        order(sample);
        int64_t whole = between(sample->before, sample->after);
        if (whole >= 0) {
            learn_with_ends(sample, pairs, (uint64_t)whole, now);
        }
    }
    if (sample->learning) {
        sample_end_learning(sample);
    }
    sample_store_put_back(sample);
}

/* One look at the samples under way. */
struct look {
    CUcontext only, current; /* contexts; NULL: all, or unknown */
    CUevent reference;       /* from which ends are counted */
    struct sample *batch;    /* the finished ones, by their ends */
    uint64_t now;
    bool any;
};

static void read_batch(struct look *look) {
    while (look->batch != NULL) {
        struct sample *each = look->batch;
        look->batch = each->next;
        read_one(each, look->now);
    }
    look->reference = NULL;
}

/* Whether the sample may be touched; makes its context current. */
static bool reach(struct look *look, const struct sample *sample) {
    const struct sample_pairs *pairs = sample_store_of(sample->context);
    if ((look->only != NULL && sample->context != look->only) || pairs == NULL || pairs->held > 0) {
        return false;
    }
    if (sample->context == look->current) {
        return true;
    }
    read_batch(look);
    look->current = sample->context;
    return DRIVER(cuCtxSetCurrent)(sample->context) == CUDA_SUCCESS;
}

/* Puts the finished ones before `until` into the batch. Returns what follows the last of them. */
static struct sample *collect(struct look *look, const struct sample *until) {
    unsigned undone = 0;
    struct sample *follows = NULL;
    for (struct sample **link = &sample_store.first; *link != NULL && *link != until && undone < UNDONE_MOST;) {
        struct sample *each = *link;
        bool reached = reach(look, each);
        if (!reached || !finished(each, look->now)) {
            undone += reached;
            link = &each->next;
            continue;
        }
        if (look->reference == NULL && streams_several(each->gpu, look->now)) {
            const struct sample_pairs *pairs = sample_store_of(each->context);
            look->reference = pairs != NULL && pairs->latest != NULL ? pairs->latest : each->before;
        }
        sample_store_take_out(link);
        add_finished(&look->batch, each, look->reference);
        follows = *link;
        look->any = true;
    }
    return follows;
}

unsigned samples_read(CUcontext context) {
    struct look look = {.only = context, .current = context};
    CUstreamCaptureMode mode = captures_relax();
    mutex_lock(&sample_store.lock);
    look.now = throttle_clock();
    if (!sample_store.stopped && sample_store.all_held == 0) {
        const struct sample *until = collect(&look, NULL);
        /* While this looked, the GPU may have finished some that ended before the last one found. */
        if (look.any) {
            collect(&look, until);
        }
        read_batch(&look);
    }
    unsigned left = sample_store.stopped ? 0 : sample_store.under_way;
    mutex_unlock(&sample_store.lock);
    captures_restore(mode);
    return left;
}

void samples_stop(void) {
    CUcontext current;
    /* Launches that the GPU has finished by now are still charged. */
    if (samples_under_way() > 0 && !captures_any() && DRIVER(cuCtxGetCurrent) != NULL &&
        DRIVER(cuCtxGetCurrent)(&current) == CUDA_SUCCESS) {
        samples_read(NULL);
        DRIVER(cuCtxSetCurrent)(current);
    }
    mutex_lock(&sample_store.lock);
    sample_store.stopped = true;
    mutex_unlock(&sample_store.lock);
}
