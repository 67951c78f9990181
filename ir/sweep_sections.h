// Sweeps by maps (sweep_prefix.h) whose lanes are fewer than the cores: time is cut into sections of turns,
// for a core each.
//
//   1  the first section: its turns, from where the scan begins; of each other one but the last: the map
//      of all of its turns, of which nothing is kept but that
//   2  the states before each section, from those maps, one after another
//   3  every section but the first: its turns
//
// On P cores for a lane that is P + 1 sections. The map of a section takes `first` of the time that its turns
// take, so the first section has so many turns for each one of the others, and P cores take
// (1 + first) / (P + first) of the time of one that cuts nothing. How many sections there are depends on sizes
// and on the machine that the code is made for, never on the threads that there are: a section's map rounds
// otherwise than its turns.
//
// The map of a section reads once more what its turns read. Where that is from memory a few cores gain nothing,
// and one loses: so many turns that they read and write much more than the last cache holds are not cut.
//
// A map of many turns may overflow where the states do not. A section whose map does not give a state that
// is finite has its turns done in 2.
#pragma once
#include "ir/sweep_prefix.h"

enum { SQ_SECTION_ALIGN = 64, SQ_SECTION_SHARE = 64 };

typedef struct sq_sections {
  const char *why; // NULL, or why time is not cut
  sq_prefix f;     // the sweep's maps
  bool *member;    // per member: are maps of turns made of it?
  uint32_t first;  // turns of the first section for SQ_SECTION_SHARE turns of another
  uint32_t lanes;  // 0: not known
  uint32_t most;   // cores for a lane: at most so many sections and one more
  int64_t least;   // turns of a section, at least
  int64_t up_to;   // turns that are cut, at most
  double alone;    // of the time without cuts, what one thread takes, and
  double together; // as many as cores
} sq_sections;

// NULL, or why the map of many turns is not known before the states are: each state is to be solved for, by
// maps that no state is in. Marks the members that they are made of.
const char *sq_prefix_tied(const sq_sweep *s, const sq_prefix *f, bool *member);
// Makes the maps: what is asked of the sweep's costs is asked before.
sq_sections sq_sections_make(sq_sweep *s, const sq_machine *m);
