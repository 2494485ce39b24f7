/* The simulated machine: GPUs, processes and what each process uses, in one file that every process maps.
 *
 * DIR/state is that file; DIR/gpu<N> is the device node of GPU N, as /dev/nvidia<N> is. A process sees GPU N if DIR/gpu<N>
 * exists in its mount namespace. Bind mounts of `state` and of some nodes give a container its GPUs.
 *
 * Each process owns a slot and holds a POSIX lock on the slot's byte of the file. The kernel releases the lock when the
 * process dies, for whatever reason, and reports the holder's pid in the reader's pid namespace. No daemon is needed: the
 * next process that reads the slot finds it unlocked and reclaims its memory.
 */
#ifndef UNIGPU_SIM_STATE_H
#define UNIGPU_SIM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "simulator/state/mig_part.h"
#include "simulator/state/profiles.h"

enum {
    SIM_MAX_GPUS = 16,
    SIM_MAX_PROCESSES = 2048,
    SIM_LAYOUT = 8,
    SIM_MAX_LINKS = 18,
    SIM_MAX_EVENTS = 64,
    SIM_LANES = 8, /* parts of a GPU that kernels of one process take side by side */
    SIM_SAMPLES = 64,
    SIM_SPANS = 64,
    SIM_GROUPS = 32,
    SIM_LIMITS = 128,
};

#define SIM_MAGIC "UNIGPUSM"
#define SIM_DEFAULT_DIR "/run/unigpu-sim"
#define SIM_NO_SLOT (-1)

/* A mutex that survives the death of its owner. The word is 0 or the owner's slot + 1; bit 31 is set while others wait. */
typedef struct sim_mutex {
    uint32_t word;
} sim_mutex;

typedef struct sim_span {
    uint64_t start_ns, end_ns;
} sim_span;

/* The spans of time in which something was or will be busy. */
typedef struct sim_busy {
    uint64_t sum_ns; /* before the spans that are kept */
    uint64_t sum_until_ns;
    uint32_t count;
    uint32_t reserved;
    sim_span spans[SIM_SPANS]; /* in order, apart from each other */
} sim_busy;

typedef struct sim_sample {
    uint64_t at_ns;
    uint64_t busy_ns;
} sim_sample;

/* Usage of one GPU by one process. Written under the GPU's lock. */
typedef struct sim_use {
    uint64_t memory;   /* bytes of allocations, as the GPU counts them */
    uint64_t managed;  /* of them, those of managed memory, which limits of groups don't count */
    uint64_t contexts; /* bytes of contexts */
    uint64_t parked_memory, parked_managed, parked_contexts; /* the same while it is checkpointed */
    uint32_t context_count;
    uint32_t reserved;
    uint64_t asked_ns;  /* when it last tried to book */
    uint64_t served_ns; /* time booked, as far as it counts against others */
    uint64_t lane_end_ns[SIM_LANES]; /* when its last kernel on each lane ends */
    sim_busy busy;
    sim_sample before, lately; /* of its busy time, at least half a second apart */
} sim_use;

/* A control group, as a folder of the kernel's: its device and inode, which are the same in every namespace. */
typedef struct sim_group {
    uint64_t device, inode;
} sim_group;

/* What the processes of a group may have of a GPU's memory. */
typedef struct sim_limit {
    sim_group group, path;
    uint64_t taken;
    uint64_t soft; /* nobody else gets this much */
    uint64_t hard;
    char folder[512];
} sim_limit;

/* What others have done to a process; CUDA's numbers. */
enum { SIM_RUNNING, SIM_LOCKED, SIM_CHECKPOINTED };

typedef struct sim_process {
    uint32_t taken;
    uint32_t generation;
    uint32_t suspended; /* one of those; threads of the process sleep on it */
    uint32_t reserved3;
    /* Identifies the owner, so that both libraries in a process find the same slot: its pid, the inode of its pid
     * namespace, and a number derived from random bytes that the kernel gives each exec. */
    uint64_t pid_namespace;
    uint64_t image;
    uint32_t pid;
    uint32_t reserved;
    char name[32];
    sim_group groups[SIM_GROUPS]; /* it is in, with those above them */
    uint32_t group_count;
    uint32_t reserved2;
    sim_use use[SIM_MAX_GPUS];
} sim_process;

typedef struct sim_event {
    uint64_t sequence; /* 0: never written */
    uint64_t type;
    uint64_t data;
    uint32_t gpu;
    uint32_t reserved;
} sim_event;

