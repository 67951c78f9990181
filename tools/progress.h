// A line on the terminal while something lasts: "compiling gpt2.seqm ... 3 s", from the first
// second on, erased at the end. Nothing when stderr is not a terminal.
#pragma once
#include <pthread.h>
#include <stdbool.h>

typedef struct sq_progress {
  const char *what;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool running, done;
} sq_progress;

void sq_progress_begin(sq_progress *p, const char *what);
void sq_progress_end(sq_progress *p); // exactly once after each begin
