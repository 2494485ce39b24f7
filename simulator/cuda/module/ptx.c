/* PTX texts: the declared kernels with their parameters and memory, and the globals. Instructions are skipped. */
#include "simulator/cuda/module/ptx.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const char *at;
} reader;

typedef struct word {
    const char *text;
    size_t length;
} word;

static bool is_name(char letter) {
    return isalnum((unsigned char)letter) || letter == '_' || letter == '$' || letter == '%' || letter == '.';
}

/* The next word or single sign, comments skipped; empty at the end. */
static word next_word(reader *from) {
    for (;;) {
        while (isspace((unsigned char)*from->at)) {
            from->at++;
        }
        if (from->at[0] == '/' && from->at[1] == '/') {
            from->at += strcspn(from->at, "\n");
        } else if (from->at[0] == '/' && from->at[1] == '*') {
            const char *end = strstr(from->at + 2, "*/");
            from->at = end ? end + 2 : from->at + strlen(from->at);
        } else {
            break;
        }
    }
    word found = {from->at, 0};
    if (*from->at == '"') {
        const char *end = strchr(from->at + 1, '"');
        found.length = end ? (size_t)(end + 1 - from->at) : strlen(from->at);
    } else if (is_name(*from->at)) {
        while (is_name(from->at[found.length])) {
            found.length++;
        }
    } else {
        found.length = *from->at != 0;
    }
    from->at += found.length;
    return found;
}

static bool is(word seen, const char *text) {
    return seen.length == strlen(text) && memcmp(seen.text, text, seen.length) == 0;
}

/* Bytes of `.u64`, `.b8`, `.f16x2` …; 0 when it is no type. */
static size_t type_bytes(word seen) {
    if (seen.length < 3 || seen.text[0] != '.' || !strchr("usfb", seen.text[1]) ||
        !isdigit((unsigned char)seen.text[2])) {
        return 0;
    }
    char *end;
    unsigned long bits = strtoul(seen.text + 2, &end, 10);
    if (*end == 'x') {
        bits *= strtoul(end + 1, &end, 10);
    }
    return end == seen.text + seen.length ? bits / 8 : 0;
}

/* One variable: everything from its space to `;`, `,` or `)`, or to the start of its values. */
typedef struct variable {
    word name;
    size_t bytes, alignment;
    char stop; /* the sign that ended it; 0 at the end of the text */
} variable;

static variable read_variable(reader *from) {
    variable read = {.bytes = 0, .alignment = 0};
    size_t unit = 0, count = 1;
    for (;;) {
        word seen = next_word(from);
        if (seen.length == 0) {
            break;
        }
        if (is(seen, ".align") || is(seen, ".ptr")) {
            if (is(seen, ".align")) {
                read.alignment = strtoul(next_word(from).text, NULL, 10);
            }
        } else if (type_bytes(seen)) {
            unit = type_bytes(seen);
        } else if (is(seen, ".v2") || is(seen, ".v4")) {
            count *= (size_t)(seen.text[2] - '0');
        } else if (is(seen, "[")) {
            word size = next_word(from);
            count *= is(size, "]") ? 0 : strtoul(size.text, NULL, 10);
        } else if (strchr(";,)=", *seen.text)) {
            read.stop = *seen.text;
            break;
        } else if (seen.text[0] != '.' && seen.text[0] != ']') {
            read.name = seen;
        }
    }
    read.bytes = unit * count;
    if (!read.alignment) {
        read.alignment = unit ? unit : 1;
    }
    return read;
}

static CUresult add_function(CUmodule module, word name, reader *from) {
    CUfunction made;
    NEED_OK(module_add_function(module, name.text, name.length, &made));
    reader ahead = *from;
    if (!is(next_word(&ahead), "(")) {
        return CUDA_SUCCESS;
    }
    *from = ahead;
    size_t offset = 0, count = 0, capacity = sizeof made->parameters / sizeof *made->parameters;
    for (variable each = {.stop = ','}; each.stop == ',';) {
        each = read_variable(from);
        NEED(each.stop && (each.bytes == 0 || count < capacity), CUDA_ERROR_INVALID_PTX);
        if (each.bytes) {
            offset = ROUND_UP(offset, each.alignment);
            made->parameters[count].offset = offset;
            made->parameters[count].bytes = each.bytes;
            count++;
            offset += each.bytes;
        }
    }
    made->parameter_count = count;
    made->parameter_bytes = offset;
    return CUDA_SUCCESS;
}

/* `x`, `x, y` or `x, y, z`, multiplied. */
static int read_extent(reader *from) {
    int product = 1;
    for (;;) {
        product *= (int)strtol(next_word(from).text, NULL, 10);
        reader ahead = *from;
        if (!is(next_word(&ahead), ",")) {
            return product;
        }
        *from = ahead;
    }
}

CUresult ptx_read(CUmodule module, const char *text) {
    const sim_profile *profile = (module->context ? module->context->device : sim_driver.devices)->profile;
    reader from = {text};
    bool versioned = false, targeted = false;
    int depth = 0;
    CUfunction inside = NULL;
    size_t module_shared = 0, constants = 0;
    for (word seen = next_word(&from); seen.length; seen = next_word(&from)) {
        if (is(seen, "{")) {
            depth++;
        } else if (is(seen, "}")) {
            depth--;
        } else if (is(seen, ".version")) {
            versioned = true;
        } else if (is(seen, ".target")) {
            word target = next_word(&from);
            targeted = target.length > 3 && memcmp(target.text, "sm_", 3) == 0;
            NEED(targeted && strtol(target.text + 3, NULL, 10) <= profile->major * 10 + profile->minor,
                 CUDA_ERROR_INVALID_PTX);
        } else if (is(seen, ".entry")) {
            NEED_OK(add_function(module, next_word(&from), &from));
            inside = module->functions;
        } else if (is(seen, ".func")) {
            inside = NULL;
        } else if (is(seen, ".maxntid") && inside) {
            inside->block_threads = read_extent(&from);
        } else if (is(seen, ".shared") || is(seen, ".local")) {
            /* Also the type of an address in an instruction, which declares nothing: `cvta.shared` is one word. */
            variable found = read_variable(&from);
            if (depth == 0) {
                module_shared += is(seen, ".shared") ? found.bytes : 0;
            } else if (inside && is(seen, ".shared")) {
                function_set_shared(inside, (size_t)inside->static_shared + found.bytes);
            } else if (inside) {
                inside->local_bytes += found.bytes;
            }
        } else if (depth == 0 && (is(seen, ".global") || is(seen, ".const"))) {
            variable found = read_variable(&from);
            constants += is(seen, ".const") ? found.bytes : 0;
            if (found.name.length && found.bytes) {
                NEED_OK(module_add_global(module, found.name.text, found.name.length, found.bytes));
            }
        }
    }
    for (CUfunction each = module->functions; each; each = each->next) {
        each->constant_bytes = (int)constants;
        function_set_shared(each, (size_t)each->static_shared + module_shared);
    }
    return versioned && targeted && depth == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_PTX;
}
