#include "libvgpu/base/config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "libvgpu/base/dl.h"
#include "libvgpu/base/lock.h"
#include "libvgpu/base/log.h"
#include "libvgpu/base/names.h"

#define FRACTION_DIGITS 9

/* Reads digits; false where there are none, or too many. `scale` is 10 to the power of their count. */
static bool digits(const char **at, unsigned most, uint64_t *number, uint64_t *scale) {
    unsigned count = 0;
    *number = 0;
    *scale = 1;
    for (; **at >= '0' && **at <= '9' && count < most; (*at)++, count++) {
        *number = *number * 10 + (uint64_t)(**at - '0');
        *scale *= 10;
    }
    return count > 0 && !(**at >= '0' && **at <= '9');
}

_Bool config_parse_size(const char *text, uint64_t *bytes) {
    uint64_t number, fraction = 0, scale = 1;
    const char *at = text;
    while (*at == ' ') {
        at++;
    }
    if (!digits(&at, 19, &number, &scale)) {
        return false;
    }
    scale = 1;
    if (*at == '.') {
        at++;
        if (!digits(&at, FRACTION_DIGITS, &fraction, &scale)) {
            return false;
        }
    }
    static const char units[] = "kmgtp";
    const char *unit = *at == '\0' ? NULL : strchr(units, *at | 0x20);
    unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;
    at += unit != NULL;
    if (shift > 0 && (*at | 0x20) == 'i') {
        at++;
    }
    if ((*at | 0x20) == 'b') {
        at++;
    }
    if (*at != '\0' || (shift == 0 && scale > 1)) {
        return false;
    }
    unsigned __int128 whole = ((unsigned __int128)number << shift) + ((unsigned __int128)fraction << shift) / scale;
    *bytes = (uint64_t)whole;
    return whole <= UINT64_MAX;
}

_Bool config_parse_percent(const char *text, uint32_t *percent) {
    char *end;
    while (*text == ' ') {
        text++;
    }
    if (*text < '0' || *text > '9') {
        return false;
    }
    unsigned long number = strtoul(text, &end, 10);
    if (*end == '%') {
        end++;
    }
    if (*end != '\0' || number > 100) {
        return false;
    }
    *percent = (uint32_t)number;
    return true;
}

_Bool config_is_injected(const char *injected, const char *name, const char *value) {
    size_t name_length = strlen(name), length = strlen(value);
    while (injected != NULL && *injected != '\0') {
        const char *end = strchrnul(injected, ';');
        if ((size_t)(end - injected) == name_length + 1 + length && strncmp(injected, name, name_length) == 0 &&
            injected[name_length] == '=' && strncmp(injected + name_length + 1, value, length) == 0) {
            return true;
        }
        injected = *end == ';' ? end + 1 : end;
    }
    return false;
}

/* Returns the variable's text; NULL where it is unset, or still has the value that the node agent injected. */
static const char *user_limit(const char *injected, const char *name) {
    const char *text = secure_getenv(name);
    return text == NULL || *text == '\0' || config_is_injected(injected, name, text) ? NULL : text;
}

enum reading { UNSET, READ, UNREADABLE };

static enum reading read_size(const char *injected, const char *name, uint64_t *bytes) {
    const char *text = user_limit(injected, name);
    if (text == NULL || config_parse_size(text, bytes)) {
        return text == NULL ? UNSET : READ;
    }
    log_write(LOG_ERROR, "%s = %s: not a size, so GPU memory is refused; accepted: 300m, 1.5g, 2Gi, 314572800", name,
              text);
    return UNREADABLE;
}

static enum reading read_percent(const char *injected, const char *name, uint32_t *percent) {
    const char *text = user_limit(injected, name);
    if (text == NULL || config_parse_percent(text, percent)) {
        return text == NULL ? UNSET : READ;
    }
    log_write(LOG_ERROR, "%s = %s: not a percentage, so GPU memory is refused; accepted: 0 to 100", name, text);
    return UNREADABLE;
}

static enum limit_source source(enum reading own, enum reading of_all) {
    return own != UNSET ? LIMIT_OF_ONE : of_all != UNSET ? LIMIT_OF_ALL : LIMIT_UNSET;
}

/* Says of each variable that begins like a limit of one GPU, and names none. */
static void say_unknown(const char *prefix) {
    size_t length = strlen(prefix);
    for (char **each = environ; each != NULL && *each != NULL; each++) {
        const char *end = strchrnul(*each, '='), *number = *each + length + 1;
        if (strncmp(*each, prefix, length) != 0 || (*each)[length] != '_') {
            continue;
        }
        bool known = end > number && end - number <= 2 && (number[0] != '0' || end - number == 1) &&
                     strspn(number, "0123456789") == (size_t)(end - number) &&
                     strtoul(number, NULL, 10) < VGPU_MAX_GPUS;
        if (!known) {
            log_write(LOG_ERROR, "%.*s: no effect; accepted: %s, or for one GPU %s_0 to %s_%d", (int)(end - *each),
                      *each, prefix, prefix, prefix, VGPU_MAX_GPUS - 1);
        }
    }
}

