/* The back end of the unigpu-sim command: it creates a machine, describes it and injects faults. Programs never load it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "simulator/state/instances.h"
#include "simulator/state/state.h"

#define EXPORT __attribute__((visibility("default")))

/* Statuses of every function here: 0, or a sim_status. */
EXPORT int unigpu_sim_create(const char *dir, const char *profile, unsigned gpus, const char *links,
                             const char *driver_version, int cuda_version, unsigned long long seed, int replace,
                             int latencies);
EXPORT int unigpu_sim_set_latencies(const char *dir, int on);
EXPORT int unigpu_sim_describe(const char *dir, char *text, size_t length);
EXPORT int unigpu_sim_event(const char *dir, unsigned gpu, unsigned long long type, unsigned long long data);
EXPORT int unigpu_sim_xid(const char *dir, unsigned gpu, unsigned xid);
EXPORT int unigpu_sim_hang(const char *dir, unsigned gpu, int hanging);
/* Settings that are negative stay. */
EXPORT int unigpu_sim_set_instances(const char *dir, unsigned gpu, const unsigned *sizes, unsigned count);
EXPORT int unigpu_sim_set_gpu(const char *dir, unsigned gpu, int compute_mode, int mig, int memory_hidden,
                              int listed_twice, int mps);
EXPORT int unigpu_sim_lose(const char *dir, unsigned gpu, int lost);
EXPORT int unigpu_sim_ecc(const char *dir, unsigned gpu, unsigned long long corrected, unsigned long long uncorrected);
EXPORT int unigpu_sim_heal(const char *dir);
EXPORT const char *unigpu_sim_profile(unsigned index);
/* A row of the table as JSON, with the latencies under a driver of this branch. */
EXPORT int unigpu_sim_profile_row(unsigned index, int branch, char *text, size_t length);

const char *unigpu_sim_profile(unsigned index) {
    return index < sim_profile_count ? sim_profiles[index].key : NULL;
}

int unigpu_sim_create(const char *dir, const char *profile, unsigned gpus, const char *links,
                      const char *driver_version, int cuda_version, unsigned long long seed, int replace,
                      int latencies) {
    sim_plan plan = {.dir = dir,
                     .profile = profile,
                     .driver_version = driver_version,
                     .links = links,
                     .gpus = gpus,
                     .cuda_version = cuda_version,
                     .seed = seed,
                     .replace = replace != 0,
                     .prompt = latencies == 0};
    return sim_create(&plan);
}

typedef struct writer {
    char *text;
    size_t length, used;
} writer;

__attribute__((format(printf, 2, 3))) static void put(writer *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t room = to->used < to->length ? to->length - to->used : 0;
    int written = vsnprintf(to->text + (room ? to->used : 0), room, format, arguments);
    va_end(arguments);
    to->used += written > 0 ? (size_t)written : 0;
}

static const char *word(uint32_t flag) {
    return flag ? "true" : "false";
}

int unigpu_sim_profile_row(unsigned index, int branch, char *text, size_t length) {
    if (index >= sim_profile_count) {
        errno = ENOENT;
        return SIM_FAILED;
    }
    const sim_profile *row = &sim_profiles[index];
    sim_latencies small = sim_latencies_of(row->key, branch);
    writer to = {text, length, 0};
    put(&to,
        "{\"key\": \"%s\", \"name\": \"%s\", \"memory_mib\": %u, \"reserved_mib\": %u, \"context_mib\": %u, "
        "\"major\": %d, \"minor\": %d, \"multiprocessors\": %d, \"cores_per_multiprocessor\": %d, "
        "\"threads_per_multiprocessor\": %d, \"shared_kib_per_multiprocessor\": %d, \"shared_kib_optin\": %d, ",
        row->key, row->name, row->memory_mib, row->reserved_mib, row->context_mib, row->major, row->minor,
        row->multiprocessors, row->cores_per_multiprocessor, row->threads_per_multiprocessor,
        row->shared_kib_per_multiprocessor, row->shared_kib_optin);
    put(&to,
        "\"l2_mib\": %d, \"bus_bits\": %d, \"sm_mhz\": %d, \"memory_mhz\": %d, \"power_w\": %d, \"idle_w\": %d, "
        "\"device_id\": %u, \"subsystem_id\": %u, \"brand\": %d, \"architecture\": %d, \"pcie_generation\": %d, "
        "\"nvlinks\": %d, \"nvlink_version\": %d, \"ecc\": %s, \"fan\": %s, \"mig\": %s, ",
        row->l2_mib, row->bus_bits, row->sm_mhz, row->memory_mhz, row->power_w, row->idle_w, row->device_id,
        row->subsystem_id, row->brand, row->architecture, row->pcie_generation, row->nvlinks, row->nvlink_version,
        word(row->ecc), word(row->fan), word(row->mig_slices));
    put(&to, "\"latencies_ns\": {\"launch\": %u, \"record\": %u, \"start\": %u, \"notice\": %u}}", small.launch_ns,
        small.record_ns, small.start_ns, small.notice_ns);
    return to.used < length ? SIM_OK : SIM_NO_ROOM;
}

