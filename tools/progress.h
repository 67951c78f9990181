// A line on the terminal while something lasts: "compiling gpt2.seqm ... 3 s", from the first
// second on, erased at the end; where something says how far it is, with a bar:
// "forward: weights [#####...............] 74 of 290 ... 3 s". Nothing when stderr is not a terminal.
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

// How many of how many are done, asked for by another thread.
typedef void (*sq_progress_part)(const void *user, size_t *done, size_t *all);
typedef struct sq_progress {
  const char *what;
  sq_progress_part part; // NULL: nobody knows
  const void *user;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool running, done;
} sq_progress;

void sq_progress_begin(sq_progress *p, const char *what);
void sq_progress_begin_with(sq_progress *p, const char *what, sq_progress_part part,
                            const void *user);
// What the line says after so many seconds.
void sq_progress_text(const sq_progress *p, int seconds, char *to, size_t size);
void sq_progress_end(sq_progress *p); // exactly once after each begin
