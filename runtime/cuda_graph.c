// What a call asks of the device, kept back until the host must wait and then given as one graph. In:
// launches, copies and clears in order. Out: the same, as a graph that an earlier call has built:
//
//   step, first    launch launch copy ... test       each on its own; which ones is remembered
//   step, second   the same ones again               a graph is built of them, and launched
//   step, third    ... with another position         arguments that differ are set, it is launched
//
// A stretch ends where the host reads, writes or frees. Stretches are alike when they have the same
// kernels and copies in the same order; an entry keeps SQ_GPU_KEPT of them. What cannot be built is
// launched one by one, for good; so is all where a trace wants each kernel's time, or where
// SEQM_CUDA_GRAPH is 0. A stretch with a loop that the device repeats (cuda_loop.c) is a graph at once.
#include "runtime/cuda.h"
#include <stdio.h>
#include <string.h>

enum { SHORT = 4, LONGEST = 1 << 16 }; // a graph of few is no gain

// ---- lists -------------------------------------------------------------------------------------
static bool room_for(sq_gpu *d, void **p, size_t *room, size_t n, size_t each) {
  if (n <= *room) return true;
  size_t more = 2 * n + 64;
  void *q = d->alloc.fn(d->alloc.user, *p, more * each);
  if (!q) return false;
  *p = q;
  *room = more;
  return true;
}

static void drop_list(sq_gpu *d, sq_gpu_list *l) {
  if (l->op) d->alloc.fn(d->alloc.user, l->op, 0);
  if (l->word) d->alloc.fn(d->alloc.user, l->word, 0);
  *l = (sq_gpu_list){0};
}

static bool copy_list(sq_gpu *d, sq_gpu_list *to, const sq_gpu_list *from) {
  void *op = to->op, *word = to->word;
  bool ok = room_for(d, &op, &to->room, from->n, sizeof *to->op) &&
            room_for(d, &word, &to->room_word, from->n_word, sizeof *to->word);
  to->op = op;
  to->word = word;
  if (!ok) return false;
  memcpy(to->op, from->op, from->n * sizeof *to->op);
  if (from->n_word) memcpy(to->word, from->word, from->n_word * sizeof *to->word);
  to->n = from->n;
  to->n_word = from->n_word;
  return true;
}

// The same kernels and copies, whatever their arguments.
static bool alike(const sq_gpu_list *a, const sq_gpu_list *b) {
  if (a->n != b->n || a->n_word != b->n_word) return false;
  for (size_t k = 0; k < a->n; k++) {
    const sq_gpu_op *x = &a->op[k], *y = &b->op[k];
    if (x->kind != y->kind || x->function != y->function || x->n_arg != y->n_arg ||
        (x->rows.height == 1) != (y->rows.height == 1) ||
        (x->kind == SQ_GPU_LOOP && x->rows.height != y->rows.height))
      return false;
  }
  return true;
}

static bool same(const sq_gpu_list *a, const sq_gpu_list *b, size_t k) {
  const sq_gpu_op *x = &a->op[k], *y = &b->op[k];
  if (x->kind == SQ_GPU_LAUNCH)
    return x->blocks == y->blocks &&
           !memcmp(a->word + x->arg, b->word + y->arg, x->n_arg * sizeof *a->word);
  const sq_gpu_rows *r = &x->rows, *s = &y->rows;
  return r->to == s->to && r->from == s->from && r->to_pitch == s->to_pitch &&
         r->from_pitch == s->from_pitch && r->width == s->width && r->height == s->height;
}

// ---- one by one --------------------------------------------------------------------------------
static sq_nv_address address(const void *p) { return (sq_nv_address)(uintptr_t)p; }

static int copy_row(sq_gpu *d, char *to, const char *from, size_t bytes) {
  return sq_gpu_failed(d, d->cu.MemcpyDtoD(address(to), address(from), bytes, d->stream),
                       "cuMemcpyDtoD");
}

