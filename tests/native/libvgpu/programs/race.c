/* Processes race for one GPU's memory and are killed at random: `race PROCESSES ROUNDS KILLS SEED`.
 *
 * Each process writes what it has into a page that all see: after it took, and before it gives. The sum of that page is
 * never more than what is really taken, so a sum above the limit is memory given out twice. In the end nothing is left.
 *
 * Times are printed in ns, and what they are made of: `longest` is the processor time of the longest call, `worst`
 * what the clock said of it, and `late` how many calls took more than 10 ms by the clock, as a process does that others
 * keep from the processor. Without kills the same is a control. Of each kill: `dying` from the signal until the kernel
 * is done with the process; `back` from then until others can take its memory; `look` the same call when
 * no process died.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libvgpu/shared/account.h"

#define LIMIT 1000000
#define MOST 64
#define MOST_KILLS 100000
#define LATE_NS 10000000u

struct page {
    uint64_t has[MOST], changes[MOST];
    uint32_t dying[MOST];
    uint64_t rounds, refused, over, longest_ns, worst_ns, late;
};

static struct page *page;

static uint64_t now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void raise_to(uint64_t *most, uint64_t to) {
    uint64_t seen = __atomic_load_n(most, __ATOMIC_RELAXED);
    while (seen < to && !__atomic_compare_exchange_n(most, &seen, to, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

/* What all have at one moment: read twice, and the same both times. */
static void look(unsigned processes) {
    uint64_t first[MOST], changes[MOST], sum = 0;
    for (unsigned index = 0; index < processes; index++) {
        changes[index] = __atomic_load_n(&page->changes[index], __ATOMIC_SEQ_CST);
        first[index] = __atomic_load_n(&page->has[index], __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&page->dying[index], __ATOMIC_SEQ_CST)) {
            sum += first[index];
        }
    }
    if (sum <= LIMIT) {
        return;
    }
    for (unsigned index = 0; index < processes; index++) {
        if (__atomic_load_n(&page->dying[index], __ATOMIC_SEQ_CST) || changes[index] % 2 != 0 ||
            changes[index] != __atomic_load_n(&page->changes[index], __ATOMIC_SEQ_CST)) {
            return;
        }
    }
    __atomic_add_fetch(&page->over, 1, __ATOMIC_RELAXED);
}

static void show(unsigned index, uint64_t has) {
    __atomic_add_fetch(&page->changes[index], 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&page->has[index], has, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&page->changes[index], 1, __ATOMIC_SEQ_CST);
}

static void work(unsigned index, unsigned processes, uint64_t rounds, unsigned seed) {
    uint64_t has = 0;
    while (__atomic_add_fetch(&page->rounds, 1, __ATOMIC_RELAXED) <= rounds) {
        uint64_t bytes = 1 + (uint64_t)rand_r(&seed) % (LIMIT / processes * 2);
        uint64_t begun = now_ns(CLOCK_MONOTONIC), worked = now_ns(CLOCK_THREAD_CPUTIME_ID);
        if (rand_r(&seed) % 3 == 0 && has > 0) {
            uint64_t part = rand_r(&seed) % 2 == 0 ? has : 1 + (uint64_t)rand_r(&seed) % has;
            show(index, has - part);
            account_give(0, part);
            has -= part;
        } else if (account_take(0, bytes, LIMIT, true)) {
            has += bytes;
            show(index, has);
            look(processes);
        } else {
            __atomic_add_fetch(&page->refused, 1, __ATOMIC_RELAXED);
        }
        raise_to(&page->longest_ns, now_ns(CLOCK_THREAD_CPUTIME_ID) - worked);
        uint64_t took = now_ns(CLOCK_MONOTONIC) - begun;
        raise_to(&page->worst_ns, took);
        if (took > LATE_NS) {
            __atomic_add_fetch(&page->late, 1, __ATOMIC_RELAXED);
        }
    }
    /* Half end as they are, half tidily. */
    show(index, 0);
    if (index % 2 == 0) {
        account_give(0, has);
    }
    _exit(0);
}

