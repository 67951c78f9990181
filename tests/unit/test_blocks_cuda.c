// Scans in blocks of turns as kernels of a device: all that tests/unit/test_blocks.c asks of the CPU, under
// the emulation of CUDA.
#define CHECK_TARGETS "cuda-emu"
#include "tests/unit/test_blocks.c"
