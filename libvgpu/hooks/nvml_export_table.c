/* NVML's table of unnamed functions, which nvidia-smi uses to list processes. Where the table is known, libvgpu answers
 * its lists like the public ones. For other driver branches the table passes untouched, and the list shows the
 * processes that the driver lets the container's pid namespace see. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libvgpu/base/lock.h"
#include "libvgpu/hooks/hooks.h"
#include "libvgpu/memory/reported.h"
#include "libvgpu/shared/account.h"

enum {
    SLOT_COMPUTE_PROCESSES = 213,
    SLOT_GRAPHICS_PROCESSES = 214,
    SLOT_SERVER_PROCESSES = 215,
    SLOTS_LEAST = SLOT_SERVER_PROCESSES + 1,
    SLOTS_MOST = 1024,
    NAME_BYTES = 4096,
};

/* An entry of these lists: the public form, followed by the process's name. */
struct named_process {
    nvmlProcessDetail_v1_t detail;
    char name[NAME_BYTES];
};

_Static_assert(sizeof(struct named_process) == 4128, "nvidia-smi walks the list in these steps");

typedef nvmlReturn_t list_of_processes(nvmlDevice_t device, unsigned *count, struct named_process *list, void *more);

/* The driver's layout of the table: its size in bytes, then functions. */
static union slot {
    size_t bytes;
    list_of_processes *list;
} slots[SLOTS_MOST];
static list_of_processes *drivers[3];

static nvmlReturn_t compute_processes(nvmlDevice_t device, unsigned *count, struct named_process *list, void *more) {
    unsigned all;
    int gpu;
    if (count == NULL || list == NULL || !reported_gpu(device, &gpu)) {
        return drivers[0](device, count, list, more);
    }
    struct account_process *found = account_processes((unsigned)gpu, &all);
    if (*count > all) {
        *count = all;
    }
    for (unsigned place = 0; place < *count; place++) {
        memset(&list[place], 0, sizeof list[place]);
        list[place].detail = (nvmlProcessDetail_v1_t){.pid = found[place].pid,
                                                      .used = found[place].used,
                                                      .gpu_instance = NVML_NO_INSTANCE,
                                                      .compute_instance = NVML_NO_INSTANCE};
        if (NVML(nvmlSystemGetProcessName) != NULL) {
            NVML(nvmlSystemGetProcessName)(found[place].pid, list[place].name, NAME_BYTES);
        }
    }
    free(found);
    return NVML_SUCCESS;
}

/* The account doesn't know for what a process uses its memory, so each process is reported as a compute process. */
#define NO_PROCESSES(function, place)                                                                            \
    static nvmlReturn_t function(nvmlDevice_t device, unsigned *count, struct named_process *list, void *more) { \
        int gpu;                                                                                                 \
        if (count == NULL || list == NULL || !reported_gpu(device, &gpu))                                        \
            return drivers[place](device, count, list, more);                                                    \
        *count = 0;                                                                                              \
        return NVML_SUCCESS;                                                                                     \
    }
NO_PROCESSES(graphics_processes, 1)
NO_PROCESSES(server_processes, 2)

/* Whether the driver is of the branch that has this table: nvidia-smi and NVML of one machine have the same version. */
static bool branch_is_known(void) {
    char version[96];
    return NVML(nvmlSystemGetDriverVersion) != NULL &&
           NVML(nvmlSystemGetDriverVersion)(version, sizeof version) == NVML_SUCCESS &&
           strncmp(version, "535.", 4) == 0;
}

static const union slot *ours(const union slot *theirs) {
    MUTEX(lock);
    size_t bytes = theirs->bytes;
    if (bytes < SLOTS_LEAST * sizeof *theirs || bytes > sizeof slots) {
        return theirs;
    }
    mutex_lock(&lock);
    if (slots[0].bytes == 0) {
        memcpy(slots, theirs, bytes);
        memcpy(drivers, &theirs[SLOT_COMPUTE_PROCESSES], sizeof drivers);
        slots[SLOT_COMPUTE_PROCESSES].list = compute_processes;
        slots[SLOT_GRAPHICS_PROCESSES].list = graphics_processes;
        slots[SLOT_SERVER_PROCESSES].list = server_processes;
    }
    mutex_unlock(&lock);
    return slots;
}

nvmlReturn_t hook_nvmlInternalGetExportTable(__typeof__(&nvmlInternalGetExportTable) driver, const void **table,
                                             const void *id) {
    static const unsigned char known[16] = {0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
                                            0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4};
    nvmlReturn_t result = driver(table, id);
    if (result == NVML_SUCCESS && table != NULL && *table != NULL && id != NULL &&
        memcmp(id, known, sizeof known) == 0 && branch_is_known()) {
        *table = ours(*table);
    }
    return result;
}
