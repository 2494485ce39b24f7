/* Kills a process after each instruction of one operation of the account, and looks whether the account is then exact:
 * `stepkill change|refuse|reservation|inherit|reclaim STRIDE NEAR SEED`.
 *
 * One victim is stepped through the whole operation; where it stood after each instruction is noted. From then on a
 * victim runs to a breakpoint that was met seldom, shortly before the instruction that it is to be killed after, and is
 * stepped only from there. STRIDE 1 kills after every instruction, more after every so many, from a random one on; of a
 * loop after each instruction of its first turns, and then of random ones.
 *
 * What the dead leaves to others is what is in the file, as the kernel drops its locks with it. So an operation has as
 * many situations as the file has contents on its way, and around these victims are tried closer. Stopped at a content,
 * or after one of the instructions shortly before it (every NEARth), they see the parent change the same GPU's total
 * and take what the dead had, for which it must not have to wait for them; then they come to their end, or are killed
 * there or later.
 *
 * All of it is done a second time, in longer strides, in company: another process made the last change before the
 * operation, and is killed right after the victim. The parent holds some memory throughout. It prints how many
 * instructions and contents the operation has, how many processes were killed in it, and how long the parent took to get
 * what the dead had, median and worst, ns of processor time.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libvgpu/shared/account.h"
#include "libvgpu/shared/slot_txn.h"
#include "libvgpu/base/names.h"
#include "tests/native/libvgpu/programs/stepkill_step.h"

#define GPU 0
#define OTHER_GPU 3
#define OWN 1000
#define COMPANYS 70
#define DEADS 5000
#define LIMIT 100000
#define MOST_KILLS 1000000
#define MOST_CONTENTS 1000
#define SHORTLY 64
#define COMPANY_STRIDE 7
#define TURNS 8
#define LATER_TURNS 97

struct form {
    const char *name;
    void (*operation)(void);
    uint64_t before, after; /* what the victim has of the GPU */
    enum { NOBODY, SOMEWHERE, IN_ITS_SLOT } dead;
};

static struct vgpu_usage *file; /* as all of them map it */
static struct vgpu_usage initial, seen;
static long took[MOST_KILLS], contents;
static long first[MOST_CONTENTS]; /* instructions until each content */
static unsigned seed;

static void change(void) {
    account_take(GPU, 300, LIMIT, true);
    account_give(GPU, 100);
}

static void refuse(void) {
    account_take(GPU, LIMIT, LIMIT, true);
}

static void reservation(void) {
    account_take(GPU, 300, LIMIT, true);
}

static void reclaim(void) {
    account_used(GPU);
}

static const struct form forms[] = {
    {"change", change, 50, 250, NOBODY},    {"refuse", refuse, 50, 50, NOBODY},
    {"claim", reservation, 0, 300, NOBODY}, {"inherit", reservation, 0, 300, IN_ITS_SLOT},
    {"bury", reclaim, 0, 0, SOMEWHERE},
};

/* A process that takes memory of two GPUs and dies with it; its slot. */
static unsigned leave_a_dead_one(void) {
    pid_t child = fork();
    if (child == 0) {
        account_take(GPU, DEADS - 1, LIMIT, true); /* in two changes, so that neither word of its slot is 0 */
        account_take(GPU, 1, LIMIT, true);
        account_take(OTHER_GPU, 7000, LIMIT, true);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    unsigned slot = 0;
    while (slot < VGPU_SLOTS - 1 && file->slots[slot].pid != (uint32_t)child) {
        slot++;
    }
    return slot;
}

/* As if the dead one's process number had led it to the slot that the victim's leads to. */
static void move(unsigned from, unsigned to) {
    file->slots[to] = file->slots[from];
    memset(&file->slots[from], 0, sizeof file->slots[from]);
    for (struct vgpu_total *total = file->totals; total < file->totals + VGPU_MAX_GPUS; total++) {
        uint64_t number = total->last & ((UINT64_C(1) << VGPU_CHANGE_BITS) - 1);
        if (total->last >> VGPU_CHANGE_BITS == from + 1) {
            total->last = (uint64_t)(to + 1) << VGPU_CHANGE_BITS | number;
        }
    }
}

/* A process that changes the GPU's total, and waits. */
static pid_t join(void) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        account_take(GPU, COMPANYS, LIMIT, true);
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(child, &status, WUNTRACED);
    return child;
}

