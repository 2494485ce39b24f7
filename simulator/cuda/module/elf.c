/* ELF images: sections `.text.NAME`, `.nv.info.NAME` and `.nv.shared.NAME` for each kernel, with its registers, parameters
 * and shared memory; `.nv.info` has the stacks of all kernels; `.nv.constant3` is the module's constant memory, and its
 * globals are symbols. */
#include "simulator/cuda/module/elf.h"

#include <elf.h>
#include <string.h>

typedef struct attribute {
    uint8_t form, number;
    uint16_t value; /* bytes that follow, in the sized form */
} attribute;

enum { FORM_SIZED = 4, MAX_THREADS = 0x05, FRAME_SIZE = 0x11, PARAMETER_INFO = 0x17 };

typedef struct parameter_info {
    uint32_t index;
    uint16_t ordinal, offset;
    uint32_t packed; /* bits 18 and up: bytes */
} parameter_info;

static void read_parameter(CUfunction function, const parameter_info *info) {
    size_t capacity = sizeof function->parameters / sizeof *function->parameters;
    if (info->ordinal >= capacity) {
        return;
    }
    function->parameters[info->ordinal].offset = info->offset;
    function->parameters[info->ordinal].bytes = info->packed >> 18;
    size_t last = info->offset + (info->packed >> 18);
    function->parameter_bytes = last > function->parameter_bytes ? last : function->parameter_bytes;
    if (info->ordinal >= function->parameter_count) {
        function->parameter_count = info->ordinal + 1U;
    }
}

/* Reads a section of attributes: a kernel's own, or the module's, which names a kernel by its symbol. */
static void read_attributes(CUfunction function, uint32_t symbol, const char *at, size_t bytes) {
    const char *end = at + bytes;
    while (at + sizeof(attribute) <= end) {
        attribute header;
        memcpy(&header, at, sizeof header);
        at += sizeof header;
        if (header.form != FORM_SIZED) {
            continue;
        }
        uint32_t words[3] = {0};
        memcpy(words, at, header.value < sizeof words ? header.value : sizeof words);
        if (header.number == PARAMETER_INFO && header.value >= sizeof(parameter_info)) {
            parameter_info info;
            memcpy(&info, at, sizeof info);
            read_parameter(function, &info);
        } else if (header.number == MAX_THREADS) {
            function->block_threads = (int)(words[0] * words[1] * words[2]);
        } else if (header.number == FRAME_SIZE && words[0] == symbol) {
            function->local_bytes = words[1];
        }
        at += header.value;
    }
}

typedef struct elf {
    const char *start, *names;
    const Elf64_Shdr *sections;
    unsigned count;
} elf;

static const char *section_name(const elf *file, unsigned index) {
    return file->names + file->sections[index].sh_name;
}

/* The symbol of a kernel: its number in the table of symbols, or 0. */
static uint32_t symbol_of(const elf *file, const char *name) {
    for (unsigned i = 0; i < file->count; i++) {
        const Elf64_Shdr *table = &file->sections[i];
        const Elf64_Sym *symbols = (const Elf64_Sym *)(file->start + table->sh_offset);
        for (uint32_t j = 0; table->sh_type == SHT_SYMTAB && j < table->sh_size / sizeof *symbols; j++) {
            const char *text = file->start + file->sections[table->sh_link].sh_offset + symbols[j].st_name;
            if (ELF64_ST_TYPE(symbols[j].st_info) == STT_FUNC && strcmp(text, name) == 0) {
                return j;
            }
        }
    }
    return 0;
}

/* Whether a section's name is the prefix with the kernel's name. */
static bool belongs(const char *section, const char *prefix, const char *kernel) {
    size_t length = strlen(prefix);
    return strncmp(section, prefix, length) == 0 && strcmp(section + length, kernel) == 0;
}

static void describe(const elf *file, CUfunction function) {
    uint32_t symbol = symbol_of(file, function->name);
    for (unsigned i = 0; i < file->count; i++) {
        const char *name = section_name(file, i);
        const Elf64_Shdr *section = &file->sections[i];
        if (strcmp(name, ".nv.info") == 0 || belongs(name, ".nv.info.", function->name)) {
            read_attributes(function, symbol, file->start + section->sh_offset, section->sh_size);
        } else if (belongs(name, ".nv.shared.", function->name)) {
            function_set_shared(function, section->sh_size);
        } else if (strcmp(name, ".nv.constant3") == 0) {
            function->constant_bytes = (int)section->sh_size;
        }
    }
}

static CUresult read_globals(CUmodule module, const elf *file) {
    for (unsigned i = 0; i < file->count; i++) {
        const Elf64_Shdr *table = &file->sections[i];
        if (table->sh_type != SHT_SYMTAB) {
            continue;
        }
        const Elf64_Sym *symbols = (const Elf64_Sym *)(file->start + table->sh_offset);
        const char *texts = file->start + file->sections[table->sh_link].sh_offset;
        for (size_t j = 0; j < table->sh_size / sizeof *symbols; j++) {
            if (ELF64_ST_TYPE(symbols[j].st_info) == STT_OBJECT && symbols[j].st_size) {
                const char *name = texts + symbols[j].st_name;
                NEED_OK(module_add_global(module, name, strlen(name), symbols[j].st_size));
            }
        }
    }
    return CUDA_SUCCESS;
}

CUresult elf_read(CUmodule module, const void *image) {
    const Elf64_Ehdr *header = image;
    const char *start = image;
    enum { CUDA_MACHINE = 190, REGISTERS_BIT = 24 };
    NEED(header->e_machine == CUDA_MACHINE && header->e_shnum, CUDA_ERROR_INVALID_IMAGE);
    elf file = {.start = start, .sections = (const Elf64_Shdr *)(start + header->e_shoff), .count = header->e_shnum};
    file.names = start + file.sections[header->e_shstrndx].sh_offset;
    for (unsigned i = 0; i < file.count; i++) {
        const char *name = section_name(&file, i);
        if (strncmp(name, ".text.", 6) != 0) {
            continue;
        }
        CUfunction function;
        NEED_OK(module_add_function(module, name + 6, strlen(name + 6), &function));
        unsigned registers = file.sections[i].sh_info >> REGISTERS_BIT;
        function->code_bytes = file.sections[i].sh_size;
        function->registers = registers ? (int)registers : function->registers;
        describe(&file, function);
    }
    return read_globals(module, &file);
}
