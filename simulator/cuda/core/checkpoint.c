/* Checkpoints of processes. A checkpointed process has no memory on its GPUs and makes no calls. */
#include <string.h>

#include "simulator/cuda/core/driver.h"
#include "simulator/cuda/core/later.h"

static CUresult machine_of(sim_machine **machine) {
    sim_status opened = sim_open(machine);
    return opened == SIM_OK ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

static CUresult answer(int status) {
    switch (status) {
    case SIM_OK: return CUDA_SUCCESS;
    case SIM_NO_PROCESS: return CUDA_ERROR_INVALID_VALUE;
    case SIM_WRONG_STATE: return CUDA_ERROR_ILLEGAL_STATE;
    case SIM_NO_ROOM: return CUDA_ERROR_OUT_OF_MEMORY;
    default: return CUDA_ERROR_UNKNOWN;
    }
}

CUresult cuCheckpointProcessGetState(int pid, int *state) {
    sim_machine *machine;
    uint32_t found;
    NEED(state, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(machine_of(&machine));
    NEED_OK(answer(sim_process_state(machine, pid, &found)));
    *state = (int)found;
    return CUDA_SUCCESS;
}

CUresult cuCheckpointProcessGetRestoreThreadId(int pid, int *tid) {
    int state;
    NEED(tid, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(cuCheckpointProcessGetState(pid, &state));
    *tid = pid; /* no thread of its own restores it; its first one stands for that */
    return CUDA_SUCCESS;
}

CUresult cuCheckpointProcessLock(int pid, CUcheckpointLockArgs *args) {
    sim_machine *machine;
    NEED(!args || args->reserved == 0, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(machine_of(&machine));
    return answer(sim_process_lock(machine, pid));
}

CUresult cuCheckpointProcessCheckpoint(int pid, CUcheckpointCheckpointArgs *args) {
    sim_machine *machine;
    NEED(!args || !args->custom_storage, CUDA_ERROR_NOT_SUPPORTED);
    NEED_OK(machine_of(&machine));
    return answer(sim_process_checkpoint(machine, pid));
}

CUresult cuCheckpointProcessRestore(int pid, CUcheckpointRestoreArgs *args) {
    sim_machine *machine;
    NEED(!args || !args->custom_storage, CUDA_ERROR_NOT_SUPPORTED);
    for (unsigned i = 0; args && i < args->pair_count; i++) { /* processes can't move */
        NEED(memcmp(&args->pairs[i].from, &args->pairs[i].to, sizeof(CUuuid)) == 0, CUDA_ERROR_INVALID_VALUE);
    }
    NEED_OK(machine_of(&machine));
    return answer(sim_process_restore(machine, pid));
}

CUresult cuCheckpointProcessUnlock(int pid, CUcheckpointUnlockArgs *args) {
    (void)args;
    sim_machine *machine;
    NEED_OK(machine_of(&machine));
    return answer(sim_process_unlock(machine, pid));
}
