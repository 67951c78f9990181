// A sweep for threads that have no vectors and many registers: how the parts of its values lie in the
// registers of a team of threads.
//
//   h[c, n] = a[t, c, n] h[c, n] + ...; y[t, c] = sum(n) h[c, n] q[t, n]     c < 4096, n < 16
//     lanes c; a team is one thread, which has all n
//   S[h, e, c] = g S[h, e, c] + k[t, h, e] v[t, h, c]; y = sum(e) S q        e < 128
//     lanes h and c; a team of 8 threads shares out e; what is summed over e is summed across the team
//
// Shared out is one class of axes that no operation has twice, and at which nothing is read elsewhere than
// at its own index: then each thread needs its own elements alone.
#pragma once
#include "ir/sweep.h"

// A class is shared out when a thread would have more than SHARE words; without one it may have MOST.
enum { SQ_SWEEP_SHARE = 64, SQ_SWEEP_MOST = 128, SQ_SWEEP_TEAM = 32 };

typedef struct sq_sweep_team {
  uint32_t split;    // the class; SQ_SWEEP_NONE: a team is one thread
  uint32_t threads;  // a power of 2
  uint32_t elements; // of all values together, in words of 4 bytes, that a thread has
  const char *why;   // NULL, or why they do not fit
} sq_sweep_team;
sq_sweep_team sq_sweep_team_make(const sq_sweep *s);
// Elements of a value that one thread has.
uint32_t sq_sweep_team_share(const sq_sweep *s, const sq_sweep_team *t, uint32_t value);
