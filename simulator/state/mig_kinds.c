/* Kinds of GPU instances, as nvidia-smi mig -lgip lists them on GPUs of these models. */
#include "simulator/state/profiles.h"

/* NVML's numbers for kinds. */
enum { SLICE_1, SLICE_2, SLICE_3, SLICE_4, SLICE_7, SLICE_1_MEDIA = 7, SLICE_1_MORE_MEMORY = 9 };

const sim_mig_kind sim_mig_a100[] = {
    {SLICE_1, 19, "", 1, 1, 7, 14, .copy = 1},
    {SLICE_1_MEDIA, 20, "+me", 1, 1, 1, 14, .copy = 1, .decode = 1, .jpeg = 1, .flow = 1},
    {SLICE_1_MORE_MEMORY, 15, "", 1, 2, 4, 14, .copy = 1, .decode = 1},
    {SLICE_2, 14, "", 2, 2, 3, 28, .copy = 2, .decode = 1},
    {SLICE_3, 9, "", 3, 4, 2, 42, .copy = 3, .decode = 2},
    {SLICE_4, 5, "", 4, 4, 1, 56, .copy = 4, .decode = 2},
    {SLICE_7, 0, "", 7, 8, 1, 98, .copy = 7, .decode = 5, .jpeg = 1, .flow = 1},
    {0},
};

const sim_mig_kind sim_mig_h100[] = {
    {SLICE_1, 19, "", 1, 1, 7, 16, .copy = 1, .decode = 1, .jpeg = 1},
    {SLICE_1_MEDIA, 20, "+me", 1, 1, 1, 16, .copy = 1, .decode = 1, .jpeg = 1, .flow = 1},
    {SLICE_1_MORE_MEMORY, 15, "", 1, 2, 4, 26, .copy = 1, .decode = 1, .jpeg = 1},
    {SLICE_2, 14, "", 2, 2, 3, 32, .copy = 2, .decode = 2, .jpeg = 2},
    {SLICE_3, 9, "", 3, 4, 2, 60, .copy = 3, .decode = 3, .jpeg = 3},
    {SLICE_4, 5, "", 4, 4, 1, 64, .copy = 4, .decode = 4, .jpeg = 4},
    {SLICE_7, 0, "", 7, 8, 1, 132, .copy = 8, .decode = 7, .jpeg = 7, .flow = 1},
    {0},
};

/* Without those for graphics. */
const sim_mig_kind sim_mig_rtxpro6000[] = {
    {SLICE_1, 14, "", 1, 1, 4, 46, .copy = 1, .decode = 1, .encode = 1, .jpeg = 1},
    {SLICE_1_MEDIA, 21, "+me", 1, 1, 1, 46, .copy = 1, .decode = 1, .encode = 1, .jpeg = 1, .flow = 1},
    {SLICE_2, 5, "", 2, 2, 2, 94, .copy = 2, .decode = 2, .encode = 2, .jpeg = 2},
    {SLICE_4, 0, "", 4, 4, 1, 188, .copy = 4, .decode = 4, .encode = 4, .jpeg = 4, .flow = 1},
    {0},
};
