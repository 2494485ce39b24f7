/* Figures that are queried by number: those that the tools ask for. */
#include "simulator/nvml/library.h"

enum {
    FIELD_ECC_CURRENT = 1,
    FIELD_MEMORY_TEMPERATURE = 82,
    FIELD_ENERGY = 83,
    FIELD_LINK_COUNT = 91,
    FIELD_LINK_ERRORS_FIRST = 32, /* to 59: four kinds, each of links 0 to 5 and in all */
    FIELD_LINK_ERRORS_LAST = 59,
    FIELD_LINK_ERRORS_SIXTH = 96, /* to 119: the same of links 6 to 11 */
    FIELD_LINK_ERRORS_ELEVENTH = 119,
    FIELD_LINK_SPEED_FIRST = 84, /* to 89: of links 0 to 5 */
    FIELD_LINK_SPEED_COMMON = 90,
    FIELD_LINK_SPEED_SIXTH = 132, /* to 137: of links 6 to 11 */
    FIELD_LINK_SPEED = 164,       /* of the link that the scope names, as the next two */
    FIELD_LINK_STATE = 165,
    FIELD_LINK_VERSION = 166,
    FIELD_LINK_ERRORS_OF = 161, /* to 163: of the link that the scope names */
    FIELD_LINK_ERRORS_OF_LAST = 163,
    FIELD_POWER_AVERAGE = 185, /* of the GPU, its module or its memory, as the scope says; as the next ones */
    FIELD_POWER_INSTANT = 186,
    FIELD_POWER_LOWEST = 187,
    FIELD_POWER_HIGHEST = 188,
    FIELD_POWER_DEFAULT = 189,
    FIELD_POWER_LIMIT = 190,
    FIELD_POWER_REQUESTED = 192,
    FIELD_SHUTDOWN_MARGIN = 193,
    FIELD_SLOWDOWN_MARGIN = 194,
    FIELD_HIGHEST_MARGIN = 196,
    FIELD_REPLAY_ROLLOVERS = 95,
    FIELD_RESET_NEEDED = 226,
    FIELD_DRAIN_AND_RESET = 227,
    FIELD_RECOVERY_ACTION = 230,
    FIRST_BRANCH_WITH_RECOVERY = 570,
};

/* MB/s of a link that leads somewhere. */
static nvmlReturn_t link_speed(nvmlDevice_t device, unsigned link, unsigned *speed) {
    nvmlEnableState_t active;
    unsigned version;
    nvmlReturn_t result = nvmlDeviceGetNvLinkState(device, link, &active);
    NEED(result == NVML_SUCCESS, result);
    NEED(active == NVML_FEATURE_ENABLED, NVML_ERROR_NOT_SUPPORTED);
    nvmlDeviceGetNvLinkVersion(device, link, &version);
    *speed = version >= 4 ? 26562 : 25781;
    return NVML_SUCCESS;
}

/* What heals the GPU. */
static nvmlReturn_t recovery_action(nvmlDevice_t device, unsigned *action) {
    enum { NONE = 0, RESET = 1, DRAIN_AND_RESET = 4 };
    NEED(driver_branch() >= FIRST_BRANCH_WITH_RECOVERY, NVML_ERROR_NOT_SUPPORTED);
    *action = reset_needed(device) ? RESET : reset_advised(device) ? DRAIN_AND_RESET : NONE;
    return NVML_SUCCESS;
}

/* A link's error counts: no link ever fails. */
static nvmlReturn_t link_errors(nvmlDevice_t device, unsigned link) {
    unsigned long long count;
    return nvmlDeviceGetNvLinkErrorCounter(device, link, 0, &count);
}

static nvmlReturn_t power(nvmlDevice_t device, unsigned field, unsigned *milliwatts) {
    unsigned other;
    switch (field) {
    case FIELD_POWER_LOWEST: return nvmlDeviceGetPowerManagementLimitConstraints(device, milliwatts, &other);
    case FIELD_POWER_HIGHEST: return nvmlDeviceGetPowerManagementLimitConstraints(device, &other, milliwatts);
    case FIELD_POWER_DEFAULT: return nvmlDeviceGetPowerManagementDefaultLimit(device, milliwatts);
    case FIELD_POWER_LIMIT:
    case FIELD_POWER_REQUESTED: return nvmlDeviceGetPowerManagementLimit(device, milliwatts);
    default: return nvmlDeviceGetPowerUsage(device, milliwatts);
    }
}

/* The temperature that a margin is about, as an old GPU's threshold. */
static unsigned threshold_of(unsigned field) {
    enum { SHUTDOWN = 0, SLOWDOWN = 1, HIGHEST = 3 };
    return field == FIELD_SHUTDOWN_MARGIN ? SHUTDOWN : field == FIELD_SLOWDOWN_MARGIN ? SLOWDOWN : HIGHEST;
}

