// Scans by Newton's method as kernels of a device: all that tests/unit/test_newton.c asks of the CPU, at the
// edges of longer stretches, under the emulation of CUDA.
#define CHECK_TARGETS "cuda-emu"
#define CHECK_STRETCH 256
#define CHECK_ONE "cuda-emu"
#define CHECK_TURNS "N=255", "N=256", "N=257", "N=300", "N=1021"
#include "tests/unit/test_newton.c"