/* What is wrong with a GPU. */
typedef struct sim_faults {
    uint32_t fatal_xid; /* the GPU is unusable until it is reset; 0: it isn't */
    uint32_t last_xid;  /* the last one injected since the reset */
    uint32_t hanging;   /* NVML's calls for the GPU wait */
    uint32_t rows_corrected, rows_uncorrected; /* remapped */
    uint32_t rows_pending, rows_failed;        /* a reset will remap; there was no spare row */
} sim_faults;

/* How an administrator has set a GPU, and how its driver lists processes. */
typedef struct sim_settings {
    uint32_t compute_mode; /* CUDA's and NVML's number */
    uint32_t mig, mig_pending;
    sim_part parts[SIM_PARTS]; /* GPU instances of MIG, by their numbers */
    uint32_t memory_hidden; /* memory of processes isn't available, as in guests */
    uint32_t listed_twice;  /* each process is in its list twice */
    uint32_t mps;           /* processes are clients of the multi-process service: in its list, too */
} sim_settings;

typedef struct sim_gpu {
    uint32_t profile; /* index into sim_profiles */
    uint32_t lost; /* counts each loss and each return: odd while the GPU is lost */
    char uuid[48];
    char serial[16];
    unsigned char uuid_bytes[16];
    uint32_t pci_domain, pci_bus, pci_device;
    uint32_t numa_node;
    uint64_t total_memory;
    uint64_t reserved_memory; /* kept by the driver */
    sim_mutex lock;
    uint32_t reserved;
    uint64_t used; /* bytes over all processes, contexts included; without reserved_memory */
    uint64_t ecc_corrected, ecc_uncorrected;
    sim_faults faults;
    sim_settings settings;
    uint32_t limit_count; /* no place at or above it was ever taken */
    uint32_t reserved3;
    sim_limit limits[SIM_LIMITS]; /* of control groups */
    sim_busy busy;                    /* with one kernel or more */
    uint64_t served_ns;               /* the highest of its processes */
    uint64_t lane_end_ns[SIM_LANES];  /* under MPS: when the last kernel on each lane ends, whosever it is */
    uint64_t asking[SIM_MAX_PROCESSES / 64]; /* a bit for each process that waits to book time */
    uint32_t held, turn;              /* held: a process waits for another's turn; a change of `turn` wakes it */
    sim_sample samples[SIM_SAMPLES];  /* of its busy time, a ring */
    uint32_t sample_count;            /* ever taken */
    uint32_t reserved2;
    uint64_t created_ns;
    uint8_t links[SIM_MAX_GPUS]; /* NVLinks to each other GPU */
} sim_gpu;

typedef struct sim_state {
    char magic[8];
    uint32_t layout;
    uint32_t size;
    uint32_t gpu_count;
    int32_t cuda_version; /* 1000 * major + 10 * minor */
    char driver_version[32];
    sim_latencies latencies; /* zeros: everything small takes no time */
    sim_mutex lock; /* guards the processes' table and events */
    uint32_t process_high; /* no slot at or above it was ever taken */
    uint64_t event_sequence;
    sim_event events[SIM_MAX_EVENTS];
    sim_gpu gpus[SIM_MAX_GPUS];
    sim_process processes[SIM_MAX_PROCESSES];
} sim_state;

/* This process's access to the shared machine. */
typedef struct sim_machine {
    sim_state *state;
    int fd;
    int slot;
    char dir[4096];
} sim_machine;

typedef enum sim_status {
    SIM_OK = 0,
    SIM_NO_MACHINE, /* no directory is named and the default one is absent */
    SIM_DAMAGED,    /* the file is of another layout, or torn */
    SIM_FULL,       /* every process slot is taken */
    SIM_FAILED,     /* errno says why */
    SIM_EXISTS,
    SIM_NO_ROOM, /* the GPU's memory is used up */
    SIM_TAKEN,   /* another process has the GPU for itself */
} sim_status;

/* The machine to create; fields left 0 or NULL take the profile's or the default value. */
typedef struct sim_plan {
    const char *dir;
    const char *profile;
    const char *driver_version;
    const char *links; /* "none", "full", "pairs", or NULL for what the profile's boards have */
    uint32_t gpus;
    int32_t cuda_version;
    uint64_t seed; /* 0: random */
    bool replace;
    bool prompt; /* without latencies: everything small takes no time */
} sim_plan;

