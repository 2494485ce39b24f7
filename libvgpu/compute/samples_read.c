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

/* How long a sample took, ns, and how much of that began after every other sample had ended. */
struct span {
    uint64_t whole, added;
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

/* Adds a finished sample to its cost, and corrects charges: the launch's own, where it was provisional, and earlier
 * ones. */
static void learn(struct sample *sample, struct span span, uint64_t now) {
    static struct reading_gaps gaps;
    struct cost *cost = sample->cost;
    struct reading_facts facts = {.at = now,
                                  .whole = span.whole,
                                  .host = sample->ended_at - sample->begun_at,
                                  .gap = sample->gap,
                                  .asked_for = sample->asked_for,
                                  .spent = sample->spent,
                                  .launches = sample->launches,
                                  .view = neighbours_view(sample->gpu),
                                  .backlogged = sample->backlogged,
                                  .several = streams_several(sample->gpu, now),
                                  .behind = sample->behind,
                                  .together = sample->together};
    /* A kernel that fills the GPU began when the one before it had ended. An end that a busy host recorded late makes the next
     * one too short, so one of the last ones must agree. */
    if (facts.launches == 1 && facts.several && span.sure && span.added > 0 && span.added < span.whole &&
        __atomic_load_n(&cost->fills, __ATOMIC_RELAXED)) {
        if (agrees(cost, span.added)) {
            facts.whole = span.added;
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
        /* What fills the GPU runs alone, so that it takes its whole time, in whatever order it is read. */
        bool whole = facts.several && facts.view != ESTIMATE_CLEAR && __atomic_load_n(&cost->fills, __ATOMIC_RELAXED);
        uint64_t own = facts.several && !whole && span.added < elapsed ? span.added : elapsed;
        if ((in_company || (facts.several && facts.view != ESTIMATE_CLEAR)) && (cost->value < own || whole)) {
            own = cost->value;
        }
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

/* Keeps the sample's end where it is the latest, and returns how long after the one before it was; -1: unknown, or not
 * at all. */
static int64_t advance(struct sample_pairs *pairs, struct sample *sample) {
    int64_t further = -1;
    CUevent spare = pairs->latest;
    if (spare != NULL) {
        further = between(spare, sample->after);
        if (further <= 0) {
            return 0;
        }
    } else if (DRIVER(cuEventCreate)(&spare, CU_EVENT_DEFAULT) != CUDA_SUCCESS) {
        return -1;
    }
    pairs->latest = sample->after;
    pairs->late = interrupted(sample);
    sample->after = spare;
    return further;
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

static void read_one(struct sample *sample, uint64_t now) {
    struct sample_pairs *pairs = sample_store_of(sample->context);
    if (sample->result == CUDA_SUCCESS && pairs != NULL) {
        order(sample);
        int64_t whole = between(sample->before, sample->after);
        bool sure = !pairs->late;
        int64_t further = streams_several(sample->gpu, now) ? advance(pairs, sample) : -1;
        if (whole >= 0) {
            learn(sample,
                  (struct span){(uint64_t)whole, (uint64_t)(further >= 0 && further < whole ? further : whole), sure},
                  now);
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
