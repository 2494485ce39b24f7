#include "tests/native/libvgpu/programs/stepkill_step.h"

#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

uint64_t at[MOST_INSTRUCTIONS];
long earlier[MOST_INSTRUCTIONS], instructions, kills;
bool in_company;

static void fail(const struct victim *victim, const char *what, uint64_t number) {
    fprintf(stderr, "kill %ld%s, after %ld instructions%s: %s (%" PRIu64 ")\n", kills, in_company ? " in company" : "",
            victim->steps, victim->ended ? ", at the end" : "", what, number);
    if (victim->pid > 0) {
        kill(victim->pid, SIGKILL);
    }
    if (victim->company > 0) {
        kill(victim->company, SIGKILL);
    }
    exit(1);
}

void need(bool holds, const struct victim *victim, const char *what, uint64_t number) {
    if (!holds) {
        fail(victim, what, number);
    }
}

static void resume(struct victim *victim, enum __ptrace_request how) {
    int status;
    need(ptrace(how, victim->pid, NULL, NULL) == 0 && waitpid(victim->pid, &status, 0) == victim->pid, victim,
         "can't go on", 0);
    need(WIFSTOPPED(status), victim, "ended by itself", (uint64_t)status);
    victim->ended = WSTOPSIG(status) == SIGSTOP;
}

void step(struct victim *victim) {
    resume(victim, PTRACE_SINGLESTEP);
    victim->steps += !victim->ended;
}

uint64_t next_of(const struct victim *victim) {
    return (uint64_t)ptrace(PTRACE_PEEKUSER, victim->pid, offsetof(struct user, regs.rip), NULL);
}

/* Runs until it comes to the instruction once more than `times`, or ends. */
static void run_to(struct victim *victim, uint64_t address, long times) {
    long word = ptrace(PTRACE_PEEKTEXT, victim->pid, address, NULL);
    for (; !victim->ended; times--) {
        ptrace(PTRACE_POKETEXT, victim->pid, address, (word & ~0xffL) | 0xcc);
        resume(victim, PTRACE_CONT);
        ptrace(PTRACE_POKETEXT, victim->pid, address, word);
        if (victim->ended) {
            return;
        }
        need(next_of(victim) == address + 1, victim, "stopped elsewhere", next_of(victim));
        ptrace(PTRACE_POKEUSER, victim->pid, offsetof(struct user, regs.rip), address);
        if (times == 0) {
            return;
        }
        resume(victim, PTRACE_SINGLESTEP);
    }
}

void go(struct victim *victim, long steps) {
    long best = 0, cost = steps;
    for (long place = steps; victim->steps == 0 && place > 0 && steps - place < cost; place--) {
        if (steps - place + 2 * earlier[place] + 4 < cost) {
            best = place;
            cost = steps - place + 2 * earlier[place] + 4;
        }
    }
    if (best > 0) {
        run_to(victim, at[best], earlier[best]);
    }
    if (best > 0) {
        victim->steps = best;
    }
    while (!victim->ended && victim->steps < steps) {
        step(victim);
    }
}

void finish_alone(struct victim *victim) {
    resume(victim, PTRACE_CONT);
}

/* How often each instruction was met before: of equal ones, sorted by when they were met, the place among them. */
static int by_address(const void *one, const void *other) {
    const long *left = one, *right = other;
    if (at[*left] != at[*right]) {
        return at[*left] < at[*right] ? -1 : 1;
    }
    return *left < *right ? -1 : 1;
}

void count_earlier(void) {
    static long order[MOST_INSTRUCTIONS];
    for (long steps = 0; steps <= instructions; steps++) {
        order[steps] = steps;
    }
    qsort(order, (size_t)instructions + 1, sizeof order[0], by_address);
    for (long place = 0; place <= instructions; place++) {
        bool again = place > 0 && at[order[place]] == at[order[place - 1]];
        earlier[order[place]] = again ? earlier[order[place - 1]] + 1 : 0;
    }
}