/* state.c */
sim_status sim_create(const sim_plan *plan);
/* Maps the machine in $UNIGPU_SIM_DIR, creating the default one if there is none, and claims a slot. Later calls return the
 * same machine. After a fork the child claims a slot of its own. */
sim_status sim_open(sim_machine **machine);
/* The same for a named directory, which must hold a machine; for the command line. */
sim_status sim_join(const char *dir, sim_machine **machine);
/* Turns the machine's latencies on or off; programs that run follow at once. */
void sim_set_latencies(sim_state *state, bool on);
bool sim_gpu_visible(const sim_machine *machine, uint32_t gpu);

/* lock.c: a mutex is taken over within milliseconds of its owner's death. */
void sim_mutex_lock(sim_machine *machine, sim_mutex *lock);
void sim_mutex_unlock(sim_machine *machine, sim_mutex *lock);

/* process.c */
sim_status sim_process_join(sim_machine *machine);
/* The pid of the slot's owner as this process sees it; 0: alive but in a namespace not visible here; -1: dead. */
pid_t sim_process_pid(sim_machine *machine, int slot);
/* Frees the slots of dead processes and reclaims what they held. */
void sim_process_reap(sim_machine *machine);

/* use.c */
sim_status sim_memory_reserve(sim_machine *machine, uint32_t gpu, uint64_t bytes);
void sim_memory_release(sim_machine *machine, uint32_t gpu, uint64_t bytes);
sim_status sim_context_reserve(sim_machine *machine, uint32_t gpu, uint64_t bytes);
void sim_context_release(sim_machine *machine, uint32_t gpu, uint64_t bytes);
/* The same for managed memory, which no limit of a group counts. */
sim_status sim_managed_reserve(sim_machine *machine, uint32_t gpu, uint64_t bytes);
void sim_managed_release(sim_machine *machine, uint32_t gpu, uint64_t bytes);
/* Returns the bytes that are free on the GPU now, those of dead processes included. */
uint64_t sim_memory_free_bytes(sim_machine *machine, uint32_t gpu);

static inline uint64_t sim_later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static inline uint64_t sim_earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* busy.c */
/* Adds a span; returns by how much the busy time grew. */
uint64_t sim_busy_add(sim_busy *busy, uint64_t start_ns, uint64_t end_ns);
/* Returns by how much it would grow. */
uint64_t sim_busy_growth(const sim_busy *busy, uint64_t start_ns, uint64_t end_ns);
uint64_t sim_busy_total(const sim_busy *busy);
/* The part after now, and the part up to now. */
uint64_t sim_busy_ahead(const sim_busy *busy, uint64_t now_ns);
uint64_t sim_busy_until(const sim_busy *busy, uint64_t now_ns);
uint64_t sim_busy_end(const sim_busy *busy);
/* The first moment at which no more than `left_ns` of busy time lies ahead. */
uint64_t sim_busy_moment(const sim_busy *busy, uint64_t left_ns);
/* Finds the first idle gap of `least_ns` or more within `within`, as far as the spans still tell. */
bool sim_busy_gap(const sim_busy *busy, sim_span within, uint64_t least_ns, sim_span *gap);
void sim_busy_cut(sim_busy *busy, uint64_t now_ns);

/* work.c: kernels take time on the GPU. Processes take turns; kernels of one process share the lanes. */
typedef struct sim_job {
    unsigned lanes;
    unsigned part; /* a bit for each lane that it may take; 0: any */
    uint64_t left_ns;  /* still to be booked */
    uint64_t ready_ns; /* when it may start; once booked, when it ends */
    /* The reason if not all of it could be booked: */
    int behind; /* the process whose turn it is, or SIM_NO_SLOT: a slice is booked ahead */
    uint32_t turn;
    uint64_t look_ns; /* when to try again */
} sim_job;

/* Books as much of the job as the process may book now; returns whether that was all of it. */
bool sim_work_book(sim_machine *machine, uint32_t gpu, sim_job *job, uint64_t now_ns);
/* Whether kernels of that total length could be booked now. */
bool sim_work_fits(sim_machine *machine, uint32_t gpu, uint64_t duration_ns);
/* Estimates, without the GPU's lock, when the job could start next to the process's other kernels. */
uint64_t sim_work_start(sim_machine *machine, uint32_t gpu, const sim_job *job);
/* Waits until it is time to try again to book a refused job. */
void sim_work_wait(sim_machine *machine, uint32_t gpu, const sim_job *refused);
/* Declares that the process has kernels waiting to be booked, so that others let it have its turn; or that it has none. */
void sim_work_ask(sim_machine *machine, uint32_t gpu);
void sim_work_rest(sim_machine *machine, uint32_t gpu);
/* Removes what a dead process had booked. Call with the GPU locked and the process's use cleared. */
void sim_work_forget(sim_machine *machine, uint32_t gpu, int dead);