static pid_t start(unsigned index, unsigned processes, uint64_t rounds, unsigned seed) {
    page->changes[index] += page->changes[index] % 2; /* killed while showing */
    show(index, 0);
    __atomic_store_n(&page->dying[index], 0, __ATOMIC_SEQ_CST);
    pid_t child = fork();
    if (child == 0) {
        work(index, processes, rounds, seed);
    }
    return child;
}

/* Times of one kind, of all kills. */
struct times {
    const char *name;
    uint64_t all[MOST_KILLS];
};

static int by_length(const void *one, const void *other) {
    const uint64_t *left = one, *right = other;
    return *left < *right ? -1 : *left > *right;
}

static void say(struct times *times, unsigned count) {
    if (count == 0) {
        return;
    }
    qsort(times->all, count, sizeof times->all[0], by_length);
    printf(" %s_median %" PRIu64 " %s_worst %" PRIu64, times->name, times->all[count / 2], times->name,
           times->all[count - 1]);
}

static struct times dying = {.name = "dying"}, back = {.name = "back"}, look_times = {.name = "look"};

/* Whether the account still has memory under that number: who looks gives the dead's back. */
static bool has_memory(pid_t pid) {
    unsigned count;
    struct account_process *processes = account_processes(0, &count);
    bool found = false;
    for (unsigned place = 0; place < count; place++) {
        found |= processes[place].pid == (uint32_t)pid;
    }
    free(processes);
    return found;
}

static void end(pid_t child, unsigned number) {
    siginfo_t info;
    uint64_t began = now_ns(CLOCK_MONOTONIC);
    has_memory(child);
    uint64_t looked = now_ns(CLOCK_MONOTONIC);
    kill(child, SIGKILL);
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
    uint64_t dead = now_ns(CLOCK_MONOTONIC);
    while (has_memory(child))
        ;
    back.all[number] = now_ns(CLOCK_MONOTONIC) - dead;
    dying.all[number] = dead - looked;
    look_times.all[number] = looked - began;
    waitpid(child, NULL, 0);
}

int main(int count, char **words) {
    if (count != 5) {
        return 2;
    }
    unsigned processes = (unsigned)atoi(words[1]), kills = (unsigned)atoi(words[3]), seed = (unsigned)atoi(words[4]);
    uint64_t rounds = strtoull(words[2], NULL, 10);
    pid_t children[MOST];
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || processes > MOST || kills > MOST_KILLS) {
        return 2;
    }
    for (unsigned index = 0; index < processes; index++) {
        children[index] = start(index, processes, rounds, seed + index);
    }
    unsigned killed = 0;
    while (killed < kills && __atomic_load_n(&page->rounds, __ATOMIC_RELAXED) < rounds) {
        struct timespec pause = {.tv_nsec = rand_r(&seed) % 2000000};
        nanosleep(&pause, NULL);
        unsigned index = (unsigned)rand_r(&seed) % processes;
        __atomic_store_n(&page->dying[index], 1, __ATOMIC_SEQ_CST);
        end(children[index], killed);
        children[index] = start(index, processes, rounds, seed + 1000 + killed++);
    }
    for (unsigned index = 0; index < processes; index++) {
        waitpid(children[index], NULL, 0);
    }
    uint64_t left = account_used(0);
    printf("rounds %" PRIu64 " refused %" PRIu64 " killed %u over %" PRIu64 " left %" PRIu64 " longest %" PRIu64
           " worst %" PRIu64 " late %" PRIu64,
           page->rounds, page->refused, killed, page->over, left, page->longest_ns, page->worst_ns, page->late);
    say(&dying, killed);
    say(&back, killed);
    say(&look_times, killed);
    printf("\n");
    return page->over == 0 && left == 0 ? 0 : 1;
}