/* A victim that is stopped before the operation. */
static struct victim begin(const struct form *form) {
    struct victim victim = {0};
    unsigned dead = VGPU_SLOTS;
    int status;
    *file = initial;
    if (form->dead != NOBODY) {
        dead = leave_a_dead_one();
    }
    victim.pid = fork();
    if (victim.pid == 0) {
        if (form->before > 0) {
            account_take(GPU, form->before, LIMIT, true);
        }
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        form->operation();
        raise(SIGSTOP);
        _exit(0);
    }
    need(waitpid(victim.pid, &status, 0) == victim.pid && WIFSTOPPED(status), &victim, "can't begin", 0);
    unsigned its = (unsigned)victim.pid % VGPU_SLOTS;
    if (form->dead == IN_ITS_SLOT && dead != its && file->slots[its].state == 0) {
        move(dead, its);
    }
    if (in_company) {
        victim.company = join();
    }
    for (unsigned slot = 0; slot < VGPU_SLOTS; slot++) {
        bool near = (slot - its) % VGPU_SLOTS < 4;
        if ((near || file->slots[slot].state != 0) && victim.watching < 8) {
            victim.watched[victim.watching++] = slot;
        }
    }
    seen = *file;
    return victim;
}

static bool same(const void *one, const void *other, size_t bytes) {
    return memcmp(one, other, bytes) == 0;
}

/* Whether the file is as it was last seen, as far as the victim can have changed it; then takes note of it. */
static bool unchanged(const struct victim *victim) {
    size_t head = offsetof(struct vgpu_usage, slots);
    bool equal = same(file, &seen, head);
    if (!equal) {
        memcpy(&seen, file, head);
    }
    for (unsigned place = 0; place < victim->watching; place++) {
        unsigned slot = victim->watched[place];
        if (!same(&file->slots[slot], &seen.slots[slot], sizeof seen.slots[slot])) {
            seen.slots[slot] = file->slots[slot];
            equal = false;
        }
        if (!same(&file->kinds[slot], &seen.kinds[slot], sizeof seen.kinds[slot])) {
            seen.kinds[slot] = file->kinds[slot];
            equal = false;
        }
    }
    return equal;
}

/* Another process works on the same GPU while the victim stands still. */
static void meddle(struct victim *victim) {
    uint64_t used = account_used(GPU);
    need(used < DEADS, victim, "couldn't give back what a dead one had", used);
    need(account_take(GPU, 10, LIMIT, true), victim, "had to wait", used);
    account_give(GPU, 10);
}

static long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); /* others may keep the processor */
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void check_sums(const struct victim *victim) {
    for (unsigned gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        uint64_t sum = 0;
        for (unsigned slot = 0; slot < VGPU_SLOTS; slot++) {
            sum += file->slots[slot].state != 0 ? slot_txn_used(file, slot, gpu) : 0;
        }
        need(sum == file->totals[gpu].used, victim, "the slots' sum isn't the total", sum);
    }
}

/* Kills it, and its company; the parent then gets all that there is, to the byte, and is alone. */
static void end(struct victim *victim) {
    kill(victim->pid, SIGKILL);
    waitpid(victim->pid, NULL, 0);
    if (in_company) {
        kill(victim->company, SIGKILL);
        waitpid(victim->company, NULL, 0);
    }
    long begun = now_ns();
    bool taken = account_take(GPU, LIMIT - OWN, LIMIT, true);
    need(kills < MOST_KILLS, victim, "too many", 0);
    took[kills++] = now_ns() - begun;
    need(taken, victim, "memory is left behind", account_used(GPU));
    need(!account_take(GPU, 1, LIMIT, true), victim, "over the limit", account_used(GPU));
    account_give(GPU, LIMIT - OWN);
    need(account_used(GPU) == OWN, victim, "in use", account_used(GPU));
    need(account_used(OTHER_GPU) == 0, victim, "in use of the other GPU", account_used(OTHER_GPU));
    unsigned count;
    struct account_process *processes = account_processes(GPU, &count);
    need(count == 1 && processes[0].pid == (uint32_t)getpid(), victim, "processes", count);
    free(processes);
    check_sums(victim);
}

