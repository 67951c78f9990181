// A thread that wakes twice a second and rewrites one line.
#include "tools/progress.h"
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void *draw(void *user) {
  sq_progress *p = user;
  static const char wheel[] = "|/-\\";
  struct timespec next;
  clock_gettime(CLOCK_REALTIME, &next);
  int half_seconds = 0;
  pthread_mutex_lock(&p->lock);
  while (!p->done) {
    next.tv_nsec += 500000000;
    if (next.tv_nsec >= 1000000000) {
      next.tv_nsec -= 1000000000;
      next.tv_sec++;
    }
    if (pthread_cond_timedwait(&p->wake, &p->lock, &next) != ETIMEDOUT) continue;
    if (++half_seconds >= 2)
      fprintf(stderr, "\r%c %s ... %d s ", wheel[half_seconds % 4], p->what, half_seconds / 2);
  }
  pthread_mutex_unlock(&p->lock);
  if (half_seconds >= 2) fprintf(stderr, "\r\033[K");
  return NULL;
}

void sq_progress_begin(sq_progress *p, const char *what) {
  *p = (sq_progress){.what = what};
  if (!isatty(2)) return;
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->wake, NULL);
  p->running = !pthread_create(&p->thread, NULL, draw, p);
  if (p->running) return;
  pthread_cond_destroy(&p->wake);
  pthread_mutex_destroy(&p->lock);
}

void sq_progress_end(sq_progress *p) {
  if (!p->running) return;
  pthread_mutex_lock(&p->lock);
  p->done = true;
  pthread_cond_signal(&p->wake);
  pthread_mutex_unlock(&p->lock);
  pthread_join(p->thread, NULL);
  pthread_cond_destroy(&p->wake);
  pthread_mutex_destroy(&p->lock);
  p->running = false;
}