/* Reads the limits for every GPU, then those for single GPUs. Returns whether there is any. */
static bool read_limits(const char *injected, struct config *here) {
    uint64_t bytes = 0;
    uint32_t percent = 0;
    bool any = false;
    enum reading size = read_size(injected, UNIGPU_ENV_MEMORY_LIMIT, &bytes);
    enum reading cores = read_percent(injected, UNIGPU_ENV_CORE_LIMIT, &percent);
    for (unsigned gpu = 0; gpu < VGPU_MAX_GPUS; gpu++) {
        char name[64];
        here->limits[gpu] = bytes;
        here->cores[gpu] = percent;
        snprintf(name, sizeof name, UNIGPU_ENV_MEMORY_LIMIT "_%u", gpu);
        enum reading own_size = read_size(injected, name, &here->limits[gpu]);
        snprintf(name, sizeof name, UNIGPU_ENV_CORE_LIMIT "_%u", gpu);
        enum reading own_cores = read_percent(injected, name, &here->cores[gpu]);
        here->limits_from[gpu] = source(own_size, size);
        here->cores_from[gpu] = source(own_cores, cores);
        here->unreadable[gpu] = (own_size == UNSET ? size : own_size) == UNREADABLE ||
                                (own_cores == UNSET ? cores : own_cores) == UNREADABLE;
        any = any || here->limits[gpu] > 0 || (here->cores[gpu] > 0 && here->cores[gpu] < 100) || here->unreadable[gpu];
    }
    return any;
}

static bool managed(void) {
    return access(UNIGPU_CONTAINER_POLICY, F_OK) == 0 || getenv(UNIGPU_ENV_MANAGED) != NULL ||
           dl_loaded_from(UNIGPU_CONTAINER_ROOT "/");
}

/* A copy: the program may overwrite the environment's strings later. */
static const char *kept(const char *name) {
    const char *text = secure_getenv(name);
    return text == NULL || *text == '\0' ? NULL : strdup(text);
}

static bool set(const char *name) {
    const char *text = secure_getenv(name);
    return text != NULL && *text != '\0';
}

_Bool config_is_alone(void) {
    static const char *const prefixes[] = {UNIGPU_ENV_MEMORY_LIMIT, UNIGPU_ENV_CORE_LIMIT};
    bool any = false;
    for (char **each = environ; each != NULL && *each != NULL && !any; each++) {
        any = strncmp(*each, prefixes[0], strlen(prefixes[0])) == 0 ||
              strncmp(*each, prefixes[1], strlen(prefixes[1])) == 0;
    }
    return any && !set(UNIGPU_ENV_TRIAL_POLICY) && !set(UNIGPU_ENV_TRIAL_USAGE) && !set(UNIGPU_ENV_SHARED_CACHE) &&
           !managed();
}

static void decide(struct config *here) {
    bool by_agent = managed();
    say_unknown(UNIGPU_ENV_MEMORY_LIMIT);
    say_unknown(UNIGPU_ENV_CORE_LIMIT);
    bool limited = read_limits(by_agent ? secure_getenv(UNIGPU_ENV_INJECTED_LIMITS) : NULL, here);
    if (by_agent) {
        here->kind = CONFIG_POLICY;
        here->policy = UNIGPU_CONTAINER_POLICY;
        here->usage = UNIGPU_CONTAINER_USAGE;
        here->made_by_agent = true;
        return;
    }
    here->policy = kept(UNIGPU_ENV_TRIAL_POLICY);
    here->usage = kept(UNIGPU_ENV_TRIAL_USAGE);
    if (here->usage == NULL) {
        here->usage = kept(UNIGPU_ENV_SHARED_CACHE);
    }
    if (here->policy != NULL) {
        here->kind = CONFIG_POLICY;
    } else {
        here->kind = limited || here->usage != NULL ? CONFIG_ENVIRONMENT : CONFIG_NONE;
    }
}

const struct config *config_decided;

const struct config *config_decide(void) {
    static struct config here;
    MUTEX(lock);
    mutex_lock(&lock);
    if (config_decided == NULL) {
        decide(&here);
        __atomic_store_n(&config_decided, &here, __ATOMIC_RELEASE);
    }
    mutex_unlock(&lock);
    return &here;
}
