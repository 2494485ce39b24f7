/* Prints the offsets of the shared files as C has them. */
#include <stdio.h>

#include "libvgpu/base/layout.h"

#define SHOW(type, member) \
    printf(#type "." #member " %zu %zu\n", offsetof(struct type, member), sizeof(((struct type *)0)->member))

int main(void) {
    SHOW(vgpu_policy, magic);
    SHOW(vgpu_policy, version);
    SHOW(vgpu_policy, size);
    SHOW(vgpu_policy, sequence);
    SHOW(vgpu_policy, count);
    SHOW(vgpu_policy, flags);
    SHOW(vgpu_policy, compute);
    SHOW(vgpu_policy, priority);
    SHOW(vgpu_policy, heartbeat_ns);
    SHOW(vgpu_policy, gpus);
    SHOW(vgpu_policy, answer);
    SHOW(vgpu_answer, granted);
    SHOW(vgpu_answer, text);
    SHOW(vgpu_policy_gpu, uuid);
    SHOW(vgpu_policy_gpu, memory);
    SHOW(vgpu_policy_gpu, cores);
    SHOW(vgpu_policy_gpu, ceiling);
    SHOW(vgpu_policy_gpu, current_rate);
    SHOW(vgpu_policy_gpu, neighbour_load);
    SHOW(vgpu_usage, magic);
    SHOW(vgpu_usage, version);
    SHOW(vgpu_usage, totals);
    SHOW(vgpu_usage, compute);
    SHOW(vgpu_compute, balance);
    SHOW(vgpu_compute, earned);
    SHOW(vgpu_compute, used);
    SHOW(vgpu_compute, waited);
    SHOW(vgpu_compute, waits);
    SHOW(vgpu_compute, measured);
    SHOW(vgpu_compute, head_until);
    SHOW(vgpu_compute, learning);
    SHOW(vgpu_compute, turn);
    SHOW(vgpu_compute, served);
    SHOW(vgpu_usage, wish);
    SHOW(vgpu_wish, number);
    SHOW(vgpu_wish, gpus);
    SHOW(vgpu_wish_gpu, memory);
    SHOW(vgpu_wish_gpu, cores);
    SHOW(vgpu_usage, slots);
    SHOW(vgpu_total, used);
    SHOW(vgpu_total, last);
    SHOW(vgpu_total, peak);
    SHOW(vgpu_total, refused);
    SHOW(vgpu_total, context);
    SHOW(vgpu_total, implicit);
    SHOW(vgpu_total, kinds);
    SHOW(vgpu_total, launches);
    SHOW(vgpu_slot, pid);
    SHOW(vgpu_slot, state);
    SHOW(vgpu_slot, start);
    SHOW(vgpu_slot, gpus);
    SHOW(vgpu_slot_gpu, used);
    SHOW(vgpu_slot_gpu, change);
    SHOW(vgpu_slot_gpu, counted);
    SHOW(vgpu_usage, kinds);
    SHOW(vgpu_kinds, of);
    SHOW(vgpu_kinds, gpus);
    SHOW(vgpu_kinds_gpu, context);
    SHOW(vgpu_kinds_gpu, code);
    printf("sizes %zu %zu %zu %zu %zu %u %zu\n", sizeof(struct vgpu_policy_gpu), sizeof(struct vgpu_usage),
           sizeof(struct vgpu_total), sizeof(struct vgpu_slot), sizeof(struct vgpu_slot_gpu), VGPU_POLICY_SIZE,
           sizeof(struct vgpu_compute));
    printf("numbers %u %u %u %u %u %ld %u %u %u\n", VGPU_POLICY_MAGIC, VGPU_POLICY_VERSION, VGPU_USAGE_MAGIC,
           VGPU_USAGE_VERSION, VGPU_SLOTS, VGPU_LOCKS_OFFSET, VGPU_MAX_GPUS, VGPU_FRESH_NS, VGPU_WISH_LOCK);
    return 0;
}
