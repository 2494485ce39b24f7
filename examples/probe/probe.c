/* What a container sees of its GPUs, and how much of them it can take: one line of JSON, or text with --text.
 *
 * A program like any other: it knows the CUDA driver and NVML, and nothing of how GPUs are shared.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

#define MIB (1ULL << 20)
#define MOST_GPUS 16

static const char usage[] =
    "usage: probe [--step MIB] [--hold MIB] [--no-take] [--seconds N | --stay] [--text]\n"
    "\n"
    "Prints each GPU's UUID, name and memory as the driver and NVML tell it, then allocates until refused.\n"
    "\n"
    "  --step MIB    allocate in pieces of that size (1)\n"
    "  --no-take     don't allocate until refused\n"
    "  --hold MIB    then keep that much of each GPU\n"
    "  --seconds N   and stay for so long\n"
    "  --stay        and stay until SIGTERM\n"
    "  --text        lines for people\n";

struct options {
    unsigned long long step, hold, seconds;
    bool take, stay, text;
};

struct gpu {
    char uuid[41];
    char name[128];
    size_t total;
    size_t free_seen, total_seen;
    unsigned long long nvml_total;
    bool nvml_known;
    unsigned long long taken_mib;
    const char *error;
};

static struct driver driver;

static const char *error_name(int error) {
    const char *name = NULL;
    if (driver.error_name(error, &name) != 0 || name == NULL) {
        return "unknown";
    }
    return name;
}

static void format_uuid(const probe_uuid *uuid, char *text) {
    char *at = text + sprintf(text, "GPU-");
    for (int byte = 0; byte < 16; byte++) {
        if (byte == 4 || byte == 6 || byte == 8 || byte == 10) {
            *at++ = '-';
        }
        at += sprintf(at, "%02x", (unsigned char)uuid->bytes[byte]);
    }
}

static void ask_nvml(struct gpu *gpu) {
    void *device;
    probe_nvml_memory memory;
    gpu->nvml_known = driver.nvml_init != NULL && driver.nvml_by_uuid(gpu->uuid, &device) == 0 &&
                      driver.nvml_memory(device, &memory) == 0;
    if (gpu->nvml_known) {
        gpu->nvml_total = memory.total;
    }
}

/* Allocates piece by piece until the driver refuses, then frees all. */
static void take(struct gpu *gpu, unsigned long long step) {
    size_t count = 0, room = 0;
    unsigned long long *pieces = NULL, piece;
    int error;
    for (;;) {
        error = driver.memory_alloc(&piece, step * MIB);
        if (error != 0) {
            break;
        }
        if (count == room) {
            room = room > 0 ? 2 * room : 1024;
            unsigned long long *more = realloc(pieces, room * sizeof *pieces);
            if (more == NULL) {
                driver.memory_free(piece);
                break;
            }
            pieces = more;
        }
        pieces[count++] = piece;
    }
    gpu->taken_mib = count * step;
    gpu->error = error_name(error);
    while (count > 0) {
        driver.memory_free(pieces[--count]);
    }
    free(pieces);
}

/* Asks everything about one GPU; 0, or the driver's error. */
static int look(struct gpu *gpu, int ordinal, const struct options *options) {
    int device;
    void *context;
    probe_uuid uuid;
    unsigned long long kept;
    memset(gpu, 0, sizeof *gpu);
    int error = driver.device_get(&device, ordinal);
    if (error == 0) {
        error = driver.device_uuid(&uuid, device);
    }
    if (error == 0) {
        error = driver.device_name(gpu->name, sizeof gpu->name, device);
    }
    if (error == 0) {
        error = driver.device_total(&gpu->total, device);
    }
    if (error != 0) {
        return error;
    }
    format_uuid(&uuid, gpu->uuid);
    ask_nvml(gpu);
    error = driver.context_create(&context, 0, device);
    if (error == 0) {
        error = driver.memory_info(&gpu->free_seen, &gpu->total_seen);
    }
    if (error != 0) {
        return error;
    }
    if (options->take) {
        take(gpu, options->step);
    }
    if (options->hold > 0) {
        return driver.memory_alloc(&kept, options->hold * MIB);
    }
    return options->stay || options->seconds > 0 ? 0 : driver.context_destroy(context);
}

static void print_json_string(const char *text) {
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            printf("\\%c", *text);
        } else if ((unsigned char)*text < 0x20) {
            printf("\\u%04x", (unsigned char)*text);
        } else {
            putchar(*text);
        }
    }
    putchar('"');
}

/* What the scheduler's extender of Alibaba's kind tells its programs. */
static void print_environment(bool text) {
    extern char **environ;
    const char *separator = "";
    for (char **variable = environ; *variable != NULL; variable++) {
        const char *value = strchr(*variable, '=');
        if (strncmp(*variable, "ALIYUN_COM_", 11) != 0 || value == NULL) {
            continue;
        }
        if (text) {
            printf("%s\n", *variable);
            continue;
        }
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(value - *variable), *variable);
        printf("%s", separator);
        print_json_string(name);
        putchar(':');
        print_json_string(value + 1);
        separator = ",";
    }
}

