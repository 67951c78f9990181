// This machine's measured limits, for reports. Measuring takes a second; `seqm bench --calibrate` keeps
// what it finds in the cache folder, where it holds until the processor or the number of threads is
// another.
#pragma once
#include "codegen/codegen.h"

typedef struct sq_peak {
  double flops;              // f32 multiply-adds counted as 2, per second, all threads together
  double bytes;              // reading memory, per second
  double l2_bytes, l3_bytes; // reading what each core has in the cache, per second; 0: not measured
  double l2_size, l3_size;   // bytes that all threads have together; 0: not known
} sq_peak;
// What is known of the machine, else measured now.
sq_peak sq_peak_find(sq_ctx *ctx, int threads);
// What is kept of the target's machine with all its cores; false when it was not calibrated.
bool sq_peak_known(sq_ctx *ctx, const char *dir, const sq_target *t, sq_rates *rates);
// Measures all, keeps it and prints it. SQ_EWORLD, with a message on stderr, where it cannot be kept.
sq_status sq_peak_calibrate(sq_ctx *ctx, int threads);
// Of the context's CUDA device (peak_device.c): copies within its memory, measured; operations by its
// clock.
struct seqm_context;
sq_peak sq_peak_device(struct seqm_context *ctx);
