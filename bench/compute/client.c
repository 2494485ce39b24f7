/* A GPU program for the benchmarks and tests of compute shares. Uses only the driver API.
 *
 *   client load     KEY=VALUE ...   launches without a pause until `end` is read or `seconds` are over
 *   client requests KEY=VALUE ...   `requests` times `kernels` kernels, one request every `period` ns
 *
 * Keys: kernel (ns), grid, block, streams and threads (1), call (plain ex cooperative per-thread graph), nodes of a
 * graph, ahead (launches before the thread waits for them; 0: never waits), seconds, forks (children that do the same
 * instead), kernels, requests, period, beat (ns between two samples of how late the host wakes a sleeper; 0: none).
 *
 * Says `ready`, and begins at a line of standard input (forks: one line each). While it loads, `pause` and `go` stop and
 * resume it, and `end` ends it. Prints `moment NAME NS`, then `launches N first NS longest NS settled NS p50 NS p99 NS
 * p999 NS late NS`, the lengths being those of the calls that launch (settled: the longest of those after the first
 * second); or for each request `request GPU HOST LONGEST`: its length by the GPU's clock and by the host's, and that of its
 * longest launch, ns.
 */
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "waits.h"
#include "work.h"

enum { MOST_THREADS = 64 };

struct plan {
    struct work work;
    unsigned streams, threads, ahead, forks, kernels, requests;
    uint64_t period, beat;
    double seconds;
};

struct worker {
    pthread_t thread;
    struct waits waits;
    uint64_t first, launching; /* when the call began that hasn't come back; 0: none */
    uint64_t settled;          /* longest of those that began a second after the first, or later */
};

static struct plan plan = {
    .work = {WORK_PLAIN, 1000000, 1024, 256, 1},
    .streams = 1,
    .threads = 1,
    .kernels = 10,
    .requests = 100,
    .period = 20000000,
    .seconds = 5,
};
static struct worker workers[MOST_THREADS];
static bool paused, forked;
static uint64_t late; /* longest time by which the host woke a sleeper too late */

_Noreturn static void refuse(const char *what, const char *word) {
    fprintf(stderr, "client: %s: %s\n", what, word);
    exit(2);
}

static void must(CUresult status, const char *what) {
    if (status != CUDA_SUCCESS) {
        fprintf(stderr, "client: %s answers %d\n", what, (int)status);
        _exit(1);
    }
}

static enum work_call call_of(const char *name) {
    static const char *const names[] = {"plain", "ex", "cooperative", "per-thread", "graph"};
    for (unsigned place = 0; place < sizeof names / sizeof *names; place++) {
        if (strcmp(names[place], name) == 0) {
            return (enum work_call)place;
        }
    }
    refuse("no such call", name);
}

static void read_word(const char *word) {
    const char *value = strchr(word, '=');
    if (value++ == NULL) {
        refuse("KEY=VALUE is needed", word);
    }
    size_t length = (size_t)(value - 1 - word);
    unsigned long number = strtoul(value, NULL, 10);
#define IS(key) (length == sizeof key - 1 && memcmp(word, key, length) == 0)
    if (IS("kernel")) {
        plan.work.ns = number;
    } else if (IS("grid")) {
        plan.work.grid = (unsigned)number;
    } else if (IS("block")) {
        plan.work.block = (unsigned)number;
    } else if (IS("nodes")) {
        plan.work.nodes = (unsigned)number;
    } else if (IS("call")) {
        plan.work.call = call_of(value);
    } else if (IS("streams") && number >= 1 && number <= 64) {
        plan.streams = (unsigned)number;
    } else if (IS("threads") && number >= 1 && number <= MOST_THREADS) {
        plan.threads = (unsigned)number;
    } else if (IS("ahead")) {
        plan.ahead = (unsigned)number;
    } else if (IS("forks")) {
        plan.forks = (unsigned)number;
    } else if (IS("kernels")) {
        plan.kernels = (unsigned)number;
    } else if (IS("requests")) {
        plan.requests = (unsigned)number;
    } else if (IS("period")) {
        plan.period = number;
    } else if (IS("beat")) {
        plan.beat = number;
    } else if (IS("seconds")) {
        plan.seconds = strtod(value, NULL);
    } else {
        refuse("not understood", word);
    }
}

static void settle(uint64_t *longest, const struct worker *worker, uint64_t began, uint64_t taken) {
    uint64_t first = __atomic_load_n(&worker->first, __ATOMIC_RELAXED);
    if (began >= first + 1000000000U && taken > __atomic_load_n(longest, __ATOMIC_RELAXED)) {
        __atomic_store_n(longest, taken, __ATOMIC_RELAXED);
    }
}

