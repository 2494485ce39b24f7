#include "libvgpu/compute/samples.h"

#include "libvgpu/compute/captures.h"
#include "libvgpu/compute/throttle.h"

/* After this time the host has seen that an event has passed. */
#define NOTICE_NS 12000u

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

void sample_spend(struct sample *sample, uint64_t since, uint64_t most) {
    uint64_t spent = throttle_clock() - since;
    sample->spent += spent < most ? spent : most;
}

static bool record_before(struct sample *sample) {
    if (!record(sample->before, sample->stream)) {
        return false;
    }
    sample->begun_at = throttle_clock();
    sample->backlogged = sample->behind || backlogged(sample);
    return true;
}

static struct sample *begin(struct cost *cost, const struct launch_site *site, bool behind) {
    struct sample *sample = sample_store_take(site->context);
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
    sample->together = false;
    sample->behind = behind;
    sample->asked_for = 0;
    sample->gap = 0;
    sample->meaning = cost_meaning(cost);
    bool recorded = record_before(sample);
    /* Where the host had to ask, the stream may have had work at first, and the GPU passed the event at an unknown time. Now
     * it is idle. */
    if (recorded && !sample->backlogged && sample->asked_for > 0) {
        recorded = record_before(sample);
    }
    if (!recorded) {
        sample_cancel(sample);
        return NULL;
    }
    sample->spent = 0;
    sample_spend(sample, sample->begun_at, 2 * SPENT_MOST_NS);
    return sample;
}

static struct sample *begin_where_allowed(struct cost *cost, const struct launch_site *site, bool behind) {
    if (captures_any() || !able() || captures_ask(site->stream)) {
        return NULL;
    }
    CUstreamCaptureMode mode = captures_relax();
    struct sample *sample = begin(cost, site, behind);
    captures_restore(mode);
    return sample;
}

bool sample_would_begin_at_once(const struct launch_site *site) {
    if (captures_any() || DRIVER(cuStreamQuery) == NULL || captures_ask(site->stream)) {
        return false;
    }
    if (!captures_hold_off()) {
        return false;
    }
    CUstreamCaptureMode mode = captures_relax();
    CUresult result = DRIVER(cuStreamQuery)(site->stream);
    captures_restore(mode);
    captures_let_go();
    return result == CUDA_SUCCESS;
}

struct sample *sample_begin(struct cost *cost, const struct launch_site *site) {
    return begin_where_allowed(cost, site, false);
}

struct sample *sample_begin_behind(struct cost *cost, const struct launch_site *site) {
    return begin_where_allowed(cost, site, true);
}

void sample_launched(struct sample *sample) {
    sample->gap = throttle_clock() - sample->begun_at;
}

void sample_cancel(struct sample *sample) {
    if (sample->learning) {
        sample_end_learning(sample);
    }
    mutex_lock(&sample_store.lock);
    sample_store_put_back(sample);
    mutex_unlock(&sample_store.lock);
}

static bool record_new(CUevent *event, CUstream stream) {
    if (*event == NULL && DRIVER(cuEventCreate)(event, CU_EVENT_DEFAULT) != CUDA_SUCCESS) {
        *event = NULL;
    }
    return *event != NULL && record(*event, stream);
}

bool sample_join(struct sample *sample, CUstream stream) {
    if (sample->streams >= SAMPLES_STREAMS ||
        (!sample->behind && !record_new(&sample->others[sample->streams - 1].before, stream))) {
        return false;
    }
    sample->streams++;
    return true;
}

bool sample_end(struct sample *sample, unsigned launches, const CUstream *streams) {
    uint64_t begun = throttle_clock();
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
    sample_spend(sample, begun, sample->streams * SPENT_MOST_NS);
    sample_store_add(sample);
    return true;
}
