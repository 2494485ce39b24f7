#include "births.h"

#include "account.h"

/* Set aside while the container's first context on a card is made and its cost is not known: more than any needs. */
#define UNKNOWN_COST (UINT64_C(1) << 30)

static unsigned list(nvmlDevice_t device, nvmlProcessInfo_t *processes)
{
    unsigned count = BIRTH_PROCESSES;
    if (device == NULL || NVML(nvmlDeviceGetComputeRunningProcesses_v3) == NULL
        || NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, &count, processes) != NVML_SUCCESS)
        return 0;
    return count;
}

static unsigned long long used(nvmlDevice_t device)
{
    nvmlMemory_t memory;
    if (device == NULL || NVML(nvmlDeviceGetMemoryInfo) == NULL
        || NVML(nvmlDeviceGetMemoryInfo)(device, &memory) != NVML_SUCCESS)
        return 0;
    return memory.used;
}

bool birth_begin(struct birth *birth, CUdevice device)
{
    int card = cards_of_device(device);
    birth->measured = false;
    uint64_t cost = card == NO_CARD ? UNKNOWN_COST : account_context_cost((unsigned)card);
    if (cost == 0) {
        uint64_t limit = quota_limit(card);
        uint64_t taken = limit == QUOTA_UNLIMITED ? 0 : quota_used(card);
        cost = limit - taken < UNKNOWN_COST && limit > taken ? limit - taken : UNKNOWN_COST;
        birth->measured = true;
    }
    if (!claim_card(&birth->claim, NULL, card, cost))
        return false;
    birth->measured &= birth->claim.counted;
    if (birth->measured) {
        birth->nvml = cards_nvml(card);
        birth->count = list(birth->nvml, birth->before);
        birth->device_used = used(birth->nvml);
    }
    return true;
}

/* Bytes of whom we didn't see before or who has more than before: of several, the least, since others may allocate. */
static unsigned long long grown(const struct birth *birth)
{
    nvmlProcessInfo_t after[BIRTH_PROCESSES];
    unsigned long long least = 0;
    unsigned count = list(birth->nvml, after);
    for (unsigned place = 0; place < count; place++) {
        unsigned long long more = after[place].used;
        for (unsigned other = 0; other < birth->count; other++) {
            if (birth->before[other].pid == after[place].pid)
                more = more > birth->before[other].used ? more - birth->before[other].used : 0;
        }
        if (more > 0 && more < INT64_MAX && (least == 0 || more < least))
            least = more;
    }
    return least;
}

bool birth_measure(struct birth *birth)
{
    if (!birth->measured)
        return true;
    unsigned long long cost = grown(birth);
    if (cost == 0) {
        /* NVML doesn't name processes here: the card as a whole, others' changes included, and never more than what is
         * set aside. */
        unsigned long long now = used(birth->nvml);
        cost = now > birth->device_used ? now - birth->device_used : birth->claim.bytes;
        cost = cost < birth->claim.bytes ? cost : birth->claim.bytes;
    }
    if (!claim_adjust(&birth->claim, cost))
        return false;
    account_note_context_cost((unsigned)birth->claim.card, cost);
    return true;
}
