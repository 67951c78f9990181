// Scans by the maps of turns as kernels of a device: all that tests/unit/test_prefix.c asks of the CPU, and
// sizes at the edges of stretches and chunks, under the emulation of CUDA.
#define CHECK_TARGETS "cuda-emu"
#define CHECK_TURNS "N=127", "N=128", "N=129", "N=300", "N=1024", "N=1025", "N=2053"
#include "tests/unit/test_prefix.c"

// Chunks that each thread of a block has several of.
Test(prefix, of_many_chunks) {
  static const char *const long_ones[] = {"N=140001"};
  prefix_at("sum", "f32", "", "%c * (0.2 * t0) + t1", PLAIN, long_ones, 1);
  prefix_at("max-plus", "f32", "reversed", "maximum(%c + t0, t1)", PLAIN, long_ones, 1);
}