/* Up to now, read under the GPU's lock. */
static unsigned long long busy_ns(sim_machine *machine, uint32_t gpu, const sim_busy *busy) {
    sim_mutex *lock = &machine->state->gpus[gpu].lock;
    sim_mutex_lock(machine, lock);
    uint64_t ns = sim_busy_until(busy, sim_now_ns());
    sim_mutex_unlock(machine, lock);
    return ns;
}

static void describe_processes(writer *to, sim_machine *machine, uint32_t gpu) {
    const char *between = "";
    for (uint32_t slot = 0; slot < machine->state->process_high; slot++) {
        const sim_process *process = &machine->state->processes[slot];
        const sim_use *use = &process->use[gpu];
        pid_t pid = process->taken ? sim_process_pid(machine, (int)slot) : -1;
        if (pid < 0 || !use->context_count) {
            continue;
        }
        put(to, "%s{\"pid\": %d, \"memory\": %llu, \"contexts\": %llu, \"busy_ns\": %llu}", between, (int)pid,
            (unsigned long long)use->memory, (unsigned long long)use->contexts, busy_ns(machine, gpu, &use->busy));
        between = ", ";
    }
}

/* The machine as JSON; SIM_NO_ROOM when the text does not hold it. */
int unigpu_sim_describe(const char *dir, char *text, size_t length) {
    sim_machine *machine;
    int status = sim_join(dir, &machine);
    if (status != SIM_OK) {
        return status;
    }
    sim_process_reap(machine);
    const sim_state *state = machine->state;
    writer to = {text, length, 0};
    const sim_latencies *small = &state->latencies;
    put(&to,
        "{\"driver\": \"%s\", \"cuda\": %d, \"latencies_ns\": {\"launch\": %u, \"record\": %u, \"start\": %u, "
        "\"notice\": %u}, "
        "\"gpus\": [",
        state->driver_version, state->cuda_version, small->launch_ns, small->record_ns, small->start_ns,
        small->notice_ns);
    for (uint32_t i = 0; i < state->gpu_count; i++) {
        const sim_gpu *gpu = &state->gpus[i];
        const sim_profile *profile = &sim_profiles[gpu->profile];
        put(&to,
            "%s{\"minor\": %u, \"uuid\": \"%s\", \"profile\": \"%s\", \"name\": \"%s\", \"total\": %llu, "
            "\"reserved\": %llu, \"used\": %llu, \"numa\": %u, \"bus\": \"%04x:%02x:%02x.0\", \"lost\": %s, "
            "\"ecc_corrected\": %llu, \"ecc_uncorrected\": %llu, \"xid\": %u, \"fatal_xid\": %u, \"hanging\": %s, "
            "\"rows_pending\": %s, \"compute_mode\": %u, \"mig\": %s, \"mig_capable\": %s, \"memory_hidden\": %s, "
            "\"listed_twice\": %s, \"mps\": %s, "
            "\"busy_ns\": %llu, \"links\": [",
            i ? ", " : "", i, gpu->uuid, profile->key, profile->name, (unsigned long long)gpu->total_memory,
            (unsigned long long)gpu->reserved_memory, (unsigned long long)gpu->used, gpu->numa_node, gpu->pci_domain,
            gpu->pci_bus, gpu->pci_device, sim_gpu_lost(gpu) ? "true" : "false", (unsigned long long)gpu->ecc_corrected,
            (unsigned long long)gpu->ecc_uncorrected, gpu->faults.last_xid, gpu->faults.fatal_xid,
            word(gpu->faults.hanging), word(gpu->faults.rows_pending), gpu->settings.compute_mode,
            word(gpu->settings.mig), word(profile->mig_slices), word(gpu->settings.memory_hidden),
            word(gpu->settings.listed_twice), word(gpu->settings.mps), busy_ns(machine, i, &gpu->busy));
        for (uint32_t j = 0; j < state->gpu_count; j++) {
            put(&to, "%s%u", j ? ", " : "", gpu->links[j]);
        }
        put(&to, "], \"instances\": [");
        sim_instance part;
        for (unsigned j = 0; sim_instance_nth(gpu, j, &part); j++) {
            put(&to, "%s\"%s\"", j ? ", " : "", part.name);
        }
        put(&to, "], \"processes\": [");
        describe_processes(&to, machine, i);
        put(&to, "]}");
    }
    put(&to, "]}");
    return to.used < length ? SIM_OK : SIM_NO_ROOM;
}

