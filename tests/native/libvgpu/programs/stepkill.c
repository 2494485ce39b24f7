/* Kills a process after every number of instructions inside one operation of the account, and looks whether the account
 * is then exact: `stepkill change|refuse|claim|bury FIRST STRIDE LAST`. Prints how many were killed, of how many
 * instructions the operation has (0: more than LAST), and how long the parent took to have it exact, median and worst.
 *
 * The parent holds some memory throughout. Each child is run to the operation, stepped n instructions into it, and
 * killed; then the parent asks what is in use, which must be its own memory to the byte.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libvgpu/account.h"

#define OWN 1000
#define LIMIT 100000
#define MOST 100000

static void fail(const char *what, long steps, uint64_t number)
{
    fprintf(stderr, "after %ld instructions: %s (%" PRIu64 ")\n", steps, what, number);
    exit(1);
}

static long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); /* others may keep the processor */
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void change(void)
{
    account_take(0, 300, LIMIT, true);
    account_give(0, 100);
}

static void refuse(void)
{
    account_take(0, LIMIT, LIMIT, true);
}

static void claim(void)
{
    account_take(0, 300, LIMIT, true);
}

static void bury(void)
{
    account_used(0);
}

/* A process that takes memory of two cards and dies with it. */
static void leave_a_dead_one(void)
{
    pid_t child = fork();
    if (child == 0) {
        account_take(0, 5000, LIMIT, true);
        account_take(3, 7000, LIMIT, true);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

/* Runs a child `steps` instructions into the operation and kills it; false where it came to the operation's end. */
static int run(void (*operation)(void), long steps)
{
    int status;
    if (operation == bury)
        leave_a_dead_one();
    pid_t child = fork();
    if (child == 0) {
        if (operation == change || operation == refuse)
            account_take(0, 50, LIMIT, true);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        operation();
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(child, &status, 0);
    int ended = 0;
    for (long step = 0; step < steps && !ended; step++) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0)
            fail("can't step", steps, 0);
        waitpid(child, &status, 0);
        ended = !WIFSTOPPED(status) || WSTOPSIG(status) == SIGSTOP;
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return !ended;
}

static int by_length(const void *one, const void *other)
{
    long difference = *(const long *)one - *(const long *)other;
    return difference < 0 ? -1 : difference > 0;
}

static void (*named(const char *name))(void)
{
    static const struct {
        const char *name;
        void (*operation)(void);
    } all[] = {{"change", change}, {"refuse", refuse}, {"claim", claim}, {"bury", bury}};
    for (unsigned index = 0; index < sizeof all / sizeof all[0]; index++) {
        if (strcmp(all[index].name, name) == 0)
            return all[index].operation;
    }
    exit(2);
}

int main(int count, char **words)
{
    static long took[MOST];
    if (count != 5)
        return 2;
    void (*operation)(void) = named(words[1]);
    long stride = atol(words[3]), last = atol(words[4]), killed = 0, length = 0;
    if (!account_take(0, OWN, LIMIT, true))
        fail("can't begin", 0, 0);
    for (long steps = atol(words[2]); steps <= last && length == 0 && killed < MOST; steps += stride) {
        if (!run(operation, steps))
            length = steps;
        long begun = now_ns();
        uint64_t used = account_used(0);
        took[killed++] = now_ns() - begun;
        if (used != OWN)
            fail("in use", steps, used);
        if (account_used(3) != 0)
            fail("in use of another card", steps, account_used(3));
        struct account_process processes[4];
        if (account_processes(0, processes, 4) != 1 || processes[0].pid != (uint32_t)getpid())
            fail("processes", steps, account_processes(0, processes, 4));
    }
    qsort(took, (size_t)killed, sizeof took[0], by_length);
    printf("%ld %ld %ld %ld\n", killed, length, took[killed / 2], took[killed - 1]);
    return 0;
}
