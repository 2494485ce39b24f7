/* The table of unnamed functions that nvidia-smi requests from NVML. Only the functions that it needs to print correct
 * values are here. Other slots return success and a count of zero, and nvidia-smi then prints nothing for them. */
#include <string.h>

#include "simulator/nvml/library.h"

enum {
    SLOTS = 320,
    SLOT_DRIVER_CONTROL = 32, /* a command by number, with a buffer for its answer */
    SLOT_CAN_BE_WATCHED = 72, /* for dmon and pmon */
    SLOT_DEVICE_BY_INDEX = 81,
    SLOT_PROCESS_SAMPLES = 145,
    SLOT_OWN_FIELDS = 165,
    SLOT_RESET = 168,
    SLOT_BEFORE_RESET = 197, /* takes a device and nothing else */
    SLOT_VOLTAGE = 209,
    SLOT_COMPUTE_PROCESSES = 213,
    SLOT_SERVER_PROCESSES = 214,
    SLOT_GRAPHICS_PROCESSES = 215,
    SLOT_NEAR_NODES = 223,
    SLOT_HOST_LINK_GENERATION = 230,
    SLOT_MARGIN = 240, /* of the temperature */
    SLOT_OWN_NODE = 241, /* the memory node that the GPU is */
    NAME_BYTES = 4096,
    MOST_PROCESSES = 512,
};

/* One entry of a process list: the public one, with the name behind it. */
typedef struct named_process {
    nvmlProcessDetail_v1_t detail;
    char name[NAME_BYTES];
} named_process;

_Static_assert(sizeof(named_process) == 4128, "nvidia-smi walks the list in these steps");

typedef nvmlReturn_t (*slot)(void *, void *, void *, void *);

/* What a process did lately: a percentage for each engine. */
typedef struct engine_sample {
    unsigned percent, reserved1;
    unsigned pid; /* -1: nothing */
    unsigned reserved2[17];
} engine_sample;

/* Branch 535 has four engines, 550 and later have two more behind them. */
typedef struct process_sample {
    unsigned long long reserved;
    engine_sample sm, memory, others[];
} process_sample;

enum { FEW_ENGINES = 4, MANY_ENGINES = 6, FIRST_BRANCH_WITH_MANY = 550 };

_Static_assert(sizeof(process_sample) + 2 * sizeof(engine_sample) == 328, "535's nvidia-smi walks in these steps");

typedef nvmlReturn_t (*sampler)(nvmlDevice_t, unsigned long long, void *, unsigned *, void *);

static bool is_device(const void *argument) {
    nvmlDevice_t device = (nvmlDevice_t)argument;
    return device_check(device) == NVML_SUCCESS;
}

