// Runs the tests of IR operations: `run_ops TARGET FILE.sir...`, `run_ops --coverage FILE.sir...`,
// `run_ops --failing FILE.sir...` (the interpreter while allocations fail).
//
// A test is a graph whose comments say what to call and what must come out (README.md). Each file
// is read, verified and run on one machine, its steps in order. --coverage fails unless the files
// together use every operation, scalar function, monoid and dtype of the tables in ir/.
#include "tests/ops/run_ops.h"
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

typedef struct tensor_text {
  const char *name;
  int64_t instance; // of a parameter
  sq_tensor64 t;
  double tol; // < 0: the machine's
} tensor_text;

typedef enum step_kind { STEP_RUN, STEP_RESET } step_kind;
typedef struct step {
  step_kind kind;
  int line;
  const char *entry;
  SQ_VEC(tensor_text) in;
  SQ_VEC(tensor_text) expect;
  const char *error; // a part of the message; NULL: must succeed
} step;

typedef struct test {
  const char *path;
  sq_ctx *ctx;
  sq_graph *g;
  SQ_VEC(tensor_text) params;
  SQ_VEC(step) steps;
  int failures;
} test;

static void fault(test *t, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fault(test *t, int line, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "%s:%d: ", t->path, line);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
  va_end(ap);
  t->failures++;
}

// ---- directives --------------------------------------------------------------------------------

static const char *skip(const char *s) {
  while (*s == ' ' || *s == '\t') s++;
  return s;
}

static const char *word(test *t, const char **s) {
  const char *at = skip(*s), *end = at;
  while (*end && !isspace((unsigned char)*end) && *end != '[' && *end != '=') end++;
  *s = end;
  return sq_arena_str(&t->ctx->arena, at, (size_t)(end - at));
}

static bool parse_type(test *t, int line, const char **s, sq_tensor64 *x) {
  const char *name = word(t, s);
  x->dtype = SQ_DTYPE_COUNT;
  for (int k = 0; k < SQ_DTYPE_COUNT; k++)
    if (!strcmp(name, sq_dtype_table[k].name)) x->dtype = (sq_dtype)k;
  if (x->dtype == SQ_DTYPE_COUNT) {
    fault(t, line, "`%s` is no dtype", name);
    return false;
  }
  *s = skip(*s);
  if (**s != '[') return true;
  do {
    char *end;
    ++*s;
    if (x->rank == SQ_MAX_RANK) return false;
    x->dim[x->rank++] = strtoll(*s, &end, 10);
    *s = skip(end);
  } while (**s == ',');
  if (**s != ']') {
    fault(t, line, "`]` is missing");
    return false;
  }
  ++*s;
  return true;
}

// name [instance] = type values... [tol x]; a single value fills the tensor.
static bool parse_tensor(test *t, int line, const char *s, tensor_text *r) {
  *r = (tensor_text){.tol = -1};
  r->name = word(t, &s);
  s = skip(s);
  if (isdigit((unsigned char)*s)) r->instance = strtoll(s, (char **)(uintptr_t)&s, 10);
  s = skip(s);
  if (*s++ != '=') {
    fault(t, line, "`=` is missing after `%s`", r->name);
    return false;
  }
  if (!parse_type(t, line, &s, &r->t)) return false;
  int64_t n = sq_tensor64_count(&r->t), have = 0;
  bool f = sq_is_float(r->t.dtype);
  double *fs = f ? SQ_ARRAY(&t->ctx->arena, double, n + 1) : NULL;
  int64_t *is = f ? NULL : SQ_ARRAY(&t->ctx->arena, int64_t, n + 1);
  r->t.f = fs;
  r->t.i = is;
  for (s = skip(s); *s && strncmp(s, "tol", 3) != 0; s = skip(s)) {
    char *end;
    double v = strtod(s, &end);
    int64_t i = v == floor(v) ? strtoll(s, NULL, 10) : (int64_t)v;
    if (!strncmp(s, "true", 4) || !strncmp(s, "false", 5)) {
      i = *s == 't';
      end = (char *)(uintptr_t)s + (i ? 4 : 5);
    }
    if (end == s || have > n) {
      fault(t, line, "bad or too many values of `%s`", r->name);
      return false;
    }
    if (have < n && f)
      fs[have] = v;
    else if (have < n)
      is[have] = i;
    have++;
    s = end;
  }
  if (*s) r->tol = strtod(s + 3, NULL);
  for (int64_t k = 1; have == 1 && k < n; k++) {
    if (f)
      fs[k] = fs[0];
    else
      is[k] = is[0];
  }
  if (have != n && !(have == 1 && n > 1)) {
    fault(t, line, "`%s` has %lld values, %lld are needed", r->name, (long long)have, (long long)n);
    return false;
  }
  return true;
}

