/* The form of a module's image: PTX text, an ELF file, or a fat binary that contains both. */
#include "simulator/cuda/module/image.h"

#include <ctype.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulator/cuda/module/elf.h"
#include "simulator/cuda/module/ptx.h"

#define CONTAINER_MAGIC 0xBA55ED50U
#define WRAPPER_MAGIC 0x466243B1U
#define LINK_TIME_MAGIC 0x7F4E43EDU /* LTO IR */

typedef struct container {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes; /* after the header */
} container;

typedef struct entry {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes; /* after the header */
} entry;

typedef struct wrapper {
    uint32_t magic, version;
    const void *data;
} wrapper;

static uint32_t magic_of(const void *image) {
    uint32_t magic;
    memcpy(&magic, image, sizeof magic);
    return magic;
}

static bool is_text(const char *image) {
    while (isspace((unsigned char)*image)) {
        image++;
    }
    return *image == '.' || *image == '/';
}

static bool is_elf(const void *image) {
    return memcmp(image, ELFMAG, SELFMAG) == 0;
}

static size_t elf_size(const void *image) {
    const Elf64_Ehdr *header = image;
    size_t end = header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
    size_t programs = header->e_phoff + (size_t)header->e_phnum * header->e_phentsize;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)((const char *)image + header->e_shoff);
    for (unsigned i = 0; i < header->e_shnum; i++) {
        size_t last = sections[i].sh_offset + (sections[i].sh_type == SHT_NOBITS ? 0 : sections[i].sh_size);
        end = last > end ? last : end;
    }
    return programs > end ? programs : end;
}

size_t image_size(const void *image) {
    if (is_text(image)) {
        return strlen(image) + 1;
    }
    if (is_elf(image)) {
        return elf_size(image);
    }
    if (magic_of(image) == CONTAINER_MAGIC) {
        const container *header = image;
        return header->header_bytes + header->bytes;
    }
    if (magic_of(image) == WRAPPER_MAGIC) {
        return image_size(((const wrapper *)image)->data);
    }
    if (magic_of(image) == LINK_TIME_MAGIC) {
        return sizeof(uint32_t); /* more of it is never read */
    }
    return 0;
}

void *image_copy(const void *image) {
    size_t size = image_size(image);
    void *copy = size ? malloc(size) : NULL;
    if (copy) {
        bool wrapped = !is_text(image) && magic_of(image) == WRAPPER_MAGIC;
        memcpy(copy, wrapped ? ((const wrapper *)image)->data : image, size);
    }
    return copy;
}

char *file_read(const char *path) {
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return NULL;
    }
    char *text = NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        text = size >= 0 ? malloc((size_t)size + 64) : NULL;
        rewind(file);
        if (text) {
            size_t read = fread(text, 1, (size_t)size, file);
            memset(text + read, 0, 64);
        }
    }
    fclose(file);
    return text;
}

/* The first entry that can be read: compressed ones cannot. */
static CUresult container_read(CUmodule module, const container *header) {
    const char *at = (const char *)header + header->header_bytes;
    const char *end = at + header->bytes;
    while (at + sizeof(entry) <= end) {
        const entry *next = (const entry *)at;
        const char *body = at + next->header_bytes;
        if (is_elf(body)) {
            return elf_read(module, body);
        }
        if (is_text(body)) {
            return ptx_read(module, body);
        }
        at = body + next->bytes;
    }
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

CUresult image_read(CUmodule module, const void *image) {
    if (is_text(image)) {
        return ptx_read(module, image);
    }
    if (is_elf(image)) {
        return elf_read(module, image);
    }
    switch (magic_of(image)) {
    case CONTAINER_MAGIC: return container_read(module, image);
    case WRAPPER_MAGIC: return container_read(module, ((const wrapper *)image)->data);
    case LINK_TIME_MAGIC: return CUDA_SUCCESS; /* packed: which kernels it has isn't seen */
    default: return CUDA_ERROR_INVALID_IMAGE;
    }
}