static nvmlReturn_t nothing(void *device, void *count, void *unused1, void *unused2) {
    (void)unused1, (void)unused2;
    enum { NO_ADDRESS_BELOW = 65536 }; /* some slots take a number there */
    if (is_device(device) && (uintptr_t)count >= NO_ADDRESS_BELOW) {
        *(unsigned *)count = 0;
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t device_by_index(void *index, void *device, void *unused1, void *unused2) {
    (void)unused1, (void)unused2;
    return nvmlDeviceGetHandleByIndex_v2((unsigned)(uintptr_t)index, device);
}

typedef nvmlReturn_t (*lister)(nvmlDevice_t, unsigned *, nvmlProcessInfo_t *);

static nvmlReturn_t named_processes(void *device, void *count, void *list, lister of) {
    if (!is_device(device) || !count || !list) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlProcessInfo_t found[MOST_PROCESSES];
    unsigned room = *(unsigned *)count, all = MOST_PROCESSES;
    nvmlReturn_t result = of(device, &all, found);
    unsigned given = all < room ? all : room;
    given = given < MOST_PROCESSES ? given : MOST_PROCESSES;
    named_process *entries = list;
    for (unsigned i = 0; i < given; i++) {
        memset(&entries[i], 0, sizeof entries[i]);
        entries[i].detail =
            (nvmlProcessDetail_v1_t){found[i].pid, found[i].used, NVML_NO_INSTANCE, NVML_NO_INSTANCE, 0};
        nvmlSystemGetProcessName(found[i].pid, entries[i].name, NAME_BYTES);
    }
    *(unsigned *)count = given;
    return result == NVML_ERROR_INSUFFICIENT_SIZE ? NVML_SUCCESS : result;
}

static nvmlReturn_t compute_processes(void *device, void *count, void *list, void *unused) {
    (void)unused;
    return named_processes(device, count, list, nvmlDeviceGetComputeRunningProcesses_v3);
}

static nvmlReturn_t mps_processes(void *device, void *count, void *list, void *unused) {
    (void)unused;
    return named_processes(device, count, list, nvmlDeviceGetMPSComputeRunningProcesses_v3);
}

static nvmlReturn_t host_link_generation(void *device, void *generation, void *unused1, void *unused2) {
    (void)unused1, (void)unused2;
    return nvmlDeviceGetMaxPcieLinkGeneration(device, generation);
}

/* Whether the GPU can be watched over time. */
static nvmlReturn_t can_be_watched(void *device, void *answer, void *unused1, void *unused2) {
    (void)unused1, (void)unused2;
    if (!is_device(device) || !answer) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *(unsigned *)answer = 1;
    return NVML_SUCCESS;
}

/* The computer's memory nodes near the GPU, a bit for each. */
static nvmlReturn_t near_nodes(void *device, void *words, void *mask, void *scope) {
    (void)scope;
    return nvmlDeviceGetMemoryAffinity(device, (unsigned)(uintptr_t)words, mask, 0);
}

static nvmlReturn_t margin(void *device, void *celsius, void *unused1, void *unused2) {
    (void)unused1, (void)unused2;
    return margin_now(device, celsius);
}

/* Figures by numbers of their own, in the form of nvmlDeviceGetFieldValues. */
static nvmlReturn_t own_fields(void *device, void *count, void *fields, void *unused) {
    (void)unused;
    enum { RELAXED_ORDERING = 1, RESET_NEEDED = 4, DRAIN_AND_RESET = 5 };
    if (!is_device(device) || !fields) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlFieldValue_t *values = fields;
    for (unsigned i = 0; i < (unsigned)(uintptr_t)count; i++) {
        values[i].status = NVML_SUCCESS;
        values[i].value_type = NVML_VALUE_UNSIGNED_INT;
        switch (values[i].field) {
        case RELAXED_ORDERING: values[i].value.ui = 0; break;
        case RESET_NEEDED: values[i].value.ui = reset_needed(device); break;
        case DRAIN_AND_RESET: values[i].value.ui = reset_advised(device); break;
        default: values[i].status = NVML_ERROR_NOT_SUPPORTED;
        }
    }
    return NVML_SUCCESS;
}

/* For pmon: one sample of each process, and none in the rest of the list. */
static nvmlReturn_t process_samples(nvmlDevice_t device, unsigned long long since_us, void *type, unsigned *count,
                                    void *samples) {
    (void)type;
    size_t engines = driver_branch() < FIRST_BRANCH_WITH_MANY ? FEW_ENGINES : MANY_ENGINES;
    size_t step = offsetof(process_sample, sm) + engines * sizeof(engine_sample);
    if (!is_device(device) || !count || !samples) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlProcessUtilizationSample_t found[MOST_PROCESSES];
    unsigned all = MOST_PROCESSES;
    if (nvmlDeviceGetProcessUtilization(device, found, &all, since_us) != NVML_SUCCESS) {
        all = 0;
    }
    for (unsigned i = 0; i < *count; i++) {
        unsigned pid = i < all ? found[i].pid : -1U;
        process_sample *sample = (process_sample *)((char *)samples + i * step);
        memset(sample, 0, step);
        sample->sm = (engine_sample){.percent = i < all ? found[i].sm : 0, .pid = pid};
        sample->memory = (engine_sample){.percent = i < all ? found[i].memory : 0, .pid = pid};
        for (size_t other = 0; other < engines - 2; other++) {
            sample->others[other].pid = -1U;
        }
    }
    *count = all < *count ? (all ? all : 1) : *count; /* it divides by the number */
    return NVML_SUCCESS;
}

static nvmlReturn_t not_supported(void *unused1, void *unused2, void *unused3, void *unused4) {
    (void)unused1, (void)unused2, (void)unused3, (void)unused4;
    return NVML_ERROR_NOT_SUPPORTED;
}

/* Resets GPUs that no process uses. */
static nvmlReturn_t reset(void *count, void *devices, void *statuses, void *unused) {
    (void)unused;
    nvmlReturn_t result = NVML_SUCCESS;
    for (unsigned i = 0; i < (unsigned)(uintptr_t)count; i++) {
        nvmlDevice_t device = ((nvmlDevice_t *)devices)[i];
        nvmlReturn_t status = device_check(device);
        if (status == NVML_SUCCESS && device_in_use(device)) {
            status = NVML_ERROR_IN_USE;
        }
        if (status == NVML_SUCCESS) {
            sim_gpu_reset(nvml.machine, device->gpu);
        }
        ((unsigned *)statuses)[i] = status;
        result = status == NVML_SUCCESS ? result : status;
    }
    return result;
}

nvmlReturn_t nvmlInternalGetExportTable(const void **table, const void *id) {
    static const unsigned char known[16] = {0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
                                            0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4};
    static union {
        size_t bytes; /* of the table */
        slot call;
        sampler sample;
    } slots[SLOTS];
    NEED(table && id, NVML_ERROR_INVALID_ARGUMENT);
    NEED(memcmp(id, known, sizeof known) == 0, NVML_ERROR_NOT_FOUND);
    for (int i = 1; i < SLOTS; i++) {
        slots[i].call = nothing;
    }
    slots[0].bytes = sizeof slots;
    slots[SLOT_DEVICE_BY_INDEX].call = device_by_index;
    slots[SLOT_DRIVER_CONTROL].call = not_supported;
    slots[SLOT_RESET].call = reset;
    slots[SLOT_CAN_BE_WATCHED].call = can_be_watched;
    slots[SLOT_NEAR_NODES].call = near_nodes;
    slots[SLOT_BEFORE_RESET].call = not_supported;
    slots[SLOT_COMPUTE_PROCESSES].call = compute_processes;
    slots[SLOT_SERVER_PROCESSES].call = mps_processes;
    slots[SLOT_HOST_LINK_GENERATION].call = host_link_generation;
    slots[SLOT_MARGIN].call = margin;
    slots[SLOT_OWN_FIELDS].call = own_fields;
    slots[SLOT_VOLTAGE].call = not_supported;
    slots[SLOT_OWN_NODE].call = not_supported;
    slots[SLOT_PROCESS_SAMPLES].sample = process_samples;
    *table = slots;
    return NVML_SUCCESS;
}
