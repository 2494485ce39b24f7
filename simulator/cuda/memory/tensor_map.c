/* Tensor maps, which tell a GPU's tensor copies what memory to walk through. No copy runs here, so what is checked is all that
 * there is; the form of the 128 bytes is our own. */
#include "simulator/cuda/core/context.h"
#include "simulator/cuda/core/later.h"

enum { TILED, IM2COL, IM2COL_WIDE };
enum { FLOAT16 = 6, FLOAT32_TF32_FTZ = 12, U4_ALIGN_8 = 13, U4_ALIGN_16 = 14, U6_ALIGN_16 = 15 };
enum { INTERLEAVE_NONE, INTERLEAVE_16, INTERLEAVE_32 };
enum { SWIZZLE_NONE, SWIZZLE_32, SWIZZLE_64, SWIZZLE_128, SWIZZLE_128_ATOM_32, SWIZZLE_128_ATOM_32_FLIP, SWIZZLE_LAST };
enum { PROMOTION_LAST = 3, WIDE_MODE_W = 0, WIDE_MODE_LAST = 1 };
enum { MOST_DIMENSIONS = 5, MAP_ALIGNMENT = 64, MOST_BOX = 256, MOST_STEP = 8, MOST_PIXELS = 1024, PACKED_BOX = 128 };
#define MARK 0x756e6967707574ULL
#define MOST_ELEMENTS (1ULL << 31)
#define STRIDE_END (1ULL << 40)

/* What the kinds of maps have in common. */
typedef struct layout {
    unsigned kind, type, rank;
    const void *address;
    const uint64_t *sizes, *strides;
    const uint32_t *steps;
    unsigned interleave, swizzle, promotion, fill;
    uint32_t inner; /* elements of the box's first dimension */
} layout;

/* Bits that an element takes in shared memory; those that are packed there with gaps take as much as the gaps make them. */
static unsigned bits_of(unsigned type) {
    static const unsigned char bits[] = {8, 16, 32, 32, 64, 64, 16, 32, 64, 16, 32, 32, 32, 4, 8, 8};
    return bits[type];
}

static bool is_packed_wide(unsigned type) {
    return type == U4_ALIGN_16 || type == U6_ALIGN_16;
}

static bool address_fits(const void *address, unsigned type, unsigned interleave) {
    unsigned alignment = interleave == INTERLEAVE_32 || is_packed_wide(type) ? 32 : 16;
    return address && (uintptr_t)address % alignment == 0;
}

/* Swizzles that the packed types don't have. */
static bool swizzle_fits(const layout *of) {
    bool usual = of->swizzle == SWIZZLE_NONE || of->swizzle == SWIZZLE_128 || of->swizzle == SWIZZLE_128_ATOM_32;
    return !is_packed_wide(of->type) || usual || (of->type == U6_ALIGN_16 && of->swizzle == SWIZZLE_LAST);
}

static CUresult check_modes(const layout *of) {
    NEED(of->interleave <= INTERLEAVE_32 && of->swizzle <= SWIZZLE_LAST, CUDA_ERROR_INVALID_VALUE);
    NEED(of->promotion <= PROMOTION_LAST && of->fill <= 1, CUDA_ERROR_INVALID_VALUE);
    NEED(of->interleave == INTERLEAVE_NONE || of->rank >= 3, CUDA_ERROR_INVALID_VALUE);
    NEED(of->interleave == INTERLEAVE_NONE || of->type != U6_ALIGN_16, CUDA_ERROR_INVALID_VALUE);
    NEED(of->interleave != INTERLEAVE_32 || of->swizzle == SWIZZLE_32, CUDA_ERROR_INVALID_VALUE);
    NEED(!of->fill || (of->type >= FLOAT16 && of->type <= FLOAT32_TF32_FTZ), CUDA_ERROR_INVALID_VALUE);
    NEED(swizzle_fits(of), CUDA_ERROR_INVALID_VALUE);
    return CUDA_SUCCESS;
}

