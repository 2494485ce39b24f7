#include "simulator/state/state.h"

void sim_event_post(sim_machine *machine, uint32_t gpu, uint64_t type, uint64_t data) {
    sim_state *state = machine->state;
    sim_mutex_lock(machine, &state->lock);
    uint64_t sequence = state->event_sequence + 1;
    state->events[sequence % SIM_MAX_EVENTS] =
        (sim_event){.sequence = sequence, .type = type, .data = data, .gpu = gpu};
    __atomic_store_n(&state->event_sequence, sequence, __ATOMIC_RELEASE);
    sim_mutex_unlock(machine, &state->lock);
}
