/* The policy and usage files, as unigpu/policy.py and unigpu/usage.py describe them: little endian, fixed offsets. */
#ifndef UNIGPU_BASE_LAYOUT_H
#define UNIGPU_BASE_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define VGPU_MAX_GPUS 16

/* A `gpu` in libvgpu is the GPU's index in the policy, or on the machine where there is no policy. */
#define NO_GPU (-1) /* a GPU that the policy doesn't name */

/* Policy: written in place by the node agent, read here. While the sequence is odd, a change is under way. */

#define VGPU_POLICY_MAGIC 0x4c504755u /* "UGPL" */
#define VGPU_POLICY_VERSION 1u
#define VGPU_POLICY_SIZE 4096u
#define VGPU_POLICY_MEMORY 1u
#define VGPU_POLICY_CORES 2u
#define VGPU_POLICY_UNLIMITED 0u
#define VGPU_POLICY_HARD 1u
#define VGPU_POLICY_SOFT 2u
#define VGPU_ANSWER_TEXT 400u
#define VGPU_FRESH_NS 1000000000u /* current_rate and neighbour_load are valid for so long after a heartbeat */

struct vgpu_policy_gpu {
    char uuid[48];
    uint64_t memory; /* bytes, 0: not limited */
    uint32_t cores;
    uint32_t ceiling;
    uint32_t current_rate; /* hundredths of a percent, 0: unset; the sequence guards neither this nor the next field */
    uint32_t neighbour_load; /* recent use of the GPU by other containers, hundredths of a percent */
    uint8_t unused[56];
};

struct vgpu_policy {
    uint32_t magic;
    uint32_t version;
    uint32_t size;
    uint32_t sequence;
    uint32_t count;
    uint32_t flags;
    uint32_t compute;
    uint32_t priority;
    uint64_t heartbeat_ns; /* CLOCK_MONOTONIC of the agent's last pass; see VGPU_FRESH_NS */
    uint8_t unused[24];
    struct vgpu_policy_gpu gpus[VGPU_MAX_GPUS];
    struct vgpu_answer {
        uint64_t number; /* of the wish that it answers; written last, 0 while the rest is written */
        uint32_t granted; /* 1: the limits are in force; 0: `text` says why not */
        uint32_t unused;
        char text[VGPU_ANSWER_TEXT];
    } answer; /* the sequence doesn't guard it */
};

/* Usage: written here by every process of the container, read by the exporter. */

#define VGPU_USAGE_MAGIC 0x53554755u /* "UGUS" */
#define VGPU_USAGE_VERSION 1u
#define VGPU_SLOTS 1024u
#define VGPU_LOCKS_OFFSET (1L << 30)
#define VGPU_WISH_LOCK VGPU_SLOTS /* the byte past the slots' locks */
#define VGPU_CHANGE_BITS 48

/* `used` and `last` are exchanged together. */
struct vgpu_total {
    uint64_t used;
    uint64_t last; /* slot + 1 above the number of its change, which has VGPU_CHANGE_BITS; 0 before the first */
    uint64_t peak;
    uint64_t refused;
    uint64_t context; /* cost of a context on this GPU when last measured, bytes */
    uint64_t implicit; /* bytes that the driver took for its own purposes, when last looked at; not in `used` */
    uint64_t kinds; /* number of changes of what slots note as context and code, see vgpu_kinds */
    uint64_t launches; /* of kernels and graphs, since the file was made */
};

/* GPU time of one GPU. `balance` and `earned` are exchanged together. */
struct vgpu_compute {
    int64_t balance; /* ns of GPU time that may be used at once; negative: debt */
    uint64_t earned; /* CLOCK_MONOTONIC until which the balance is earned, ns */
    uint64_t used; /* GPU time charged since the file was made, ns */
    uint64_t waited; /* time that launches spent waiting, ns */
    uint64_t waits;
    uint64_t measured; /* CLOCK_MONOTONIC up to which time is assigned to long kernels of less than 50 ms, ns */
    uint64_t head_until; /* CLOCK_MONOTONIC until which the head of the queue sleeps, ns */
    uint64_t learning; /* CLOCK_MONOTONIC when a launch of unknown cost was noted, or last seen to run, ns; 0: none */
    uint32_t turn; /* ticket of the next waiter; `served` is the ticket at the head of the queue */
    uint32_t served;
    uint64_t measured_longer[7]; /* likewise for kernels of 50 ms and more, 100 ms and more, 200 ms ... */
};