static int run_rows(sq_gpu *d, const sq_gpu_rows *r) {
  const sq_nv_rows rows = {
      .from = {.kind = SQ_NV_DEVICE, .device = address(r->from), .pitch = r->from_pitch},
      .to = {.kind = SQ_NV_DEVICE, .device = address(r->to), .pitch = r->to_pitch},
      .width = r->width,
      .height = r->height};
  if (r->height == 1) return copy_row(d, r->to, r->from, r->width);
  if (d->cu.MemcpyRows(&rows, d->stream) == 0) return 0;
  // A pitch that the driver does not take.
  for (size_t k = 0; k < r->height; k++) {
    int e = copy_row(d, r->to + k * r->to_pitch, r->from + k * r->from_pitch, r->width);
    if (e) return e;
  }
  return 0;
}

static int run_launch(sq_gpu *d, const sq_gpu_op *op, int64_t *word) {
  size_t size = op->n_arg * sizeof *word;
  void *extra[] = {(void *)1, word, (void *)2, &size, NULL}; // a buffer, its size
  int e = d->cu.LaunchKernel(op->function, op->blocks, 1, 1, op->threads, 1, 1, op->room, d->stream,
                             NULL, extra);
  if (!e) return 0;
  char what[200];
  snprintf(what, sizeof what, "cuLaunchKernel of %s", op->name);
  return sq_gpu_failed(d, e, what);
}

int sq_gpu_run(sq_gpu *d, const sq_gpu_op *op, int64_t *word) {
  if (op->kind == SQ_GPU_LAUNCH) return run_launch(d, op, word);
  if (op->kind == SQ_GPU_ROWS) return run_rows(d, &op->rows);
  return sq_gpu_failed(d, d->cu.Memset(address(op->rows.to), 0, op->rows.width, d->stream),
                       "cuMemsetD8");
}

static int run_all(sq_gpu *d, sq_gpu_list *l) {
  for (size_t k = 0; k < l->n; k++) {
    bool loop = l->op[k].kind == SQ_GPU_LOOP;
    int e = loop ? sq_gpu_loop_run(d, l, k) : sq_gpu_run(d, &l->op[k], l->word + l->op[k].arg);
    if (e) return e;
  }
  return 0;
}

// ---- as nodes ----------------------------------------------------------------------------------
static sq_nv_box box_of(const sq_gpu_rows *r) {
  return (sq_nv_box){
      .from = {.kind = SQ_NV_DEVICE, .device = address(r->from), .pitch = r->from_pitch},
      .to = {.kind = SQ_NV_DEVICE, .device = address(r->to), .pitch = r->to_pitch},
      .width = r->width,
      .height = r->height,
      .depth = 1};
}
static sq_nv_fill fill_of(const sq_gpu_rows *r) {
  return (sq_nv_fill){.to = address(r->to), .element = 1, .width = r->width, .height = 1};
}

static sq_nv_node launch_of(const sq_gpu_op *op, void **extra) {
  return (sq_nv_node){.function = op->function,
                      .grid = {op->blocks, 1, 1},
                      .block = {op->threads, 1, 1},
                      .shared = op->room,
                      .extra = extra};
}

// The arguments are copied by the driver.
int sq_gpu_node_add(sq_gpu *d, void *graph, void **before, void **node, const sq_gpu_op *op,
                    int64_t *word) {
  size_t n = before ? 1 : 0, size = op->n_arg * sizeof *word;
  void *extra[] = {(void *)1, word, (void *)2, &size, NULL};
  const sq_nv_node launch = launch_of(op, extra);
  const sq_nv_box box = box_of(&op->rows);
  const sq_nv_fill fill = fill_of(&op->rows);
  if (op->kind == SQ_GPU_LAUNCH) return d->cu.GraphAddKernel(node, graph, before, n, &launch);
  if (op->kind == SQ_GPU_ROWS) return d->cu.GraphAddMemcpy(node, graph, before, n, &box, d->ctx);
  return d->cu.GraphAddMemset(node, graph, before, n, &fill, d->ctx);
}