static void directive(test *t, int line, const char *text) {
  sq_arena *a = &t->ctx->arena;
  const char *s = text;
  const char *what = word(t, &s);
  step *last = t->steps.n ? &t->steps.v[t->steps.n - 1] : NULL;
  tensor_text x;
  if (!strcmp(what, "RUN")) {
    sq_push(a, &t->steps, (step){.kind = STEP_RUN, .line = line, .entry = word(t, &s)});
  } else if (!strcmp(what, "RESET")) {
    sq_push(a, &t->steps, (step){.kind = STEP_RESET, .line = line});
  } else if (!strcmp(what, "PARAM")) {
    if (parse_tensor(t, line, s, &x)) sq_push(a, &t->params, x);
  } else if (!strcmp(what, "IN") || !strcmp(what, "EXPECT")) {
    if (!last || last->kind != STEP_RUN)
      fault(t, line, "%s without RUN", what);
    else if (parse_tensor(t, line, s, &x) && *what == 'I')
      sq_push(a, &last->in, x);
    else if (x.name)
      sq_push(a, &last->expect, x);
  } else if (!strcmp(what, "ERROR")) {
    if (last) last->error = skip(s);
  }
}

static void directives(test *t, char *text) {
  int line = 1;
  for (char *s = text; *s; line++) {
    char *end = strchr(s, '\n');
    size_t n = end ? (size_t)(end - s) : strlen(s);
    if (*s == '#') directive(t, line, sq_arena_str(&t->ctx->arena, s + 1, n - 1));
    s += n + (end != NULL);
  }
}

// ---- the interpreter as a machine --------------------------------------------------------------

static double interp_tolerance(sq_dtype t) {
  (void)t;
  return 1e-12;
}

static void *interp_open(sq_graph *g, sq_eval_load load, void *user, char *message, size_t size) {
  sq_eval *e = sq_eval_new(g, load, user);
  if (!e) snprintf(message, size, "out of memory");
  return e;
}

static sq_status interp_call(void *m, sq_func *f, const sq_tensor64 *in, uint32_t n_in,
                             sq_tensor64 **out, uint32_t *n_out) {
  return sq_eval_call(m, f, in, n_in, out, n_out);
}
static const char *interp_message(void *m) { return sq_eval_message(m); }
static sq_status interp_reset(void *m) { return sq_eval_reset(m); }
static void interp_close(void *m) { sq_eval_free(m); }

const ops_machine ops_interp = {"interp",       interp_tolerance, interp_open, interp_call,
                                interp_message, interp_reset,     interp_close};

// ---- running -----------------------------------------------------------------------------------

static sq_status load_param(void *user, uint32_t param, uint32_t instance, sq_tensor64 *out) {
  test *t = user;
  const char *name = t->g->param.v[param].name;
  for (uint32_t k = 0; k < t->params.n; k++) {
    const tensor_text *p = &t->params.v[k];
    if (strcmp(p->name, name) != 0 || p->instance != instance) continue;
    int64_t n = sq_tensor64_count(out);
    if (p->t.dtype != out->dtype || sq_tensor64_count(&p->t) != n) return SQ_EMODEL;
    if (out->f)
      memcpy(out->f, p->t.f, (size_t)n * sizeof *out->f);
    else
      memcpy(out->i, p->t.i, (size_t)n * sizeof *out->i);
    return SQ_OK;
  }
  return SQ_EMODEL;
}