int unigpu_sim_set_latencies(const char *dir, int on) {
    sim_machine *machine;
    int status = sim_join(dir, &machine);
    if (status == SIM_OK) {
        sim_set_latencies(machine->state, on != 0);
    }
    return status;
}

static int find_gpu(const char *dir, unsigned gpu, sim_machine **machine) {
    int status = sim_join(dir, machine);
    if (status == SIM_OK && gpu >= (*machine)->state->gpu_count) {
        errno = ENODEV;
        status = SIM_FAILED;
    }
    return status;
}

int unigpu_sim_event(const char *dir, unsigned gpu, unsigned long long type, unsigned long long data) {
    sim_machine *machine;
    int status = find_gpu(dir, gpu, &machine);
    if (status == SIM_OK) {
        sim_event_post(machine, gpu, type, data);
    }
    return status;
}

int unigpu_sim_xid(const char *dir, unsigned gpu, unsigned xid) {
    sim_machine *machine;
    int status = find_gpu(dir, gpu, &machine);
    if (status == SIM_OK) {
        sim_gpu_xid(machine, gpu, xid);
    }
    return status;
}

int unigpu_sim_hang(const char *dir, unsigned gpu, int hanging) {
    sim_machine *machine;
    int status = find_gpu(dir, gpu, &machine);
    if (status == SIM_OK) {
        __atomic_store_n(&machine->state->gpus[gpu].faults.hanging, hanging != 0, __ATOMIC_RELEASE);
    }
    return status;
}

static void set(uint32_t *setting, int value) {
    if (value >= 0) {
        __atomic_store_n(setting, (uint32_t)value, __ATOMIC_RELEASE);
    }
}

int unigpu_sim_set_gpu(const char *dir, unsigned gpu, int compute_mode, int mig, int memory_hidden, int listed_twice,
                       int mps) {
    sim_machine *machine;
    int status = find_gpu(dir, gpu, &machine);
    if (status == SIM_OK) {
        sim_settings *settings = &machine->state->gpus[gpu].settings;
        if (mig > 0 && !sim_profiles[machine->state->gpus[gpu].profile].mig_slices) {
            errno = EOPNOTSUPP;
            return SIM_FAILED;
        }
        set(&settings->compute_mode, compute_mode);
        set(&settings->mig, mig);
        set(&settings->mig_pending, mig);
        if (mig == 0) {
            sim_instances_set(machine, gpu, NULL, 0);
        }
        set(&settings->memory_hidden, memory_hidden);
        set(&settings->listed_twice, listed_twice);
        set(&settings->mps, mps);
    }
    return status;
}

int unigpu_sim_set_instances(const char *dir, unsigned gpu, const unsigned *sizes, unsigned count) {
    sim_machine *machine;
    int status = find_gpu(dir, gpu, &machine);
    if (status == SIM_OK && !sim_instances_set(machine, gpu, sizes, count)) {
        errno = EINVAL;
        return SIM_FAILED;
    }
    return status;
}

int unigpu_sim_lose(const char *dir, unsigned gpu, int lost) {
    sim_machine *machine;
    int status = find_gpu(dir, gpu, &machine);
    if (status == SIM_OK) {
        sim_gpu_lose(machine, gpu, lost != 0);
    }
    return status;
}

int unigpu_sim_ecc(const char *dir, unsigned gpu, unsigned long long corrected, unsigned long long uncorrected) {
    sim_machine *machine;
    int status = find_gpu(dir, gpu, &machine);
    if (status == SIM_OK) {
        __atomic_add_fetch(&machine->state->gpus[gpu].ecc_corrected, corrected, __ATOMIC_RELAXED);
        __atomic_add_fetch(&machine->state->gpus[gpu].ecc_uncorrected, uncorrected, __ATOMIC_RELAXED);
    }
    return status;
}

int unigpu_sim_heal(const char *dir) {
    sim_machine *machine;
    int status = sim_join(dir, &machine);
    for (uint32_t i = 0; status == SIM_OK && i < machine->state->gpu_count; i++) {
        __atomic_store_n(&machine->state->gpus[i].faults.hanging, 0, __ATOMIC_RELEASE);
        sim_gpu_lose(machine, i, false);
        sim_gpu_reset(machine, i);
    }
    return status;
}
