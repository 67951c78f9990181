// Scans of states that read each other as kernels of a device: all that tests/unit/test_dense.c asks of the CPU,
// at the edges of longer stretches, under the emulation of CUDA.
#define CHECK_TARGETS "cuda-emu"
#define CHECK_TURNS "N=31", "N=32", "N=33", "N=255", "N=256", "N=257", "N=300", "N=1021"
#include "tests/unit/test_dense.c"
