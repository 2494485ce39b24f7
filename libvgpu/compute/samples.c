#include "libvgpu/compute/samples.h"

#include <stdlib.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/base/log.h"
#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/gpu_time.h"
#include "libvgpu/compute/neighbours.h"
#include "libvgpu/compute/streams.h"
#include "libvgpu/compute/throttle.h"

/* Pairs of events for each context. While all of them are in use, launches are not measured. */
#define PAIRS_MOST 512

/* One call asks about so many unfinished samples: later ones of a stream don't finish earlier. */
#define UNDONE_MOST 32

/* A host that isn't interrupted launches in less time. */
#define USUAL_GAP_NS 5000u

/* After this time the host has seen that an event has passed. */
#define NOTICE_NS 12000u

#define GAPS_LEAST 16u

struct pairs {
    CUcontext context;
    CUevent latest; /* the latest end of a sample that was read; NULL: none */
    unsigned held;
    unsigned made;
    struct sample *idle;
    struct pairs *next;
};

static struct mutex lock;
static struct pairs *contexts;
static unsigned all_held;
static bool stopped;
static unsigned under_way;
static struct sample *first, **last = &first;
static uint64_t unknown_since[VGPU_MAX_GPUS]; /* when a launch of unknown cost was first seen to run; 0: none runs */

unsigned samples_under_way(void) {
    return __atomic_load_n(&under_way, __ATOMIC_RELAXED);
}

uint64_t samples_unknown_for(int gpu, uint64_t now) {
    uint64_t since = __atomic_load_n(&unknown_since[gpu], __ATOMIC_RELAXED);
    return since != 0 && now > since ? now - since : 0;
}

/* Call with the lock held. */
static struct pairs *pairs_of(CUcontext context) {
    struct pairs *found = contexts;
    while (found != NULL && found->context != context) {
        found = found->next;
    }
    if (found == NULL && (found = calloc(1, sizeof *found)) != NULL) {
        found->context = context;
        found->next = contexts;
        contexts = found;
    }
    return found;
}

static void put_back(struct sample *sample) {
    struct pairs *pairs = pairs_of(sample->context);
    if (pairs == NULL) {
        return;
    }
    sample->next = pairs->idle;
    pairs->idle = sample;
}

static struct sample *make(CUcontext context) {
    struct sample *sample = calloc(1, sizeof *sample);
    if (sample == NULL) {
        return NULL;
    }
    sample->context = context;
    if (DRIVER(cuEventCreate)(&sample->before, CU_EVENT_DEFAULT) == CUDA_SUCCESS) {
        if (DRIVER(cuEventCreate)(&sample->after, CU_EVENT_DEFAULT) == CUDA_SUCCESS) {
            return sample;
        }
        DRIVER(cuEventDestroy_v2)(sample->before);
    }
    free(sample);
    return NULL;
}

static struct sample *take(CUcontext context) {
    struct sample *sample = NULL;
    bool more = false;
    mutex_lock(&lock);
    struct pairs *pairs = stopped || all_held > 0 ? NULL : pairs_of(context);
    if (pairs != NULL && pairs->held == 0) {
        sample = pairs->idle;
        if (sample != NULL) {
            pairs->idle = sample->next;
        } else if (pairs->made < PAIRS_MOST) {
            more = pairs->made++ < PAIRS_MOST;
        }
    }
    mutex_unlock(&lock);
    return sample == NULL && more ? make(context) : sample;
}

static bool able(void) {
    return DRIVER(cuEventCreate) != NULL && DRIVER(cuEventRecord) != NULL && DRIVER(cuEventQuery) != NULL &&
           DRIVER(cuEventElapsedTime) != NULL && DRIVER(cuEventDestroy_v2) != NULL && DRIVER(cuCtxSetCurrent) != NULL;
}

static bool record(CUevent event, CUstream stream) {
    if (!captures_hold_off()) {
        return false;
    }
    bool recorded = DRIVER(cuEventRecord)(event, stream) == CUDA_SUCCESS;
    captures_let_go();
    return recorded;
}