/* The link that a field's number is about, of those that count errors or tell a speed; -1: none. */
static int link_of(unsigned field) {
    enum { LOW_LINKS = 6 };
    if (field >= FIELD_LINK_ERRORS_FIRST && field <= FIELD_LINK_ERRORS_LAST) {
        unsigned place = (field - FIELD_LINK_ERRORS_FIRST) % (LOW_LINKS + 1);
        return place == LOW_LINKS ? 0 : (int)place;
    }
    if (field >= FIELD_LINK_ERRORS_SIXTH && field <= FIELD_LINK_ERRORS_ELEVENTH) {
        return (int)((field - FIELD_LINK_ERRORS_SIXTH) % LOW_LINKS) + LOW_LINKS;
    }
    if (field >= FIELD_LINK_SPEED_FIRST && field < FIELD_LINK_SPEED_COMMON) {
        return (int)(field - FIELD_LINK_SPEED_FIRST);
    }
    bool high = field >= FIELD_LINK_SPEED_SIXTH && field < FIELD_LINK_SPEED_SIXTH + LOW_LINKS;
    return high ? (int)(field - FIELD_LINK_SPEED_SIXTH) + LOW_LINKS : -1;
}

static void read_field(nvmlDevice_t device, nvmlFieldValue_t *field) {
    unsigned number = 0;
    int degrees = 0;
    nvmlEnableState_t pending;
    field->value_type = NVML_VALUE_UNSIGNED_INT;
    switch (field->field) {
    case FIELD_ECC_CURRENT: field->status = nvmlDeviceGetEccMode(device, &number, &pending); break;
    case FIELD_POWER_AVERAGE:
    case FIELD_POWER_INSTANT:
    case FIELD_POWER_LOWEST:
    case FIELD_POWER_HIGHEST:
    case FIELD_POWER_DEFAULT:
    case FIELD_POWER_LIMIT:
    case FIELD_POWER_REQUESTED:
        field->status = field->scope ? NVML_ERROR_NOT_SUPPORTED : power(device, field->field, &number);
        break;
    case FIELD_SHUTDOWN_MARGIN:
    case FIELD_SLOWDOWN_MARGIN:
    case FIELD_HIGHEST_MARGIN:
        field->value_type = NVML_VALUE_SIGNED_INT;
        field->status = margin_of_threshold(device, threshold_of(field->field), &degrees);
        field->value.si = degrees;
        return;
    case FIELD_LINK_ERRORS_OF:
    case FIELD_LINK_ERRORS_OF + 1:
    case FIELD_LINK_ERRORS_OF_LAST: field->status = link_errors(device, field->scope); break;
    case FIELD_REPLAY_ROLLOVERS: field->status = NVML_SUCCESS; break;
    case FIELD_RESET_NEEDED:
        number = reset_needed(device);
        field->status = NVML_SUCCESS;
        break;
    case FIELD_DRAIN_AND_RESET:
        number = reset_advised(device);
        field->status = NVML_SUCCESS;
        break;
    case FIELD_LINK_COUNT:
        while (nvmlDeviceGetNvLinkState(device, number, &pending) == NVML_SUCCESS) {
            number++;
        }
        field->status = number ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
        break;
    case FIELD_LINK_SPEED_COMMON: field->status = link_speed(device, 0, &number); break;
    case FIELD_LINK_SPEED: field->status = link_speed(device, field->scope, &number); break;
    case FIELD_LINK_STATE:
        field->status = nvmlDeviceGetNvLinkState(device, field->scope, &pending);
        number = field->status == NVML_SUCCESS && pending == NVML_FEATURE_ENABLED;
        break;
    case FIELD_LINK_VERSION: field->status = nvmlDeviceGetNvLinkVersion(device, field->scope, &number); break;
    case FIELD_RECOVERY_ACTION: field->status = recovery_action(device, &number); break;
    case FIELD_ENERGY:
        field->value_type = NVML_VALUE_UNSIGNED_LONG_LONG;
        field->status = nvmlDeviceGetTotalEnergyConsumption(device, &field->value.ull);
        return;
    default:
        field->status = NVML_ERROR_NOT_SUPPORTED;
        if (link_of(field->field) >= 0) {
            bool speed = field->field >= FIELD_LINK_SPEED_FIRST && field->field < FIELD_LINK_SPEED_COMMON;
            speed = speed || field->field >= FIELD_LINK_SPEED_SIXTH;
            field->status = link_speed(device, (unsigned)link_of(field->field), &number);
            number = speed ? number : 0; /* no link ever fails */
        }
        break;
    }
    field->value.ull = number;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
    NEED_DEVICE(device, values);
    NEED(count > 0, NVML_ERROR_INVALID_ARGUMENT);
    for (int i = 0; i < count; i++) {
        values[i].time_us = (long long)wall_us();
        values[i].latency_us = 0;
        read_field(device, &values[i]);
    }
    return NVML_SUCCESS;
}
