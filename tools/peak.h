// This machine's measured limits, for reports: a fraction of a second each.
#pragma once

typedef struct sq_peak {
  double flops; // f32 multiply-adds counted as 2, per second, all `threads` together
  double bytes; // reading memory, per second
} sq_peak;
sq_peak sq_peak_measure(int threads);
