// The clock, and traces in the Trace Event Format: one complete event an entry and one a kernel.
#include "tools/trace.h"
#include <time.h>

double sq_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct event {
  const char *label;
  double begin, end;
  bool entry;
} event;
enum { MOST_EVENTS = 1 << 20 };
struct sq_trace {
  sq_ctx *ctx;
  double start;
  SQ_VEC(event) events;
  uint32_t entry;   // number + 1 of the entry in progress
  bool kernel;      // the last event is a kernel in progress
  uint64_t dropped; // beyond MOST_EVENTS
};

sq_trace *sq_trace_new(sq_ctx *ctx) {
  sq_trace *t = SQ_NEW(&ctx->arena, sq_trace);
  t->ctx = ctx;
  t->start = sq_clock();
  return t;
}

void sq_trace_mark(void *user, const char *label, bool entry) {
  sq_trace *t = user;
  double now = sq_clock();
  if (t->kernel) t->events.v[t->events.n - 1].end = now;
  t->kernel = false;
  if (!label) {
    if (t->entry) t->events.v[t->entry - 1].end = now;
    t->entry = 0;
    return;
  }
  if (t->events.n == MOST_EVENTS) {
    t->dropped++;
    return;
  }
  const char *kept = sq_intern_z(&t->ctx->names, label);
  sq_push(&t->ctx->arena, &t->events, (event){kept, sq_clock(), now, entry});
  if (entry)
    t->entry = t->events.n;
  else
    t->kernel = true;
}

static void add_quoted(sq_text *out, const char *s) {
  sq_text_put(out, "\"", 1);
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') sq_text_put(out, "\\", 1);
    sq_text_put(out, (unsigned char)*s < 32 ? " " : s, 1);
  }
  sq_text_put(out, "\"", 1);
}

sq_status sq_trace_write(const sq_trace *t, const char *path, const char **message) {
  sq_text out = {.arena = &t->ctx->arena};
  sq_text_add(
      &out, "{\"displayTimeUnit\": \"ms\", \"otherData\": {\"dropped\": %llu}, \"traceEvents\": [",
      (unsigned long long)t->dropped);
  for (uint32_t k = 0; k < t->events.n; k++) {
    const event *e = &t->events.v[k];
    sq_text_add(
        &out,
        "%s\n{\"ph\": \"X\", \"pid\": 1, \"tid\": 1, \"cat\": \"%s\", \"ts\": %.3f, \"dur\": "
        "%.3f, \"name\": ",
        k ? "," : "", e->entry ? "entry" : "kernel", (e->begin - t->start) * 1e6,
        (e->end > e->begin ? e->end - e->begin : 0) * 1e6);
    add_quoted(&out, e->label);
    sq_text_put(&out, "}", 1);
  }
  sq_text_add(&out, "\n]}\n");
  return sq_file_write(&t->ctx->arena, path, out.v, out.n, message);
}