static int change_node(sq_gpu *d, void *exec, void *node, const sq_gpu_op *op, int64_t *word) {
  size_t size = op->n_arg * sizeof *word;
  void *extra[] = {(void *)1, word, (void *)2, &size, NULL};
  const sq_nv_node launch = launch_of(op, extra);
  const sq_nv_box box = box_of(&op->rows);
  const sq_nv_fill fill = fill_of(&op->rows);
  if (op->kind == SQ_GPU_LAUNCH) return d->cu.ExecSetKernel(exec, node, &launch);
  if (op->kind == SQ_GPU_ROWS) return d->cu.ExecSetMemcpy(exec, node, &box, d->ctx);
  return d->cu.ExecSetMemset(exec, node, &fill, d->ctx);
}

static int put_node(sq_gpu *d, sq_gpu_graph *g, size_t k) {
  const sq_gpu_op *op = &g->list.op[k];
  void **before = k ? &g->node[k - 1] : NULL;
  if (op->kind == SQ_GPU_LOOP)
    return sq_gpu_loop_add(d, g->graph, &g->list, k, before, &g->node[k]);
  return sq_gpu_node_add(d, g->graph, before, &g->node[k], op, g->list.word + op->arg);
}

static void drop_graph(sq_gpu *d, sq_gpu_graph *g) {
  if (g->exec) d->cu.ExecDestroy(g->exec);
  if (g->graph) d->cu.GraphDestroy(g->graph);
  if (g->node) d->alloc.fn(d->alloc.user, g->node, 0);
  g->exec = g->graph = NULL;
  g->node = NULL;
}

static bool build(sq_gpu *d, sq_gpu_graph *g) {
  g->node = d->alloc.fn(d->alloc.user, NULL, g->list.n * sizeof *g->node);
  if (!g->node) return false;
  int e = d->cu.GraphCreate(&g->graph, 0);
  if (e) g->graph = NULL;
  for (size_t k = 0; !e && k < g->list.n; k++) e = put_node(d, g, k);
  if (!e && (e = d->cu.GraphInstantiate(&g->exec, g->graph, 0))) g->exec = NULL;
  if (e) drop_graph(d, g);
  return !e;
}

// Sets what differs from the last time.
static bool renew(sq_gpu *d, sq_gpu_record *r, sq_gpu_graph *g, const sq_gpu_list *now) {
  for (size_t k = 0; k < now->n; k++) {
    if (same(&g->list, now, k)) continue;
    sq_gpu_op *op = &g->list.op[k];
    op->blocks = now->op[k].blocks;
    op->rows = now->op[k].rows;
    memcpy(g->list.word + op->arg, now->word + op->arg, op->n_arg * sizeof *now->word);
    if (change_node(d, g->exec, g->node[k], op, g->list.word + op->arg)) return false;
    r->changed++;
  }
  return true;
}

// ---- stretches ---------------------------------------------------------------------------------
static sq_gpu_graph *find(sq_gpu_record *r, const sq_gpu_list *now) {
  for (int k = 0; k < SQ_GPU_KEPT; k++)
    if (r->kept[k].list.n && alike(&r->kept[k].list, now)) return &r->kept[k];
  return NULL;
}

// Seen for the first time: it may come again.
static void remember(sq_gpu *d, sq_gpu_record *r, const sq_gpu_list *now) {
  sq_gpu_graph *g = &r->kept[r->next++ % SQ_GPU_KEPT];
  drop_graph(d, g);
  g->failed = false;
  if (!copy_list(d, &g->list, now)) g->list.n = 0;
}