/* Notes the way, and looks that nothing changes but what is watched. */
static void note(const struct form *form) {
    struct victim victim = begin(form);
    contents = 0;
    for (at[0] = next_of(&victim); !victim.ended; at[victim.steps] = next_of(&victim)) {
        need(victim.steps < MOST_INSTRUCTIONS - 1 && contents < MOST_CONTENTS - 1, &victim, "too long", 0);
        step(&victim);
        if (!unchanged(&victim)) {
            first[++contents] = victim.steps;
        }
    }
    need(same(file, &seen, sizeof seen), &victim, "a slot changed that wasn't watched", 0);
    instructions = victim.steps;
    count_earlier();
    end(&victim);
}

/* Others' work in the middle leads to nothing else at the end. */
static void finish(struct victim *victim, const struct form *form) {
    if (!victim->ended) {
        finish_alone(victim);
    }
    uint64_t others = OWN + (in_company ? COMPANYS : 0);
    need(account_used(GPU) == others + form->after, victim, "in use at the end", account_used(GPU));
}

/* Below `most`. */
static long any(long most) {
    return most > 0 ? rand_r(&seed) % most : 0;
}

static void kill_after(const struct form *form, long steps) {
    struct victim victim = begin(form);
    go(&victim, steps);
    end(&victim);
}

static void meddle_and_kill(const struct form *form, long steps, long later) {
    struct victim victim = begin(form);
    go(&victim, steps);
    meddle(&victim);
    go(&victim, later);
    end(&victim);
}

static void meddle_and_finish(const struct form *form, long steps) {
    struct victim victim = begin(form);
    go(&victim, steps);
    meddle(&victim);
    finish(&victim, form);
    end(&victim);
}

static void try(const struct form *form, long stride, long near) {
    note(form);
    for (long steps = any(stride); steps <= instructions; steps += stride) {
        if (earlier[steps] < TURNS || any(LATER_TURNS) == 0) {
            kill_after(form, steps);
        }
    }
    for (long content = 1; content <= contents; content++) {
        kill_after(form, first[content]);
        meddle_and_kill(form, first[content], first[content]);
        meddle_and_kill(form, first[content], first[content + any(contents - content + 1)]);
        for (long back = any(near); back < SHORTLY && back < first[content]; back += near) {
            meddle_and_finish(form, first[content] - back);
        }
    }
}

static void map_file(void) {
    const char *path = getenv(UNIGPU_ENV_TRIAL_USAGE);
    int descriptor = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
    /* Closed before the account locks anything in it: closing later would drop the parent's locks. */
    if (descriptor < 0 || ftruncate(descriptor, sizeof *file) != 0) {
        exit(2);
    }
    file = mmap(NULL, sizeof *file, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (file == MAP_FAILED) {
        exit(2);
    }
}

/* A victim that wakes on the processor that let it go is there at once. */
static void stay_here(void) {
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    sched_setaffinity(0, sizeof here, &here);
}

static int by_length(const void *one, const void *other) {
    long difference = *(const long *)one - *(const long *)other;
    return difference < 0 ? -1 : difference > 0;
}

int main(int words_count, char **words) {
    const struct form *form = NULL;
    struct victim none = {0};
    for (unsigned index = 0; words_count == 5 && index < sizeof forms / sizeof forms[0]; index++) {
        form = strcmp(forms[index].name, words[1]) == 0 ? &forms[index] : form;
    }
    if (form == NULL) {
        return 2;
    }
    long stride = atol(words[2]), near = atol(words[3]);
    seed = (unsigned)atoi(words[4]);
    map_file();
    stay_here();
    need(account_take(GPU, OWN, LIMIT, true), &none, "can't begin", 0);
    initial = *file;
    try(form, stride, near);
    in_company = true;
    try(form, stride * COMPANY_STRIDE, near);
    qsort(took, (size_t)kills, sizeof took[0], by_length);
    printf("instructions %ld contents %ld kills %ld median %ld worst %ld\n", instructions, contents, kills,
           took[kills / 2], took[kills - 1]);
    return 0;
}
