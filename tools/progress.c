// A thread that wakes twice a second and rewrites one line.
#include "tools/progress.h"
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

void sq_progress_text(const sq_progress *p, int seconds, char *to, size_t size) {
  enum { WIDTH = 20 };
  static const char full[WIDTH + 1] = "####################",
                                 empty[WIDTH + 1] = "....................";
  size_t done = 0, all = 0;
  if (p->part) p->part(p->user, &done, &all);
  if (done >= all) {
    snprintf(to, size, "%s ... %d s", p->what, seconds);
    return;
  }
  int n = (int)(done * WIDTH / all);
  snprintf(to, size, "%s: weights [%.*s%.*s] %zu of %zu ... %d s", p->what, n, full, WIDTH - n,
           empty, done, all, seconds);
}

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
    if (++half_seconds < 2) continue;
    char text[256];
    sq_progress_text(p, half_seconds / 2, text, sizeof text);
    fprintf(stderr, "\r\033[K%c %s ", wheel[half_seconds % 4], text);
  }
  pthread_mutex_unlock(&p->lock);
  if (half_seconds >= 2) fprintf(stderr, "\r\033[K");
  return NULL;
}

void sq_progress_begin(sq_progress *p, const char *what) {
  sq_progress_begin_with(p, what, NULL, NULL);
}

void sq_progress_begin_with(sq_progress *p, const char *what, sq_progress_part part,
                            const void *user) {
  *p = (sq_progress){.what = what, .part = part, .user = user};
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