static const tensor_text *find_tensor(const tensor_text *v, uint32_t n, const char *name) {
  for (uint32_t k = 0; k < n; k++)
    if (!strcmp(v[k].name, name)) return &v[k];
  return NULL;
}

static bool close_to(double have, double want, double tol) {
  if (isnan(want)) return isnan(have);
  if (have == want) return true;
  return fabs(have - want) <= tol * fmax(1, fabs(want)); // false for nan and inf
}

static void compare(test *t, const step *s, const tensor_text *want, const sq_tensor64 *have,
                    const ops_machine *m) {
  bool shape = have->dtype == want->t.dtype && have->rank == want->t.rank;
  for (uint32_t a = 0; shape && a < have->rank; a++) shape = have->dim[a] == want->t.dim[a];
  if (!shape) {
    fault(t, s->line, "`%s` has another type or shape (%s, rank %u, first axis %lld)", want->name,
          sq_dtype_table[have->dtype].name, have->rank, have->rank ? (long long)have->dim[0] : 1ll);
    return;
  }
  double tol = want->tol >= 0 ? want->tol : m->tolerance(have->dtype);
  int64_t n = sq_tensor64_count(have);
  for (int64_t k = 0; k < n; k++) {
    if (have->f ? close_to(have->f[k], want->t.f[k], tol) : have->i[k] == want->t.i[k]) continue;
    if (have->f)
      fault(t, s->line, "`%s`: element %lld is %.17g, expected %.17g", want->name, (long long)k,
            have->f[k], want->t.f[k]);
    else
      fault(t, s->line, "`%s`: element %lld is %lld, expected %lld", want->name, (long long)k,
            (long long)have->i[k], (long long)want->t.i[k]);
    return;
  }
}

static void run_step(test *t, const step *s, const ops_machine *m, void *machine) {
  if (s->kind == STEP_RESET) {
    if (m->reset(machine) != SQ_OK) fault(t, s->line, "reset: %s", m->message(machine));
    return;
  }
  sq_func *f = sq_func_find(t->g, s->entry);
  if (!f) {
    fault(t, s->line, "no entry `%s`", s->entry);
    return;
  }
  uint32_t n_in = f->body->args.n, n_out = 0;
  sq_tensor64 *in = SQ_ARRAY(&t->ctx->arena, sq_tensor64, n_in + 1), *out = NULL;
  for (uint32_t k = 0; k < n_in; k++) {
    const tensor_text *x = find_tensor(s->in.v, s->in.n, f->in_names.v[k]);
    if (!x) {
      fault(t, s->line, "no input `%s`", f->in_names.v[k]);
      return;
    }
    in[k] = x->t;
  }
  sq_status status = m->call(machine, f, in, n_in, &out, &n_out);
  if (s->error) {
    if (status == SQ_OK)
      fault(t, s->line, "succeeds, expected: %s", s->error);
    else if (!strstr(m->message(machine), s->error))
      fault(t, s->line, "fails with: %s, expected: %s", m->message(machine), s->error);
    return;
  }
  if (status != SQ_OK) {
    fault(t, s->line, "fails with: %s", m->message(machine));
    return;
  }
  for (uint32_t k = 0; k < s->expect.n; k++) {
    const tensor_text *want = &s->expect.v[k];
    uint32_t o = 0;
    while (o < f->out_names.n && strcmp(f->out_names.v[o], want->name) != 0) o++;
    if (o < n_out)
      compare(t, s, want, &out[o], m);
    else
      fault(t, s->line, "no output `%s`", want->name);
  }
}

