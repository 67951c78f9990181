// Files: whole regular files mapped for reading; output written beside its place, then renamed.
#pragma once
#include "runtime/internal.h"

typedef struct sq_map {
  const unsigned char *data; // NULL for an empty file
  size_t size;
} sq_map;
int sq_map_open(seqm_context *ctx, const char *path, sq_map *m);
void sq_map_close(sq_map *m);
// A part of a map that will hardly be read again: its pages leave memory, and come back when they are.
void sq_map_forget(const void *data, size_t size);

// An output in the making. An existing file that is not a regular one (a pipe, a device) is written
// in place. After any failure: sq_output_drop, which leaves nothing behind.
typedef struct sq_output {
  seqm_context *ctx;
  const char *path; // as the caller gave it
  char *target, *temporary;
  int fd;
} sq_output;
int sq_output_open(seqm_context *ctx, const char *path, sq_output *o);
int sq_output_write(sq_output *o, const void *data, size_t size);
int sq_output_done(sq_output *o); // also drops
void sq_output_drop(sq_output *o);
