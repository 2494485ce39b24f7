/* ELF images: a section `.text.NAME` for each kernel, a section `.nv.info.NAME` that describes its parameters, and symbols
 * for globals. */
#include "simulator/cuda/module/elf.h"

#include <elf.h>
#include <string.h>

typedef struct attribute {
    uint8_t form, number;
    uint16_t value; /* bytes that follow, in the sized form */
} attribute;

enum { FORM_SIZED = 4, PARAMETER_INFO = 0x17 };

typedef struct parameter_info {
    uint32_t index;
    uint16_t ordinal, offset;
    uint32_t packed; /* bits 18 and up: bytes */
} parameter_info;

static void read_parameters(CUfunction function, const char *at, size_t bytes) {
    const char *end = at + bytes;
    size_t capacity = sizeof function->parameters / sizeof *function->parameters;
    while (at + sizeof(attribute) <= end) {
        attribute header;
        memcpy(&header, at, sizeof header);
        at += sizeof header;
        if (header.form != FORM_SIZED) {
            continue;
        }
        if (header.number == PARAMETER_INFO && header.value >= sizeof(parameter_info)) {
            parameter_info info;
            memcpy(&info, at, sizeof info);
            if (info.ordinal < capacity) {
                function->parameters[info.ordinal].offset = info.offset;
                function->parameters[info.ordinal].bytes = info.packed >> 18;
                size_t last = info.offset + (info.packed >> 18);
                function->parameter_bytes = last > function->parameter_bytes ? last : function->parameter_bytes;
                if (info.ordinal >= function->parameter_count) {
                    function->parameter_count = info.ordinal + 1U;
                }
            }
        }
        at += header.value;
    }
}

CUresult elf_read(CUmodule module, const void *image) {
    const Elf64_Ehdr *header = image;
    const char *start = image;
    enum { CUDA_MACHINE = 190 };
    NEED(header->e_machine == CUDA_MACHINE && header->e_shnum, CUDA_ERROR_INVALID_IMAGE);
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(start + header->e_shoff);
    const char *names = start + sections[header->e_shstrndx].sh_offset;
    for (unsigned i = 0; i < header->e_shnum; i++) {
        const char *name = names + sections[i].sh_name;
        if (strncmp(name, ".text.", 6) != 0) {
            continue;
        }
        CUfunction function;
        NEED_OK(module_add_function(module, name + 6, strlen(name + 6), &function));
        for (unsigned j = 0; j < header->e_shnum; j++) {
            const char *info = names + sections[j].sh_name;
            if (strncmp(info, ".nv.info.", 9) == 0 && strcmp(info + 9, name + 6) == 0) {
                read_parameters(function, start + sections[j].sh_offset, sections[j].sh_size);
            }
        }
    }
    for (unsigned i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB) {
            continue;
        }
        const Elf64_Sym *symbols = (const Elf64_Sym *)(start + sections[i].sh_offset);
        const char *texts = start + sections[sections[i].sh_link].sh_offset;
        for (size_t j = 0; j < sections[i].sh_size / sizeof *symbols; j++) {
            if (ELF64_ST_TYPE(symbols[j].st_info) == STT_OBJECT && symbols[j].st_size) {
                const char *name = texts + symbols[j].st_name;
                NEED_OK(module_add_global(module, name, strlen(name), symbols[j].st_size));
            }
        }
    }
    return CUDA_SUCCESS;
}