/* Whether the stream has unfinished work before the sample. The host sees only after a moment that an idle stream has
 * passed an event. */
static bool backlogged(struct sample *sample) {
    uint64_t begun = 0, now = 0;
    sample->asked_for = 0;
    while (DRIVER(cuEventQuery)(sample->before) == CUDA_ERROR_NOT_READY) {
        now = throttle_clock();
        begun = begun == 0 ? now : begun;
        sample->asked_for = now - begun + 1;
        if (sample->asked_for > NOTICE_NS) {
            return true;
        }
    }
    return false;
}

static struct sample *begin(struct cost *cost, const struct launch_site *site) {
    struct sample *sample = take(site->context);
    if (sample == NULL) {
        return NULL;
    }
    sample->cost = cost;
    sample->stream = site->stream;
    sample->gpu = (int16_t)site->gpu;
    sample->charged = -1;
    sample->learning = false;
    sample->started_at = 0;
    sample->streams = 1;
    sample->meaning = cost_meaning(cost);
    if (!record(sample->before, site->stream)) {
        sample_cancel(sample);
        return NULL;
    }
    sample->begun_at = throttle_clock();
    sample->backlogged = backlogged(sample);
    return sample;
}

struct sample *sample_begin(struct cost *cost, const struct launch_site *site) {
    if (captures_any() || !able() || captures_ask(site->stream)) {
        return NULL;
    }
    CUstreamCaptureMode mode = captures_relax();
    struct sample *sample = begin(cost, site);
    captures_restore(mode);
    return sample;
}

void sample_launched(struct sample *sample) {
    sample->gap = throttle_clock() - sample->begun_at;
}

static void end_learning(struct sample *sample) {
    if (sample->started_at != 0) {
        __atomic_store_n(&unknown_since[sample->gpu], 0, __ATOMIC_RELAXED);
    }
    cost_cache_end_learning(sample->cost, sample->meaning);
    throttle_end_learning(gpu_time_account(sample->gpu), sample->noted_at);
}

void sample_cancel(struct sample *sample) {
    if (sample->learning) {
        end_learning(sample);
    }
    mutex_lock(&lock);
    put_back(sample);
    mutex_unlock(&lock);
}

static bool record_new(CUevent *event, CUstream stream) {
    if (*event == NULL && DRIVER(cuEventCreate)(event, CU_EVENT_DEFAULT) != CUDA_SUCCESS) {
        *event = NULL;
    }
    return *event != NULL && record(*event, stream);
}

bool sample_join(struct sample *sample, CUstream stream) {
    return sample->streams < SAMPLES_STREAMS && record_new(&sample->others[sample->streams - 1].before, stream) &&
           ++sample->streams > 0;
}

bool sample_end(struct sample *sample, unsigned launches, const CUstream *streams) {
    sample->launches = (uint16_t)launches;
    bool recorded = record(sample->after, streams[0]);
    for (unsigned place = 0; recorded && place + 1 < sample->streams; place++) {
        recorded = record_new(&sample->others[place].after, streams[place + 1]);
    }
    if (!recorded) {
        sample_cancel(sample);
        return false;
    }
    sample->ended_at = throttle_clock();
    sample->next = NULL;
    mutex_lock(&lock);
    *last = sample;
    last = &sample->next;
    __atomic_store_n(&under_way, under_way + 1, __ATOMIC_RELAXED);
    mutex_unlock(&lock);
    return true;
}

/* How long a sample took, ns, and how much of that began after every other sample had ended. */
struct span {
    uint64_t whole, added;
};

/* Returns the part of the gap that is certainly not the launch's, where the GPU lags behind the host: somewhat less than
 * the shortest gap lately, since the GPU may have begun in the middle of a longer one. */
