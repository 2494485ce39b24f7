/* Faults of GPUs: XIDs and what they do, and the reset that heals them. */
#include "simulator/state/instances.h"
#include "simulator/state/state.h"

enum {
    EVENT_XID = 8,
    XID_OFF_THE_BUS = 79,
    XID_ROW_REMAPPED = 63,
    XID_NO_SPARE_ROW = 64,
    XID_MANY_CORRECTED = 92,
    XID_CONTAINED = 94
};

/* XIDs after which only a reset, a reload of the driver or a boot helps, by NVIDIA's list. */
static bool is_fatal(uint32_t xid) {
    static const uint32_t fatal[] = {48, 64, 79, 95, 119, 120, 140, 143, 154};
    for (unsigned i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        if (fatal[i] == xid) {
            return true;
        }
    }
    return false;
}

void sim_gpu_xid(sim_machine *machine, uint32_t index, uint32_t xid) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_mutex_lock(machine, &gpu->lock);
    gpu->faults.last_xid = xid;
    gpu->faults.rows_corrected += xid == XID_MANY_CORRECTED;
    bool uncorrected = xid == XID_ROW_REMAPPED || xid == XID_CONTAINED;
    gpu->faults.rows_uncorrected += uncorrected;
    gpu->faults.rows_pending = gpu->faults.rows_pending || uncorrected || xid == XID_MANY_CORRECTED;
    gpu->faults.rows_failed = gpu->faults.rows_failed || xid == XID_NO_SPARE_ROW;
    if (is_fatal(xid)) {
        __atomic_store_n(&gpu->faults.fatal_xid, xid, __ATOMIC_RELEASE);
        if (!sim_gpu_lost(gpu)) {
            /* A loss and a return: contexts from before stay unusable. */
            __atomic_add_fetch(&gpu->lost, xid == XID_OFF_THE_BUS ? 1 : 2, __ATOMIC_RELEASE);
        }
    }
    sim_mutex_unlock(machine, &gpu->lock);
    sim_event_post(machine, index, EVENT_XID, xid);
}

void sim_gpu_reset(sim_machine *machine, uint32_t index) {
    sim_gpu *gpu = &machine->state->gpus[index];
    sim_mutex_lock(machine, &gpu->lock);
    sim_faults *faults = &gpu->faults;
    __atomic_store_n(&faults->fatal_xid, 0, __ATOMIC_RELEASE);
    faults->last_xid = faults->rows_pending = 0;
    gpu->settings.mig = gpu->settings.mig_pending;
    sim_parts_clear(gpu);
    __atomic_store_n(&gpu->ecc_corrected, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&gpu->ecc_uncorrected, 0, __ATOMIC_RELAXED);
    sim_mutex_unlock(machine, &gpu->lock);
}