/* load.c */
/* Takes a sample of busy time if one is due; `use` may be NULL. Call with the GPU locked. */
void sim_load_sample(sim_gpu *gpu, sim_use *use, uint64_t now_ns);
/* Share of the last sixth of a second in which a kernel ran, 0 to 1. */
double sim_load(sim_machine *machine, uint32_t gpu);
/* The same for one process, over the last second or so. */
double sim_process_load(sim_machine *machine, int slot, uint32_t gpu);
/* Seconds that the GPU was busy since it was made. */
double sim_busy_seconds(sim_machine *machine, uint32_t gpu);

/* Takes a GPU off the bus, or puts it back. Contexts from before stay unusable. */
void sim_gpu_lose(sim_machine *machine, uint32_t gpu, bool lost);
static inline bool sim_gpu_lost(const sim_gpu *gpu) {
    return __atomic_load_n(&gpu->lost, __ATOMIC_ACQUIRE) & 1;
}

/* limits.c: limits of control groups. */
enum { SIM_NO_LIMIT_GIVEN = 100, SIM_NO_GROUP = 101 };
#define SIM_UNLIMITED UINT64_MAX
/* Notes in which groups the process is. */
void sim_groups_read(sim_process *own);
/* Sets the limits of a group, named by its folder; soft 0 and hard SIM_UNLIMITED clear them. Returns a sim_status, or
 * SIM_NO_GROUP: there is no such folder. */
int sim_limit_set(sim_machine *machine, uint32_t gpu, const char *folder, uint64_t soft, uint64_t hard);
/* Reads the limits of a group and how much its processes have; or returns SIM_NO_LIMIT_GIVEN or SIM_NO_GROUP. */
int sim_limit_get(sim_machine *machine, uint32_t gpu, const char *folder, sim_limit *found, uint64_t *used);
/* How much of `free` bytes a process may take. Call with the GPU locked. */
uint64_t sim_limits_leave(sim_machine *machine, int slot, uint32_t gpu, uint64_t free);

/* checkpoint.c: suspending processes. Each returns SIM_OK, or: */
enum { SIM_NO_PROCESS = 110, SIM_WRONG_STATE = 111 };
/* Keeps a process from making calls, and lets it go on. */
int sim_process_lock(sim_machine *machine, pid_t pid);
int sim_process_unlock(sim_machine *machine, pid_t pid);
/* Takes what a locked process has off its GPUs, when its work is done, and puts it back; SIM_NO_ROOM: there is too little. */
int sim_process_checkpoint(sim_machine *machine, pid_t pid);
int sim_process_restore(sim_machine *machine, pid_t pid);
int sim_process_state(sim_machine *machine, pid_t pid, uint32_t *state);
/* Waits while this process is suspended; `from`: only in that state and those after it. */
void sim_process_await(sim_machine *machine, uint32_t from);
static inline void sim_process_check(sim_machine *machine, uint32_t from) {
    if (__builtin_expect(__atomic_load_n(&machine->state->processes[machine->slot].suspended, __ATOMIC_RELAXED) >= from,
                         0)) {
        sim_process_await(machine, from);
    }
}

/* faults.c */
/* Reports an XID to readers of NVML events. Some end every context and make the GPU unusable until it is reset, 79 takes it
 * off the bus, and some remap rows of memory. */
void sim_gpu_xid(sim_machine *machine, uint32_t gpu, uint32_t xid);
/* Resets a GPU: what its fatal XID, its error counts and pending changes were is over. It stays lost if it is. */
void sim_gpu_reset(sim_machine *machine, uint32_t gpu);
static inline bool sim_gpu_usable(const sim_gpu *gpu) {
    return !sim_gpu_lost(gpu) && !__atomic_load_n(&gpu->faults.fatal_xid, __ATOMIC_ACQUIRE);
}

/* event.c: posts an event for NVML's event sets; the last SIM_MAX_EVENTS are kept. */
void sim_event_post(sim_machine *machine, uint32_t gpu, uint64_t type, uint64_t data);

uint64_t sim_now_ns(void);

#endif