static uint64_t idle_part(uint64_t gap) {
    static uint64_t shortest;
    static unsigned seen;
    shortest = shortest == 0 || gap < shortest ? gap : shortest + shortest / 256;
    if (++seen < GAPS_LEAST) {
        return gap / 2;
    }
    uint64_t least = gap < shortest ? gap : shortest;
    return least - least / 8;
}

/* Adds a finished sample to its cost, and corrects charges: the launch's own, where it was provisional, and earlier
 * ones. */
static void learn(struct sample *sample, struct span span, uint64_t now) {
    struct cost *cost = sample->cost;
    enum estimate_view view = neighbours_view(sample->gpu);
    bool several = streams_several(sample->gpu, now);
    uint64_t elapsed = span.whole;
    if (elapsed == 0) {
        elapsed = 1;
    }
    uint64_t host = sample->ended_at - sample->begun_at;
    bool kept_busy = elapsed >= host;
    /* Where the GPU needs a moment to begin, one that was idle in between has taken as long as the host. */
    if (sample->launches > 1 && !sample->backlogged && sample->asked_for > 0) {
        kept_busy = elapsed > host + host / 8;
    }
    /* The host was slower than the GPU during the run, so its duration says nothing. */
    if (sample->launches > 1 && !kept_busy) {
        __atomic_store_n(&cost->alone, SAMPLES_ALONE, __ATOMIC_RELAXED);
        return;
    }
    /* An idle GPU began the launch while the host was still making it, usually in the middle. So half of the host's
     * time is subtracted. Not from a run: there it is a small part, and was perhaps not in the shortest one. Where the
     * GPU is seen to lag behind the host, it lags as much with the launch, and the time that the host takes is all in. */
    uint64_t off = 0;
    bool lags = sample->asked_for > 0;
    if (!sample->backlogged && (sample->launches == 1 || lags) && elapsed > sample->gap &&
        sample->gap <= USUAL_GAP_NS + sample->asked_for) {
        off = lags ? idle_part(sample->gap) : sample->gap / 2;
    }
    elapsed -= off;
    bool exact = kept_busy && (sample->backlogged || sample->gap * 50 <= elapsed);
    bool stretched = several && view == ESTIMATE_CLEAR;
    struct estimate_sample measured = {.at = now,
                                       .ns = elapsed / sample->launches,
                                       .view = (uint8_t)(stretched ? ESTIMATE_STREAMS : view),
                                       .behind = sample->backlogged || stretched,
                                       .exact = exact,
                                       .off = exact ? 0 : off / sample->launches};
    bool in_company = view == ESTIMATE_COMPANY;
    measured.charged = sample->charged >= 0 && !in_company && !several ? elapsed : 0;
    int64_t missing = cost_cache_add(cost, measured, sample->meaning);
    if (sample->charged >= 0) {
        uint64_t own = several && span.added < elapsed ? span.added : elapsed;
        if ((in_company || (several && view != ESTIMATE_CLEAR)) && cost->value < own) {
            own = cost->value;
        }
        uint64_t part = throttle_part(gpu_time_account(sample->gpu), own, elapsed, now);
        /* Next to others of the container it is charged the time that was left for it. */
        missing += (int64_t)(in_company ? part : own) - sample->charged;
    }
    log_write(LOG_DEBUG, "GPU %d: %u launches of a %s took %llu ns, view %d, %s: %llu ns each; charged %lld too little",
              sample->gpu, sample->launches, cost_key_kind(&cost->key) == COST_OF_GRAPH ? "graph" : "kernel",
              (unsigned long long)elapsed, (int)view, measured.exact ? "exactly" : "at most",
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
        __atomic_store_n(&unknown_since[sample->gpu], sample->started_at, __ATOMIC_RELAXED);
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
        if (between(before, sample->before) > 0) {
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
static int64_t advance(struct pairs *pairs, struct sample *sample) {
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

/* Reads a sample; false where the GPU hasn't finished it. */
static bool read_one(struct pairs *pairs, struct sample *sample, uint64_t now) {
    CUresult result = query(sample);
    if (result == CUDA_ERROR_NOT_READY) {
        if (sample->learning) {
            charge_so_far(sample, now);
        }
        return false;
    }
    if (result == CUDA_SUCCESS) {
        order(sample);
        int64_t whole = between(sample->before, sample->after);
        int64_t further = streams_several(sample->gpu, now) ? advance(pairs, sample) : -1;
        if (whole >= 0) {
            learn(sample, (struct span){(uint64_t)whole, (uint64_t)(further >= 0 && further < whole ? further : whole)},
                  now);
        }
    }
    if (sample->learning) {
        end_learning(sample);
    }
    return true;
}

unsigned samples_read(CUcontext context) {
    CUcontext current = context;
    unsigned undone = 0;
    CUstreamCaptureMode mode = captures_relax();
    mutex_lock(&lock);
    uint64_t now = throttle_clock();
    for (struct sample **link = &first; *link != NULL && undone < UNDONE_MOST && !stopped && all_held == 0;) {
        struct sample *each = *link;
        struct pairs *pairs = pairs_of(each->context);
        bool ours = (context == NULL || each->context == context) && pairs != NULL && pairs->held == 0;
        if (ours && each->context != current) {
            current = each->context;
            ours = DRIVER(cuCtxSetCurrent)(current) == CUDA_SUCCESS;
        }
        if (!ours || !read_one(pairs, each, now)) {
            undone += ours;
            link = &each->next;
            continue;
        }
        *link = each->next;
        if (*link == NULL) {
            last = link;
        }
        put_back(each);
        __atomic_store_n(&under_way, under_way - 1, __ATOMIC_RELAXED);
    }
    unsigned left = stopped ? 0 : under_way;
    mutex_unlock(&lock);
    captures_restore(mode);
    return left;
}

void samples_hold(CUcontext context) {
    mutex_lock(&lock);
    if (context == NULL) {
        all_held++;
    }
    for (struct pairs *each = contexts; each != NULL; each = each->next) {
        each->held += each->context == context;
    }
    mutex_unlock(&lock);
}

/* The context's end destroyed their events. */
static void drop(CUcontext context) {
    for (struct sample **link = &first; *link != NULL;) {
        struct sample *each = *link;
        if (each->context != context) {
            link = &each->next;
            continue;
        }
        if (each->learning) {
            end_learning(each);
        }
        *link = each->next;
        if (*link == NULL) {
            last = link;
        }
        free(each);
        __atomic_store_n(&under_way, under_way - 1, __ATOMIC_RELAXED);
    }
    for (struct pairs **link = &contexts; *link != NULL;) {
        struct pairs *each = *link;
        if (each->context != context) {
            link = &each->next;
            continue;
        }
        while (each->idle != NULL) {
            struct sample *idle = each->idle;
            each->idle = idle->next;
            free(idle);
        }
        *link = each->next;
        free(each);
    }
}

void samples_release(CUcontext context, bool ended) {
    mutex_lock(&lock);
    if (context == NULL) {
        all_held--;
    }
    for (struct pairs *each = contexts; each != NULL; each = each->next) {
        each->held -= each->context == context && each->held > 0;
    }
    if (ended) {
        drop(context);
    }
    mutex_unlock(&lock);
}

void samples_stop(void) {
    CUcontext current;
    /* Launches that the GPU has finished by now are still charged. */
    if (samples_under_way() > 0 && !captures_any() && DRIVER(cuCtxGetCurrent) != NULL &&
        DRIVER(cuCtxGetCurrent)(&current) == CUDA_SUCCESS) {
        samples_read(NULL);
        DRIVER(cuCtxSetCurrent)(current);
    }
    mutex_lock(&lock);
    stopped = true;
    mutex_unlock(&lock);
}

void samples_after_fork(void) {
    lock = (struct mutex){0};
    contexts = NULL;
    first = NULL;
    last = &first;
    under_way = 0;
    all_held = 0;
    for (int gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        unknown_since[gpu] = 0;
    }
}
