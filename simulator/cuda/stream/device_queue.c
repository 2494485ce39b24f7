/* The kernels of this process that wait until it may book more time on the GPU, one queue for each device.
 *
 * The kernel that could start first is booked next; among kernels that could start together, the one that was ready first.
 * One of the waiting threads watches the clock for all of them and hands that task over when it leaves. */
#include "simulator/cuda/stream/device_queue.h"

#include <stdlib.h>

struct waiter {
    sim_job job;
    uint64_t since_ns; /* when it was ready */
    bool done;
    pthread_cond_t changed;
    struct waiter *next;
};

/* Call with the device's queue locked, like all below. */
static void take_out(device *card, const waiter *gone) {
    for (waiter **link = &card->waiters; *link; link = &(*link)->next) {
        if (*link == gone) {
            *link = gone->next;
            __atomic_sub_fetch(&card->waiting, 1, __ATOMIC_RELEASE);
            return;
        }
    }
}

static waiter *next_to_book(const device *card) {
    waiter *best = NULL;
    uint64_t best_start = 0;
    for (waiter *each = card->waiters; each; each = each->next) {
        uint64_t start = card->waiters->next ? sim_work_start(sim_driver.machine, card->gpu, &each->job) : 0;
        if (!best || start < best_start || (start == best_start && each->since_ns < best->since_ns)) {
            best = each;
            best_start = start;
        }
    }
    return best;
}

/* Books what may be booked now; returns the waiter that is next but has to wait, or NULL. */
static waiter *book(device *card) {
    waiter *next = next_to_book(card);
    while (next && sim_work_book(sim_driver.machine, card->gpu, &next->job, sim_now_ns())) {
        take_out(card, next);
        next->done = true;
        pthread_cond_signal(&next->changed);
        next = next_to_book(card);
    }
    return next;
}

static void wait_in_line(device *card, waiter *own) {
    for (waiter *next = book(card); !own->done; next = book(card)) {
        if (sim_gpu_lost(card->card)) {
            take_out(card, own);
            break;
        }
        if (card->watched) {
            pthread_cond_wait(&own->changed,
                              &card->queue_lock); /* the watching thread notices a lost GPU and hands over */
            continue;
        }
        sim_job refused = next->job;
        card->watched = true;
        if (!card->asking) {
            __atomic_store_n(&card->asking, true, __ATOMIC_RELEASE);
            sim_work_ask(sim_driver.machine, card->gpu);
        }
        pthread_mutex_unlock(&card->queue_lock);
        sim_work_wait(sim_driver.machine, card->gpu, &refused);
        pthread_mutex_lock(&card->queue_lock);
        card->watched = false;
    }
    if (card->waiters && !card->watched) {
        pthread_cond_signal(&card->waiters->changed); /* it watches from now on */
    }
}

waiter *device_queue_join(device *card, sim_job job, uint64_t since) {
    waiter *own = calloc(1, sizeof *own);
    if (own) {
        own->job = job;
        own->since_ns = since;
        pthread_cond_init(&own->changed, NULL);
        pthread_mutex_lock(&card->queue_lock);
        own->next = card->waiters;
        card->waiters = own;
        __atomic_add_fetch(&card->waiting, 1, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&card->queue_lock);
    }
    return own;
}

uint64_t device_queue_await(device *card, waiter *own) {
    pthread_mutex_lock(&card->queue_lock);
    wait_in_line(card, own);
    pthread_mutex_unlock(&card->queue_lock);
    uint64_t end = own->job.ready_ns;
    pthread_cond_destroy(&own->changed);
    free(own);
    return end;
}

void device_queue_leave(device *card, waiter *own) {
    pthread_mutex_lock(&card->queue_lock);
    take_out(card, own);
    pthread_mutex_unlock(&card->queue_lock);
    pthread_cond_destroy(&own->changed);
    free(own);
}

uint64_t device_queue_book(device *card, sim_job job, uint64_t since) {
    if (sim_gpu_lost(card->card)) {
        return job.ready_ns; /* nobody will see that it never ran */
    }
    if (!device_queue_is_contended(card) && sim_work_book(sim_driver.machine, card->gpu, &job, sim_now_ns())) {
        return job.ready_ns;
    }
    waiter *own = device_queue_join(card, job, since);
    return own ? device_queue_await(card, own) : job.ready_ns;
}

bool device_queue_is_contended(const device *card) {
    return __atomic_load_n(&card->waiting, __ATOMIC_ACQUIRE) != 0;
}

void device_queue_rest(void) {
    for (int i = 0; i < sim_driver.device_count; i++) {
        device *card = &sim_driver.devices[i];
        if (!__atomic_load_n(&card->asking, __ATOMIC_ACQUIRE)) {
            continue;
        }
        pthread_mutex_lock(&card->queue_lock);
        if (card->asking && !card->waiters) {
            __atomic_store_n(&card->asking, false, __ATOMIC_RELEASE);
            sim_work_rest(sim_driver.machine, card->gpu);
        }
        pthread_mutex_unlock(&card->queue_lock);
    }
}