static CUresult check_box(const layout *of) {
    static const unsigned spans[] = {0, 32, 64, 128, 128, 128, 128};
    NEED(of->inner && of->inner <= MOST_BOX, CUDA_ERROR_INVALID_VALUE);
    NEED(!is_packed_wide(of->type) || of->inner == PACKED_BOX, CUDA_ERROR_INVALID_VALUE);
    if (of->interleave == INTERLEAVE_NONE) {
        unsigned bits = of->inner * bits_of(of->type);
        NEED(bits % (16 * 8) == 0, CUDA_ERROR_INVALID_VALUE);
        NEED(of->swizzle == SWIZZLE_NONE || bits <= spans[of->swizzle] * 8, CUDA_ERROR_INVALID_VALUE);
    }
    return CUDA_SUCCESS;
}

static CUresult check(const CUtensorMap *map, const layout *of) {
    NEED_CONTEXT(current);
    unsigned capability = of->kind == IM2COL_WIDE ? 10 : 9;
    NEED(current->device->profile->major >= (int)capability, CUDA_ERROR_NOT_SUPPORTED);
    NEED(map && (uintptr_t)map % MAP_ALIGNMENT == 0, CUDA_ERROR_INVALID_VALUE);
    NEED(of->type <= U6_ALIGN_16 && of->sizes && of->steps, CUDA_ERROR_INVALID_VALUE);
    NEED(of->rank >= (of->kind == TILED ? 1 : 3) && of->rank <= MOST_DIMENSIONS, CUDA_ERROR_INVALID_VALUE);
    NEED(of->strides || of->rank == 1, CUDA_ERROR_INVALID_VALUE);
    NEED_OK(check_modes(of));
    NEED(address_fits(of->address, of->type, of->interleave), CUDA_ERROR_INVALID_VALUE);
    unsigned multiple = of->interleave == INTERLEAVE_32 || is_packed_wide(of->type) ? 32 : 16;
    unsigned whole = is_packed_wide(of->type) ? PACKED_BOX : of->type == U4_ALIGN_8 ? 2 : 1;
    NEED(of->sizes[0] % whole == 0, CUDA_ERROR_INVALID_VALUE);
    for (unsigned i = 0; i < of->rank; i++) {
        bool ignored = i == 0 && of->interleave == INTERLEAVE_NONE;
        NEED(of->sizes[i] && of->sizes[i] <= MOST_ELEMENTS, CUDA_ERROR_INVALID_VALUE);
        NEED(ignored || (of->steps[i] && of->steps[i] <= MOST_STEP), CUDA_ERROR_INVALID_VALUE);
        bool last = i + 1 == of->rank;
        NEED(last || (of->strides[i] % multiple == 0 && of->strides[i] < STRIDE_END), CUDA_ERROR_INVALID_VALUE);
    }
    return check_box(of);
}

static void encode(CUtensorMap *map, const layout *of) {
    *map = (CUtensorMap){{(uintptr_t)of->address, MARK,
                          of->type | of->rank << 8 | of->interleave << 16 | of->swizzle << 24,
                          of->promotion | of->fill << 8 | of->kind << 16 | (uint64_t)of->inner << 32}};
    for (unsigned i = 0; i < of->rank; i++) {
        map->words[4 + i] = of->sizes[i];
        map->words[4 + MOST_DIMENSIONS + i] = i + 1 < of->rank ? of->strides[i] : 0;
    }
}

CUresult cuTensorMapEncodeTiled(CUtensorMap *tensor_map, CUtensorMapDataType type, uint32_t rank, void *address,
                                const uint64_t *sizes, const uint64_t *strides, const uint32_t *box,
                                const uint32_t *steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
    layout of = {TILED, type,       rank,    address,   sizes, strides,
                 steps, interleave, swizzle, promotion, fill,  box ? *box : 0};
    NEED_OK(check(tensor_map, &of));
    for (unsigned i = 0; i < rank; i++) {
        NEED(box[i] && box[i] <= MOST_BOX, CUDA_ERROR_INVALID_VALUE);
    }
    encode(tensor_map, &of);
    return CUDA_SUCCESS;
}