struct vgpu_slot_gpu {
    uint64_t used[2]; /* bytes after an even and after an odd change */
    uint64_t change; /* number of the last change */
    uint64_t counted; /* highest change that another process saw in the total */
};

struct vgpu_slot {
    uint32_t pid;
    uint32_t state; /* 0: free, 1: taken */
    uint64_t start;
    uint8_t unused[48];
    struct vgpu_slot_gpu gpus[VGPU_MAX_GPUS];
};

/* Which part of a slot's bytes is what. A process notes it after it has taken the bytes, and before it gives them back, so
 * that the parts never exceed the whole. Programs with a libvgpu that didn't know this record leave it as it is. */
struct vgpu_kinds {
    uint64_t of; /* the slot's start time + 1, where this is of the process that has the slot */
    uint64_t unused;
    struct vgpu_kinds_gpu {
        uint64_t context; /* bytes of contexts, with what their limits were raised by */
        uint64_t code; /* bytes of modules and libraries */
    } gpus[VGPU_MAX_GPUS];
};

/* Limits above the container's, for which a program asks the node agent. The program that waits for the answer holds the
 * lock of VGPU_WISH_LOCK. */
struct vgpu_wish {
    uint64_t number; /* CLOCK_MONOTONIC when it was written, ns; written last, 0 while the rest is written */
    uint64_t unused;
    struct vgpu_wish_gpu {
        uint64_t memory; /* bytes; 0: none */
        uint32_t cores; /* percent; 0: none */
        uint32_t unused;
    } gpus[VGPU_MAX_GPUS];
};

struct vgpu_usage {
    uint32_t magic;
    uint32_t version;
    uint8_t unused_a[120];
    struct vgpu_total totals[VGPU_MAX_GPUS];
    struct vgpu_compute compute[VGPU_MAX_GPUS];
    struct vgpu_wish wish;
    uint8_t unused_b[4096 - 128 - VGPU_MAX_GPUS * (sizeof(struct vgpu_total) + sizeof(struct vgpu_compute)) -
                     sizeof(struct vgpu_wish)];
    struct vgpu_slot slots[VGPU_SLOTS];
    struct vgpu_kinds kinds[VGPU_SLOTS]; /* by slot */
};

_Static_assert(sizeof(struct vgpu_policy_gpu) == 128, "policy GPU");
_Static_assert(offsetof(struct vgpu_policy, sequence) == 12, "policy sequence");
_Static_assert(offsetof(struct vgpu_policy, gpus) == 64, "policy GPUs");
_Static_assert(offsetof(struct vgpu_policy, answer) == 2112, "policy answer");
_Static_assert(sizeof(struct vgpu_policy) <= VGPU_POLICY_SIZE, "policy");
_Static_assert(sizeof(struct vgpu_total) == 64, "total");
_Static_assert(offsetof(struct vgpu_usage, totals) == 128, "totals");
_Static_assert(sizeof(struct vgpu_compute) == 128, "compute");
_Static_assert(offsetof(struct vgpu_compute, turn) == 64, "compute's turns");
_Static_assert(offsetof(struct vgpu_usage, compute) == 1152, "computes");
_Static_assert(offsetof(struct vgpu_usage, wish) == 3200, "wish");
_Static_assert(sizeof(struct vgpu_wish) == 272, "wish's size");
_Static_assert(sizeof(struct vgpu_slot_gpu) == 32, "slot's GPU");
_Static_assert(sizeof(struct vgpu_slot) == 576, "slot");
_Static_assert(offsetof(struct vgpu_usage, slots) == 4096, "slots");
_Static_assert(sizeof(struct vgpu_kinds) == 272, "kinds of a slot");
_Static_assert(offsetof(struct vgpu_usage, kinds) == 4096 + 1024 * 576, "kinds");
_Static_assert(sizeof(struct vgpu_usage) == 4096 + 1024 * (576 + 272), "usage");

#endif