static void *launch_on(void *argument) {
    struct worker *worker = argument;
    struct work_lane lane;
    must(lane_open(&lane, &plan.work, plan.streams), "opening streams");
    for (unsigned launched = 1;; launched++) {
        while (__atomic_load_n(&paused, __ATOMIC_RELAXED)) {
            usleep(1000);
        }
        uint64_t began = work_now();
        if (worker->first == 0) {
            __atomic_store_n(&worker->first, began, __ATOMIC_RELAXED);
        }
        __atomic_store_n(&worker->launching, began, __ATOMIC_RELAXED);
        must(lane_launch(&lane), "a launch");
        __atomic_store_n(&worker->launching, 0, __ATOMIC_RELAXED);
        uint64_t taken = work_now() - began;
        waits_add(&worker->waits, taken);
        settle(&worker->settled, worker, began, taken);
        if (plan.ahead > 0 && launched % plan.ahead == 0) {
            must(lane_wait(&lane), "waiting");
        }
    }
    return NULL;
}

static void report(void) {
    static struct waits all;
    uint64_t first = UINT64_MAX, now = work_now(), settled = 0;
    for (unsigned place = 0; place < plan.threads; place++) {
        waits_merge(&all, &workers[place].waits);
        uint64_t began = __atomic_load_n(&workers[place].first, __ATOMIC_RELAXED);
        uint64_t launching = __atomic_load_n(&workers[place].launching, __ATOMIC_RELAXED);
        if (began != 0 && began < first) {
            first = began;
        }
        if (launching != 0 && launching < now && now - launching > all.longest) {
            all.longest = now - launching;
        }
        if (launching != 0 && launching < now) {
            settle(&settled, &workers[place], launching, now - launching);
        }
        uint64_t before = __atomic_load_n(&workers[place].settled, __ATOMIC_RELAXED);
        settled = before > settled ? before : settled;
    }
    printf("launches %lu first %lu longest %lu settled %lu p50 %lu p99 %lu p999 %lu late %lu\n", all.count,
           first == UINT64_MAX ? 0 : first, all.longest, settled, waits_within(&all, 0.5), waits_within(&all, 0.99),
           waits_within(&all, 0.999), late);
}

/* Does what standard input says until the end. What forks share it hear nothing from there. */
static void serve(uint64_t until) {
    char line[64];
    struct pollfd input = {.fd = forked ? -1 : STDIN_FILENO, .events = POLLIN};
    for (uint64_t now; (now = work_now()) < until;) {
        uint64_t sleep = plan.beat > 0 ? plan.beat : until - now;
        struct timespec time = {(time_t)(sleep / 1000000000U), (long)(sleep % 1000000000U)};
        if (ppoll(&input, 1, &time, NULL) <= 0) {
            uint64_t slept = work_now() - now;
            late = slept > sleep && slept - sleep > late ? slept - sleep : late;
            continue;
        }
        ssize_t length = read(STDIN_FILENO, line, sizeof line - 1);
        if (length <= 0) {
            input.fd = -1;
            continue;
        }
        line[length] = 0;
        if (strcmp(line, "end\n") == 0) {
            return;
        }
        __atomic_store_n(&paused, strcmp(line, "pause\n") == 0, __ATOMIC_RELAXED);
        line[length - 1] = 0;
        printf("moment %s %lu\n", line, work_now());
    }
}

static void load(void) {
    for (unsigned place = 0; place < plan.threads; place++) {
        if (pthread_create(&workers[place].thread, NULL, launch_on, &workers[place]) != 0) {
            refuse("no thread", "load");
        }
    }
    serve(work_now() + (uint64_t)(plan.seconds * 1e9));
    report();
}

static void request_often(void) {
    struct work_lane lane;
    must(lane_open(&lane, &plan.work, plan.streams), "opening streams");
    for (uint64_t due = work_now() + plan.period, count = 0; count < plan.requests; count++, due += plan.period) {
        uint64_t longest = 0, began = due;
        if (work_now() < due) { /* a timer's lateness isn't the request's */
            work_sleep_until(due);
            began = work_now();
        }
        must(lane_mark(&lane, false), "an event");
        for (unsigned kernel = 0; kernel < plan.kernels; kernel++) {
            uint64_t called = work_now();
            must(lane_launch(&lane), "a launch");
            uint64_t took = work_now() - called;
            longest = took > longest ? took : longest;
        }
        must(lane_mark(&lane, true), "an event");
        must(lane_wait(&lane), "waiting");
        printf("request %lu %lu %lu\n", lane_elapsed(&lane), work_now() - began, longest);
    }
}

static void await_word(void) {
    char word;
    printf("ready\n");
    /* By the byte, so that what follows stays for `serve`. */
    while (read(STDIN_FILENO, &word, 1) == 1 && word != '\n') {
        continue;
    }
}

int main(int count, char **words) {
    if (count < 2 || (strcmp(words[1], "load") != 0 && strcmp(words[1], "requests") != 0)) {
        refuse("say `load` or `requests`", count < 2 ? "" : words[1]);
    }
    for (int place = 2; place < count; place++) {
        read_word(words[place]);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned child = 0; child < plan.forks; child++) {
        if (fork() == 0) {
            forked = true;
            break;
        }
    }
    if (plan.forks > 0 && !forked) {
        while (wait(NULL) > 0) {
            continue;
        }
        return 0;
    }
    must(work_open(&plan.work), "the driver");
    await_word();
    if (strcmp(words[1], "load") == 0) {
        load();
    } else {
        request_often();
    }
    fflush(stdout);
    _exit(0); /* what is still queued goes with the process */
}
