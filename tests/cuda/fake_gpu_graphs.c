// Graphs of the driver that is none, and loops in them.
//
// Nodes in a row, each behind the one before. An instance has copies of them; what is changed there
// counts from its next launch on.
#include "fake_gpu_inner.h"
#include <stdlib.h>
#include <string.h>

typedef struct node {
  struct graph *g;
  size_t at;
} node;
typedef struct graph {
  bool is_exec;
  size_t n;
  node **node; // of the graph; an instance has none
  job *job;
  condition *handle;  // made, and not yet of a node
  struct graph *body; // of the newest node that repeats one
} graph;
typedef struct any_params { // CUgraphNodeParams of a conditional node
  int type, reserved[3];
  unsigned long long handle;
  int what;
  unsigned size;
  graph **graphs;
  void *context;
  long long rest[25], reserved2;
} any_params;
_Static_assert(sizeof(any_params) == 256, "as the driver has it");
typedef struct launch_params { // CUDA_KERNEL_NODE_PARAMS_v2
  function *f;
  unsigned grid[3], block[3], shared;
  void **params, **extra;
  void *kernel, *context;
} launch_params;
typedef struct solid {
  size_t x, y, z, level;
  int type;
  const void *host;
  address device;
  void *array, *reserved;
  size_t pitch, height;
} solid;
typedef struct box { // CUDA_MEMCPY3D
  solid from, to;
  size_t width, height, depth;
} box;
typedef struct fill { // CUDA_MEMSET_NODE_PARAMS
  address to;
  size_t pitch;
  unsigned value, element;
  size_t width, height;
} fill;

static int launch_job(const launch_params *p, job *j) {
  if (p->kernel || p->context) return INVALID_VALUE;
  return fg_check_launch(p->f, p->grid[0], p->grid[1], p->grid[2], p->block[0], p->block[1],
                         p->block[2], p->shared, p->params, p->extra, j);
}
static bool at_origin(const solid *s) { return s->type == 2 && !s->x && !s->y && !s->z; }
static int box_job(const box *b, job *j) {
  size_t last = b->height - 1;
  if (!at_origin(&b->from) || !at_origin(&b->to) || b->depth != 1 || !b->width || !b->height ||
      b->width > b->from.pitch || b->width > b->to.pitch) {
    fg_fault("a node of a graph does not copy rows within the device");
    return INVALID_VALUE;
  }
  char *p = fg_span(b->to.device, last * b->to.pitch + b->width, "a copy of a graph");
  char *q = fg_span(b->from.device, last * b->from.pitch + b->width, "a copy of a graph");
  *j = (job){.kind = ROWS,
             .to = p,
             .from = q,
             .bytes = b->width,
             .to_pitch = b->to.pitch,
             .from_pitch = b->from.pitch,
             .height = b->height};
  return p && q ? OK : INVALID_VALUE;
}
static int fill_job(const fill *f, job *j) {
  char *p =
      f->element == 1 && f->height == 1 ? fg_span(f->to, f->width, "a clear of a graph") : NULL;
  *j = (job){.kind = SET, .to = p, .bytes = f->width, .value = (int)f->value};
  return p ? OK : INVALID_VALUE;
}

static int add_node(graph *g, node **before, size_t n, node **out, int e, job j) {
  if (e) return e;
  if (g->is_exec || n != (g->n ? 1 : 0) || (n && before[0] != g->node[g->n - 1])) {
    fg_fault("the nodes of a graph are not a row");
    return INVALID_VALUE;
  }
  g->node = realloc(g->node, (g->n + 1) * sizeof *g->node);
  g->job = realloc(g->job, (g->n + 1) * sizeof *g->job);
  *out = g->node[g->n] = malloc(sizeof **out);
  **out = (node){g, g->n};
  g->job[g->n++] = j;
  return OK;
}
static int set_node(graph *exec, node *n, int e, job j) {
  if (e) return e;
  if (!exec->is_exec || n->at >= exec->n || exec->job[n->at].kind != j.kind ||
      (j.kind == LAUNCH && exec->job[n->at].f != j.f) ||
      (j.kind == ROWS && (exec->job[n->at].height == 1) != (j.height == 1))) {
    fg_fault("a node of a graph becomes another");
    free(j.arg);
    return INVALID_VALUE;
  }
  free(exec->job[n->at].arg);
  exec->job[n->at] = j;
  return OK;
}
static int drop_graph(graph *g) {
  fg_flush(); // jobs of its loops
  for (size_t k = 0; k < g->n; k++) {
    free(g->job[k].arg);
    if (g->job[k].kind == REPEAT && !g->is_exec) {
      drop_graph(g->job[k].body);
      free(g->job[k].condition);
    }
    if (g->node) free(g->node[k]);
  }
  free(g->handle);
  free(g->node);
  free(g->job);
  free(g);
  fg_alive--;
  return OK;
}
static job copy_job(job j) {
  sq_device_arg *arg = j.arg;
  if (!arg) return j;
  j.arg = malloc(j.n_arg * sizeof *arg);
  if (!j.arg) abort();
  memcpy(j.arg, arg, j.n_arg * sizeof *arg);
  return j;
}

void fg_repeat(const job *j) {
  while (j->condition->value && !fg_sticky)
    for (size_t k = 0; k < j->body->n; k++) {
      job turn = copy_job(j->body->job[k]);
      fg_run(&turn);
    }
}