// Reads and verifies; false after saying why not.
static bool open_test(test *t, const char *path) {
  *t = (test){.path = path, .ctx = sq_ctx_new(sq_alloc_libc())};
  if (!t->ctx) return false;
  char *text;
  size_t size;
  const char *why;
  if (sq_file_read(&t->ctx->arena, path, &text, &size, &why) != SQ_OK) {
    fault(t, 0, "%s", why);
    return false;
  }
  t->g = sq_graph_read(t->ctx, &t->ctx->arena, path, text, size);
  if (!t->g) {
    fprintf(stderr, "%s", sq_diags_render(&t->ctx->diags));
    t->failures++;
    return false;
  }
  sq_text faults = {.arena = &t->ctx->arena};
  if (!sq_graph_verify(t->g, &faults)) {
    fault(t, 0, "the graph is not well-formed:\n%s", faults.v);
    return false;
  }
  directives(t, sq_arena_str(&t->ctx->arena, text, size));
  return true;
}

static int run_file(const ops_machine *m, const char *path) {
  test *t = calloc(1, sizeof *t);
  if (!t) return 1;
  if (open_test(t, path)) {
    char message[1024] = "";
    void *machine = t->failures ? NULL : m->open(t->g, load_param, t, message, sizeof message);
    if (!machine && !t->failures) fault(t, 0, "%s: %s", m->name, message);
    for (uint32_t k = 0; machine && k < t->steps.n; k++) run_step(t, &t->steps.v[k], m, machine);
    if (!t->steps.n) fault(t, 0, "nothing is run");
    if (machine) m->close(machine);
  }
  int failures = t->failures + !t->ctx;
  if (t->ctx) sq_ctx_free(t->ctx);
  free(t);
  printf("%s %s %s\n", failures ? "FAIL" : "ok  ", m->name, path);
  return failures != 0;
}

// ---- failing allocations -----------------------------------------------------------------------

typedef struct failing {
  long live, left;
} failing;

static void *failing_alloc(void *user, void *p, size_t size) {
  failing *f = user;
  if (!size) {
    f->live -= p != NULL;
    free(p);
    return NULL;
  }
  if (f->left == 0) return NULL; // this one and all after it
  f->left--;
  void *q = realloc(p, size);
  f->live += !p && q;
  return q;
}

static sq_status failing_step(test *t, const step *s, sq_eval *e) {
  if (s->kind == STEP_RESET) return sq_eval_reset(e);
  sq_func *f = sq_func_find(t->g, s->entry);
  sq_tensor64 in[16], *out;
  uint32_t n_out, n_in = f ? f->body->args.n : 0;
  for (uint32_t k = 0; k < n_in; k++) {
    const tensor_text *x = k < 16 ? find_tensor(s->in.v, s->in.n, f->in_names.v[k]) : NULL;
    if (!x) return SQ_OK;
    in[k] = x->t;
  }
  return f ? sq_eval_call(e, f, in, n_in, &out, &n_out) : SQ_OK;
}

// All steps on the interpreter while allocation n and those after it fail; whether none did.
static bool run_failing(test *t, long n) {
  failing f = {.left = n};
  sq_alloc keep = t->ctx->alloc;
  t->ctx->alloc = (sq_alloc){failing_alloc, &f};
  sq_eval *e = sq_eval_new(t->g, load_param, t);
  t->ctx->alloc = keep;
  for (uint32_t k = 0; e && k < t->steps.n; k++) {
    sq_status r = failing_step(t, &t->steps.v[k], e);
    if (r == SQ_EUSAGE || (f.left && r == SQ_EWORLD))
      fault(t, t->steps.v[k].line, "allocation %ld: %s", n, sq_eval_message(e));
  }
  sq_eval_free(e);
  if (f.live) fault(t, 0, "%ld allocations are lost when number %ld fails", f.live, n);
  return f.left != 0;
}

static int run_failing_file(const char *path) {
  test *t = calloc(1, sizeof *t);
  if (!t) return 1;
  if (open_test(t, path)) {
    long n = 0;
    while (!run_failing(t, n) && !t->failures && n < 100000) n++;
  }
  int failures = t->failures + !t->ctx;
  if (t->ctx) sq_ctx_free(t->ctx);
  free(t);
  printf("%s failing allocations %s\n", failures ? "FAIL" : "ok  ", path);
  return failures != 0;
}

