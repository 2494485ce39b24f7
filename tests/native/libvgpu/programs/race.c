/* Processes race for one card's memory and are killed at random: `race PROCESSES ROUNDS KILLS SEED`.
 *
 * Each process writes what it has into a page that all see: after it took, and before it gives. The sum of that page is
 * never more than what is really taken, so a sum above the limit is memory given out twice. In the end nothing is left.
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

#include "libvgpu/account.h"

#define LIMIT 1000000
#define MOST 64
#define LONGEST_NS 10000000L

struct page {
    uint64_t has[MOST], changes[MOST];
    uint32_t dying[MOST];
    uint64_t rounds, refused, over, longest_ns;
};

static struct page *page;

static long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* What all have at one moment: read twice, and the same both times. */
static void look(unsigned processes)
{
    uint64_t first[MOST], changes[MOST], sum = 0;
    for (unsigned index = 0; index < processes; index++) {
        changes[index] = __atomic_load_n(&page->changes[index], __ATOMIC_SEQ_CST);
        first[index] = __atomic_load_n(&page->has[index], __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&page->dying[index], __ATOMIC_SEQ_CST))
            sum += first[index];
    }
    if (sum <= LIMIT)
        return;
    for (unsigned index = 0; index < processes; index++) {
        if (__atomic_load_n(&page->dying[index], __ATOMIC_SEQ_CST) || changes[index] % 2 != 0
            || changes[index] != __atomic_load_n(&page->changes[index], __ATOMIC_SEQ_CST))
            return;
    }
    __atomic_add_fetch(&page->over, 1, __ATOMIC_RELAXED);
}

static void show(unsigned index, uint64_t has)
{
    __atomic_add_fetch(&page->changes[index], 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&page->has[index], has, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&page->changes[index], 1, __ATOMIC_SEQ_CST);
}

static void work(unsigned index, unsigned processes, uint64_t rounds, unsigned seed)
{
    uint64_t has = 0;
    while (__atomic_add_fetch(&page->rounds, 1, __ATOMIC_RELAXED) <= rounds) {
        uint64_t bytes = 1 + (uint64_t)rand_r(&seed) % (LIMIT / processes * 2);
        long begun = now_ns();
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
        uint64_t took = (uint64_t)(now_ns() - begun);
        if (took > __atomic_load_n(&page->longest_ns, __ATOMIC_RELAXED))
            __atomic_store_n(&page->longest_ns, took, __ATOMIC_RELAXED);
    }
    /* Half end as they are, half tidily. */
    show(index, 0);
    if (index % 2 == 0)
        account_give(0, has);
    _exit(0);
}

static pid_t start(unsigned index, unsigned processes, uint64_t rounds, unsigned seed)
{
    page->changes[index] += page->changes[index] % 2; /* killed while showing */
    show(index, 0);
    __atomic_store_n(&page->dying[index], 0, __ATOMIC_SEQ_CST);
    pid_t child = fork();
    if (child == 0)
        work(index, processes, rounds, seed);
    return child;
}

int main(int count, char **words)
{
    if (count != 5)
        return 2;
    unsigned processes = (unsigned)atoi(words[1]), kills = (unsigned)atoi(words[3]), seed = (unsigned)atoi(words[4]);
    uint64_t rounds = strtoull(words[2], NULL, 10);
    pid_t children[MOST];
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || processes > MOST)
        return 2;
    for (unsigned index = 0; index < processes; index++)
        children[index] = start(index, processes, rounds, seed + index);
    unsigned killed = 0;
    while (killed < kills && __atomic_load_n(&page->rounds, __ATOMIC_RELAXED) < rounds) {
        struct timespec pause = {.tv_nsec = rand_r(&seed) % 2000000};
        nanosleep(&pause, NULL);
        unsigned index = (unsigned)rand_r(&seed) % processes;
        __atomic_store_n(&page->dying[index], 1, __ATOMIC_SEQ_CST);
        kill(children[index], SIGKILL);
        waitpid(children[index], NULL, 0);
        children[index] = start(index, processes, rounds, seed + 1000 + killed++);
    }
    for (unsigned index = 0; index < processes; index++)
        waitpid(children[index], NULL, 0);
    uint64_t left = account_used(0);
    printf("rounds %" PRIu64 " refused %" PRIu64 " killed %u over %" PRIu64 " left %" PRIu64 " longest %" PRIu64 "\n",
        page->rounds, page->refused, killed, page->over, left, page->longest_ns);
    return page->over == 0 && left == 0 ? 0 : 1;
}