EXPORT int cuGraphCreate(graph **g, unsigned flags);
EXPORT int cuGraphCreate(graph **g, unsigned flags) {
  ENTER();
  if (flags || !(*g = calloc(1, sizeof **g))) return INVALID_VALUE;
  fg_alive++;
  return OK;
}
EXPORT int cuGraphDestroy(graph *g);
EXPORT int cuGraphDestroy(graph *g) { return drop_graph(g); }
EXPORT int cuGraphExecDestroy(graph *exec);
EXPORT int cuGraphExecDestroy(graph *exec) { return drop_graph(exec); }
EXPORT int cuGraphAddKernelNode_v2(node **n, graph *g, node **before, size_t k,
                                   const launch_params *p);
EXPORT int cuGraphAddKernelNode_v2(node **n, graph *g, node **before, size_t k,
                                   const launch_params *p) {
  ENTER();
  NEED_CONTEXT();
  job j = {0};
  int e = launch_job(p, &j);
  return add_node(g, before, k, n, e, j);
}
EXPORT int cuGraphAddMemcpyNode(node **n, graph *g, node **before, size_t k, const box *b, void *c);
EXPORT int cuGraphAddMemcpyNode(node **n, graph *g, node **before, size_t k, const box *b,
                                void *c) {
  ENTER();
  job j = {0};
  int e = c == &fg_context ? box_job(b, &j) : INVALID_CONTEXT;
  return add_node(g, before, k, n, e, j);
}
EXPORT int cuGraphAddMemsetNode(node **n, graph *g, node **before, size_t k, const fill *f,
                                void *c);
EXPORT int cuGraphAddMemsetNode(node **n, graph *g, node **before, size_t k, const fill *f,
                                void *c) {
  ENTER();
  job j = {0};
  int e = c == &fg_context ? fill_job(f, &j) : INVALID_CONTEXT;
  return add_node(g, before, k, n, e, j);
}
// A handle belongs to the one node that is made with it.
EXPORT int cuGraphConditionalHandleCreate(unsigned long long *h, graph *g, void *c, unsigned value,
                                          unsigned flags);
EXPORT int cuGraphConditionalHandleCreate(unsigned long long *h, graph *g, void *c, unsigned value,
                                          unsigned flags) {
  ENTER();
  if (fg_set.driver < 12040 || !g || g->is_exec || c != &fg_context || value || flags)
    return INVALID_VALUE;
  if (g->handle) fg_fault("a handle of a graph is not used");
  g->handle = calloc(1, sizeof *g->handle);
  *h = (unsigned long long)(uintptr_t)g->handle;
  return g->handle ? OK : OUT_OF_MEMORY;
}
EXPORT int cuGraphAddNode_v2(node **n, graph *g, node **before, const void *edge, size_t k,
                             any_params *p);
EXPORT int cuGraphAddNode_v2(node **n, graph *g, node **before, const void *edge, size_t k,
                             any_params *p) {
  ENTER();
  condition *c = (condition *)(uintptr_t)p->handle;
  if (edge || p->type != 13 || p->what != 1 || p->size != 1 || c != g->handle || !c ||
      p->context != &fg_context)
    return INVALID_VALUE;
  graph *body = calloc(1, sizeof *body);
  if (!body) return OUT_OF_MEMORY;
  fg_alive++;
  int e = add_node(g, before, k, n, OK, (job){.kind = REPEAT, .condition = c, .body = body});
  if (e) return drop_graph(body), e;
  g->handle = NULL; // the node's from now on
  g->job[g->n - 1].body = g->body = body;
  p->graphs = &g->body;
  return OK;
}
EXPORT int cuGraphInstantiateWithFlags(graph **exec, graph *g, unsigned long long flags);
EXPORT int cuGraphInstantiateWithFlags(graph **exec, graph *g, unsigned long long flags) {
  ENTER();
  NEED_CONTEXT();
  if (flags || !g->n) return INVALID_VALUE;
  graph *x = *exec = calloc(1, sizeof *x);
  if (!x || !(x->job = calloc(g->n, sizeof *x->job))) abort();
  for (; x->n < g->n; x->n++) x->job[x->n] = copy_job(g->job[x->n]);
  x->is_exec = true;
  fg_alive++;
  return OK;
}
EXPORT int cuGraphExecKernelNodeSetParams_v2(graph *exec, node *n, const launch_params *p);
EXPORT int cuGraphExecKernelNodeSetParams_v2(graph *exec, node *n, const launch_params *p) {
  ENTER();
  job j = {0};
  int e = launch_job(p, &j);
  return set_node(exec, n, e, j);
}
EXPORT int cuGraphExecMemcpyNodeSetParams(graph *exec, node *n, const box *b, void *c);
EXPORT int cuGraphExecMemcpyNodeSetParams(graph *exec, node *n, const box *b, void *c) {
  ENTER();
  job j = {0};
  int e = c == &fg_context ? box_job(b, &j) : INVALID_CONTEXT;
  return set_node(exec, n, e, j);
}
EXPORT int cuGraphExecMemsetNodeSetParams(graph *exec, node *n, const fill *f, void *c);
EXPORT int cuGraphExecMemsetNodeSetParams(graph *exec, node *n, const fill *f, void *c) {
  ENTER();
  job j = {0};
  int e = c == &fg_context ? fill_job(f, &j) : INVALID_CONTEXT;
  return set_node(exec, n, e, j);
}
EXPORT int cuGraphLaunch(graph *exec, void *s);
EXPORT int cuGraphLaunch(graph *exec, void *s) {
  ENTER();
  NEED_STREAM(s);
  if (!exec->is_exec) return INVALID_VALUE;
  for (size_t k = 0; k < exec->n; k++) fg_add(copy_job(exec->job[k]));
  return OK;
}