// ---- coverage ----------------------------------------------------------------------------------

typedef struct coverage {
  bool op[SQ_OP_COUNT], ew[SQ_EW_COUNT], monoid[SQ_MONOID_COUNT], dtype[SQ_DTYPE_COUNT];
} coverage;

static void cover(sq_node *n, void *user) {
  coverage *c = user;
  c->op[n->op] = true;
  c->monoid[n->monoid] = true;
  for (uint32_t k = 0; k < n->n_out; k++) c->dtype[n->out[k]->type.dtype] = true;
  if (!n->g) return;
  c->monoid[n->g->monoid] = true;
  for (uint32_t k = 0; k < n->g->s.n; k++)
    if (n->g->s.v[k].kind == SQ_SC_EWISE) c->ew[n->g->s.v[k].ew] = true;
}

static int missing(const char *what, const char *name, bool have) {
  if (!have) fprintf(stderr, "no test covers %s `%s`\n", what, name);
  return !have;
}

static bool has_file(const char *op, int n, char **path) {
  char name[64];
  snprintf(name, sizeof name, "%s.sir", op);
  for (int k = 0; k < n; k++) {
    const char *slash = strrchr(path[k], '/');
    if (!strcmp(slash ? slash + 1 : path[k], name)) return true;
  }
  return false;
}

static int run_coverage(int n, char **path) {
  coverage c = {0};
  int failures = 0;
  for (int k = 0; k < n; k++) {
    test *t = calloc(1, sizeof *t);
    if (!t) return 1;
    failures += !open_test(t, path[k]);
    for (uint32_t f = 0; t->g && f < t->g->func.n; f++) sq_walk(t->g->func.v[f]->body, cover, &c);
    if (t->ctx) sq_ctx_free(t->ctx);
    free(t);
  }
  for (int k = 0; k < SQ_OP_COUNT; k++) {
    failures += missing("operation", sq_op_table[k].name, c.op[k]);
    failures += missing("as NAME.sir operation", sq_op_table[k].name,
                        has_file(sq_op_table[k].name, n, path));
  }
  for (int k = 0; k < SQ_EW_COUNT; k++)
    failures += missing("scalar function", sq_ewise_table[k].name, c.ew[k]);
  for (int k = 1; k < SQ_MONOID_COUNT; k++)
    failures += missing("monoid", sq_monoid_names[k], c.monoid[k]);
  for (int k = 0; k < SQ_DTYPE_COUNT; k++)
    failures += missing("dtype", sq_dtype_table[k].name, c.dtype[k]);
  printf("%s coverage\n", failures ? "FAIL" : "ok  ");
  return failures != 0;
}

int main(int argc, char **argv) {
  static const ops_machine *const machines[] = {
      &ops_interp,
#ifdef OPS_OBJECT
      &ops_object,
#endif
#ifdef OPS_CPU
      &ops_cpu,    &ops_cuda_emu, &ops_cuda,
#endif
  };
  int failures = 0;
  if (argc > 2 && !strcmp(argv[1], "--coverage")) return run_coverage(argc - 2, argv + 2);
  if (argc > 2 && !strcmp(argv[1], "--failing")) {
    for (int k = 2; k < argc; k++) failures += run_failing_file(argv[k]);
    return failures != 0;
  }
  const ops_machine *m = NULL;
  for (size_t k = 0; argc > 2 && k < sizeof machines / sizeof *machines; k++)
    if (!strcmp(argv[1], machines[k]->name)) m = machines[k];
  if (!m) {
    fprintf(
        stderr,
        "usage: run_ops interp|cpu|cuda-emu|cuda|object FILE.sir... | run_ops --failing|--coverage "
        "FILE.sir...\n");
    return 2;
  }
  for (int k = 2; k < argc; k++) failures += run_file(m, argv[k]);
  return failures != 0;
}