static bool has_loop(const sq_gpu_list *l) {
  for (size_t k = 0; k < l->n; k++)
    if (l->op[k].kind == SQ_GPU_LOOP) return true;
  return false;
}
static bool all_same(const sq_gpu_list *a, const sq_gpu_list *b) {
  for (size_t k = 0; k < a->n; k++)
    if (!same(a, b, k)) return false;
  return true;
}

static bool is_ready(sq_gpu *d, sq_gpu_record *r, sq_gpu_graph *g, const sq_gpu_list *now) {
  if (g->failed) return false;
  // The nodes of a turn lie in a graph of their own: they are made again, not changed.
  if (g->exec && has_loop(now) && !all_same(&g->list, now)) drop_graph(d, g);
  if (g->exec) {
    if (renew(d, r, g, now)) return true;
  } else if (copy_list(d, &g->list, now) && build(d, g)) {
    r->built++;
    return true;
  }
  drop_graph(d, g);
  g->failed = true;
  return false;
}

static int submit(sq_gpu *d, sq_gpu_record *r, sq_gpu_list *now) {
  bool loops = has_loop(now), worth = loops || now->n >= SHORT;
  sq_gpu_graph *g = worth ? find(r, now) : NULL;
  if (!g && worth) remember(d, r, now);
  if (!g && loops) g = find(r, now); // at once
  if (!g || !is_ready(d, r, g, now)) {
    r->alone += now->n;
    return run_all(d, now);
  }
  r->replayed += now->n;
  return sq_gpu_failed(d, d->cu.GraphLaunch(g->exec, d->stream), "cuGraphLaunch");
}

int sq_gpu_flush(sq_gpu *d) {
  if (d->flushing) return 0; // what is read between its operations
  d->in_turn = false;
  if (!d->now.n) return d->broken;
  d->flushing = true;
  if (!d->broken) d->broken = submit(d, d->record, &d->now);
  d->flushing = false;
  d->now.n = d->now.n_word = 0;
  return d->broken;
}

sq_gpu_record *sq_gpu_record_begin(sq_gpu *d, sq_gpu_record *r) {
  sq_gpu_record *outer = d->record;
  sq_gpu_flush(d); // an outer call's, which will hear of a failure
  d->record = d->graphs ? r : NULL;
  return outer;
}

int sq_gpu_record_end(sq_gpu *d, sq_gpu_record *outer) {
  int e = sq_gpu_flush(d);
  d->record = outer;
  if (!outer) d->broken = 0;
  return e;
}

void sq_gpu_record_drop(sq_gpu *d, sq_gpu_record *r) {
  bool in = !sq_gpu_enter(d);
  for (int k = 0; k < SQ_GPU_KEPT; k++) {
    if (in) drop_graph(d, &r->kept[k]);
    drop_list(d, &r->kept[k].list);
  }
  if (in) sq_gpu_leave(d);
}

void sq_gpu_list_drop(sq_gpu *d) { drop_list(d, &d->now); }

// ---- what is asked for -------------------------------------------------------------------------
static bool add(sq_gpu *d, const sq_gpu_op *op, const int64_t *word) {
  sq_gpu_list *l = &d->now;
  void *ops = l->op, *words = l->word;
  bool ok = room_for(d, &ops, &l->room, l->n + 1, sizeof *l->op) &&
            room_for(d, &words, &l->room_word, l->n_word + op->n_arg, sizeof *l->word);
  l->op = ops;
  l->word = words;
  if (!ok) return false;
  l->op[l->n] = *op;
  l->op[l->n++].arg = l->n_word;
  if (op->n_arg) memcpy(l->word + l->n_word, word, op->n_arg * sizeof *word);
  l->n_word += op->n_arg;
  return true;
}

int sq_gpu_ask(sq_gpu *d, const sq_gpu_op *op, int64_t *word) {
  if (d->record && d->now.n < LONGEST && add(d, op, word)) return 0;
  int e = sq_gpu_flush(d);
  return e ? e : sq_gpu_run(d, op, word);
}