/* Offsets of the box's corners: with fewer dimensions they may be larger. */
static bool corners_fit(unsigned rank, const int *lower, const int *upper) {
    int most = rank == 3 ? 32768 : rank == 4 ? 128 : 16;
    bool fit = lower && upper;
    for (unsigned i = 0; fit && i < rank - 2; i++) {
        fit = lower[i] >= -most && lower[i] < most && upper[i] >= -most && upper[i] < most;
    }
    return fit;
}

/* Whether anything lies between two corners along a dimension. */
static bool has_room(uint64_t size, int lower, int upper) {
    return (int64_t)size + upper - lower > 0;
}

CUresult cuTensorMapEncodeIm2col(CUtensorMap *tensor_map, CUtensorMapDataType type, uint32_t rank, void *address,
                                 const uint64_t *sizes, const uint64_t *strides, const int *lower, const int *upper,
                                 uint32_t channels, uint32_t pixels, const uint32_t *steps,
                                 CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                 CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
    layout of = {IM2COL, type, rank, address, sizes, strides, steps, interleave, swizzle, promotion, fill, channels};
    NEED_OK(check(tensor_map, &of));
    NEED(pixels && pixels <= MOST_PIXELS && corners_fit(rank, lower, upper), CUDA_ERROR_INVALID_VALUE);
    NEED(rank != 3 || has_room(sizes[1], *lower, *upper), CUDA_ERROR_INVALID_VALUE);
    encode(tensor_map, &of);
    return CUDA_SUCCESS;
}

CUresult cuTensorMapEncodeIm2colWide(CUtensorMap *tensor_map, CUtensorMapDataType type, uint32_t rank, void *address,
                                     const uint64_t *sizes, const uint64_t *strides, int lower, int upper,
                                     uint32_t channels, uint32_t pixels, const uint32_t *steps,
                                     CUtensorMapInterleave interleave, CUtensorMapIm2ColWideMode mode,
                                     CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                                     CUtensorMapFloatOOBfill fill) {
    layout of = {IM2COL_WIDE, type,       rank,    address,   sizes, strides,
                 steps,       interleave, swizzle, promotion, fill,  channels};
    NEED_OK(check(tensor_map, &of));
    NEED(mode <= WIDE_MODE_LAST && swizzle >= SWIZZLE_64 && swizzle <= SWIZZLE_128_ATOM_32, CUDA_ERROR_INVALID_VALUE);
    NEED(mode != WIDE_MODE_W || (pixels && pixels <= MOST_PIXELS), CUDA_ERROR_INVALID_VALUE);
    NEED(corners_fit(3, &lower, &upper) && has_room(sizes[1], lower, upper), CUDA_ERROR_INVALID_VALUE);
    encode(tensor_map, &of);
    return CUDA_SUCCESS;
}

static CUresult check_map(const CUtensorMap *map) {
    NEED_CONTEXT(current);
    NEED(current->device->profile->major >= 9, CUDA_ERROR_NOT_SUPPORTED);
    bool is_one = map && (uintptr_t)map % MAP_ALIGNMENT == 0 && map->words[1] == MARK;
    return is_one ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuTensorMapReplaceAddress(CUtensorMap *tensor_map, void *address) {
    NEED_OK(check_map(tensor_map));
    unsigned type = tensor_map->words[2] & 0xFF, interleave = tensor_map->words[2] >> 16 & 0xFF;
    NEED(address_fits(address, type, interleave), CUDA_ERROR_INVALID_VALUE);
    tensor_map->words[0] = (uintptr_t)address;
    return CUDA_SUCCESS;
}

/* The class makes no difference on these GPUs: it is always the small one. */
CUresult cuTensorMapSetAllocationClass(CUtensorMap *tensor_map, unsigned wanted, unsigned *found) {
    enum { SMALL = 1, LARGE = 2 };
    if (found) {
        *found = SMALL;
    }
    NEED_OK(check_map(tensor_map));
    NEED(wanted <= LARGE, CUDA_ERROR_INVALID_VALUE);
    return CUDA_SUCCESS;
}
