// The text of device/, in the program: what kernels are written in is compiled with them, so it must be
// there wherever seqm runs.
#include "codegen/cuda/cuda.h"

#define WORDS(symbol, file)                                                                        \
  __asm__(".pushsection .rodata\n"                                                                 \
          ".globl " #symbol "\n"                                                                   \
          ".hidden " #symbol "\n" #symbol ":\n"                                                    \
          ".incbin \"" SQ_CUDA_DEVICE "/" file "\"\n"                                              \
          ".byte 0\n"                                                                              \
          ".popsection\n")
WORDS(sq_cuda_types, "types.cuh");
WORDS(sq_cuda_common, "common.cuh");
WORDS(sq_cuda_gpu, "gpu.cuh");
WORDS(sq_cuda_emu, "emu.cuh");
WORDS(sq_cuda_emu_thread, "emu_thread.h");