static void print_json(const struct gpu *gpus, int count, const struct options *options) {
    printf("{\"gpus\":[");
    for (int place = 0; place < count; place++) {
        const struct gpu *gpu = &gpus[place];
        printf("%s{\"uuid\":\"%s\",\"name\":", place > 0 ? "," : "", gpu->uuid);
        print_json_string(gpu->name);
        printf(",\"total_bytes\":%zu,\"info_free_bytes\":%zu,\"info_total_bytes\":%zu", gpu->total, gpu->free_seen,
               gpu->total_seen);
        if (gpu->nvml_known) {
            printf(",\"nvml_total_bytes\":%llu", gpu->nvml_total);
        }
        if (options->take) {
            printf(",\"taken_mib\":%llu,\"error\":\"%s\"", gpu->taken_mib, gpu->error);
        }
        putchar('}');
    }
    printf("],\"held_mib\":%llu,\"environment\":{", options->hold);
    print_environment(false);
    printf("}}\n");
}

static void print_text(const struct gpu *gpus, int count, const struct options *options) {
    for (int place = 0; place < count; place++) {
        const struct gpu *gpu = &gpus[place];
        printf("GPU %d  %s  %s\n", place, gpu->uuid, gpu->name);
        printf("  cuDeviceTotalMem  %llu MiB\n", gpu->total / MIB);
        printf("  cuMemGetInfo      %llu of %llu MiB free\n", gpu->free_seen / MIB, gpu->total_seen / MIB);
        if (gpu->nvml_known) {
            printf("  NVML              %llu MiB\n", gpu->nvml_total / MIB);
        }
        if (options->take) {
            printf("  taken             %llu MiB, then %s\n", gpu->taken_mib, gpu->error);
        }
        if (options->hold > 0) {
            printf("  held              %llu MiB\n", options->hold);
        }
    }
    print_environment(true);
}

/* False: not a number of 0 or more. */
static bool number(const char *text, unsigned long long *value) {
    char *end;
    errno = 0;
    if (text == NULL || *text < '0' || *text > '9') {
        return false;
    }
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool parse(int count, char **words, struct options *options) {
    *options = (struct options){.step = 1, .take = true};
    for (int place = 1; place < count; place++) {
        const char *word = words[place];
        if (strcmp(word, "--text") == 0) {
            options->text = true;
        } else if (strcmp(word, "--stay") == 0) {
            options->stay = true;
        } else if (strcmp(word, "--no-take") == 0) {
            options->take = false;
        } else if (strcmp(word, "--step") == 0 && number(words[++place], &options->step) && options->step > 0) {
            continue;
        } else if (strcmp(word, "--hold") == 0 && number(words[++place], &options->hold)) {
            continue;
        } else if (strcmp(word, "--seconds") == 0 && number(words[++place], &options->seconds)) {
            continue;
        } else {
            return false;
        }
    }
    return true;
}

/* SIGTERM is blocked and waited for, so that it ends the stay also where it is process 1, which has no default for it. */
static void stay(const struct options *options, const sigset_t *ends) {
    struct timespec time = {.tv_sec = (time_t)options->seconds};
    if (options->stay) {
        while (sigwaitinfo(ends, NULL) < 0 && errno == EINTR)
            ;
    } else if (options->seconds > 0) {
        while (sigtimedwait(ends, NULL, &time) < 0 && errno == EINTR)
            ;
    }
}

int main(int count, char **words) {
    struct options options;
    struct gpu gpus[MOST_GPUS];
    sigset_t ends;
    if (!parse(count, words, &options)) {
        fputs(usage, stderr);
        return 2;
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    const char *missing = driver_open(&driver);
    if (missing != NULL) {
        fprintf(stderr, "probe: %s can't be found: this container has no NVIDIA driver\n", missing);
        return 1;
    }
    int visible = 0;
    int error = driver.init(0);
    if (error == 0) {
        error = driver.device_count(&visible);
    }
    visible = visible < MOST_GPUS ? visible : MOST_GPUS;
    for (int ordinal = 0; error == 0 && ordinal < visible; ordinal++) {
        error = look(&gpus[ordinal], ordinal, &options);
    }
    if (error != 0) {
        fprintf(stderr, "probe: the driver answers %s\n", error_name(error));
        return 1;
    }
    if (options.text) {
        print_text(gpus, visible, &options);
    } else {
        print_json(gpus, visible, &options);
    }
    fflush(stdout);
    stay(&options, &ends);
    if (driver.nvml_init != NULL) {
        driver.nvml_shutdown();
    }
    return 0;
}
