// The command line of the generators of random tests:
//   random_graphs [--seed N] [--count N] [--seconds N] [--trials N] [--no-cpu] [--no-shrink]
//   [--attention] [--scans] [--chains] [--print]
//   random_graphs FILE.sir...      the same checks on graphs that are there
#include "tests/fuzz/differ.h"
#include <stdlib.h>
#include <time.h>

typedef struct options {
  uint64_t seed, count;
  double seconds;
  bool shrink, print;
  fz_how how;
  uint32_t failures, large, made;
} options;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void failed(options *o, sq_arena *a, const char *what, const char *text, const char *source,
                   const fz_report *report) {
  printf("FAILED %s: %s: %s\n", what, report->stage, report->message);
  if (source) printf("%s\n", source);
  fflush(stdout);
  o->failures++;
  if (!o->shrink) return;
  const char *small = fz_shrink(a, text, &o->how, sq_arena_fmt(a, "%s", report->stage), 60);
  fz_report *r = fz_report_new();
  fz_how one = o->how;
  one.only = report->stage;
  if (r && fz_check(small, &one, r) == FZ_DIFFERS)
    printf("reduced: %s: %s\n", r->stage, r->message);
  printf("%s\n", small);
  fflush(stdout);
}

static void check_seed(options *o, fz_make *make, uint64_t seed) {
  static const char *const targets[] = {"native", "native", "x86-64-v2"};
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  if (!ctx || setjmp(ctx->guard.jmp)) return;
  const char *source = NULL;
  o->how.seed = seed;
  o->how.orders = seed % 4 == 0;
  o->how.target = targets[seed % 3];
  const char *text = make(ctx, &ctx->arena, seed, &o->how, &source);
  char what[64];
  snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
  if (o->print && text) printf("%s", source ? source : text);
  if (text && !o->print) {
    fz_report *report = fz_report_new();
    fz_result r = report ? fz_check(text, &o->how, report) : FZ_LARGE;
    o->made++;
    if (r == FZ_LARGE) {
      o->large++;
      printf("seed %llu: %s: %s\n", (unsigned long long)seed, report ? report->stage : "",
             report ? report->message : "");
    } else if (r == FZ_SLOW) { // something grows faster than the graph
      printf("FAILED %s: %s: %s\n%s\n", what, report->stage, report->message,
             source ? source : text);
      o->failures++;
    } else if (r == FZ_INVALID) {
      printf("FAILED %s: the generator: %s: %s\n%s\n", what, report->stage, report->message,
             source ? source : text);
      o->failures++;
    } else if (r == FZ_DIFFERS) {
      failed(o, &ctx->arena, what, text, source, report);
    }
  }
  sq_ctx_free(ctx);
}

static void check_file(options *o, const char *path) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  if (!ctx || setjmp(ctx->guard.jmp)) return;
  char *text;
  size_t size;
  const char *why = "";
  fz_report *report = fz_report_new();
  o->how.seed = 1;
  o->how.orders = true;
  if (sq_file_read(&ctx->arena, path, &text, &size, &why)) {
    printf("%s: %s\n", path, why);
    o->failures++;
  } else if (report) {
    o->how.exact = strstr(text, "# exact") != NULL;
    fz_result r = fz_check(text, &o->how, report);
    if (r == FZ_DIFFERS) failed(o, &ctx->arena, path, text, NULL, report);
    if (r == FZ_INVALID || r == FZ_SLOW) {
      printf("FAILED %s: %s: %s\n", path, report->stage, report->message);
      o->failures++;
    }
    o->made++;
  }
  sq_ctx_free(ctx);
}

int fz_main(int argc, char **argv, fz_make *make) {
  options o = {.seed = 1,
               .seconds = 60,
               .shrink = true,
               .how = {.cpu = true, .passes = true, .trials = 6, .seconds = 60}};
  int first = 1;
  for (; first < argc && argv[first][0] == '-'; first++) {
    const char *w = argv[first];
    const char *value = first + 1 < argc ? argv[first + 1] : "";
    if (!strcmp(w, "--no-cpu"))
      o.how.cpu = false;
    else if (!strcmp(w, "--no-passes"))
      o.how.passes = false;
    else if (!strcmp(w, "--cuda"))
      o.how.cuda = true;
    else if (!strcmp(w, "--attention"))
      o.how.attention = true;
    else if (!strcmp(w, "--scans"))
      o.how.scans = true;
    else if (!strcmp(w, "--chains"))
      o.how.chains = true;
    else if (!strcmp(w, "--no-shrink"))
      o.shrink = false;
    else if (!strcmp(w, "--print"))
      o.print = true;
    else if (!strcmp(w, "--seed"))
      o.seed = strtoull(value, NULL, 10), first++;
    else if (!strcmp(w, "--count"))
      o.count = strtoull(value, NULL, 10), first++;
    else if (!strcmp(w, "--seconds"))
      o.seconds = strtod(value, NULL), first++;
    else if (!strcmp(w, "--trials"))
      o.how.trials = (unsigned)strtoul(value, NULL, 10), first++;
    else {
      fprintf(stderr, "%s: unknown option %s\n", argv[0], w);
      return 2;
    }
  }
  if (first < argc) {
    for (; first < argc; first++) check_file(&o, argv[first]);
  } else {
    double end = now() + o.seconds;
    uint64_t n = o.print && !o.count ? 1 : o.count;
    for (uint64_t k = 0; (!n || k < n) && (n || now() < end); k++) check_seed(&o, make, o.seed + k);
  }
  if (!o.print) printf("%u graphs, %u failures, %u too large\n", o.made, o.failures, o.large);
  return o.failures ? 1 : 0;
}
