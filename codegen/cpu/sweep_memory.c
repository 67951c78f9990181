// A sweep in memory: the parts of its values lie in the worker's scratch, and every member is a loop
// over its inner axes in every turn. Members with the vector's lanes hold one element of all lanes in
// a vector; others run along an inner axis.
//
//   parts of states from where the scan begins
//   for each turn:  each member into its part; stores; states from their next values
//   ends
#include "codegen/cpu/sweep.h"

typedef struct nest { // first: a nest that asks for a value of the sweep leads here
  sq_knest t;
  sq_semit *e;
  const sq_sweep_nest *x;
  sq_kplan plan;
  bool vector;  // has the vector's lanes
  sq_kplace to; // where its elements go
} nest;

static sq_lv part_pointer(sq_semit *e, uint32_t value) {
  sq_kern *k = e->k;
  sq_lv off = sq_kern_dim(k, e->p->place[value]);
  return LLVMBuildGEP2(k->b, k->i8, e->scratch, &off, 1, "");
}

static sq_type part_type(const sq_semit *e, uint32_t value) {
  sq_type t = e->s->value[value].part;
  t.dtype = sq_semit_kept(t.dtype);
  return t;
}

// The address of the element of a part at these places, of all lanes.
static sq_lv element_pointer(nest *x, const sq_kplace *p, uint32_t value, sq_lv *index) {
  sq_kern *k = x->e->k;
  sq_lv at = sq_k_int(k, 0);
  for (uint32_t j = 0; j < p->type.rank; j++) {
    sq_lv step = LLVMBuildMul(k->b, index[j], sq_kplace_stride(k, p, j), "");
    at = LLVMBuildAdd(k->b, at, step, "");
  }
  if (sq_semit_has_vector(x->e, value)) at = LLVMBuildMul(k->b, at, sq_k_int(k, x->e->p->w), "");
  return sq_k_offset(k, p->base, at, p->type.dtype);
}

static sq_lv find_element(sq_knest *t, const sq_scalar *r) {
  nest *x = (nest *)t;
  uint32_t value = x->x->inner[r->operand];
  if (value == SQ_SWEEP_NONE || !x->vector) return NULL;
  sq_kern *k = t->k;
  sq_lv index[SQ_MAX_RANK];
  for (uint32_t j = 0; j < r->n_pos; j++)
    index[j] = sq_k_cast(k, sq_knest_uniform(t, r->pos[j]), t->g->s.v[r->pos[j]].dtype, SQ_I64);
  const sq_kplace *p = t->place[r->operand];
  sq_lv ptr = element_pointer(x, p, value, index);
  if (!sq_semit_has_vector(x->e, value)) return sq_k_load(k, p->type.dtype, ptr);
  return sq_k_load_row(k, p->type.dtype, ptr, x->e->p->w, NULL);
}

static void open_lanes(nest *x) {
  sq_semit *e = x->e;
  for (uint32_t a = 0; a < x->x->n->g->n_par; a++) {
    uint32_t cls = x->x->cls[a];
    if (cls == SQ_SWEEP_NONE || !e->s->lane[cls]) continue;
    if (cls != e->p->va) {
      sq_knest_open(&x->t, a, e->row[cls]);
      continue;
    }
    sq_knest_open(&x->t, a, e->first);
    x->t.va = a; // before the turns too, where what does not change with them is made
    x->t.w = e->p->w;
    x->t.aligned = x->t.acc_varies = true;
    x->t.mask = e->mask;
    x->plan = (sq_kplan){.va = a, .w = e->p->w, .sets = 1, .inner = SQ_K_NO_AXIS};
  }
}

// Elements go to a part: by places of its own, the inner axes.
static void give_places(nest *x) {
  sq_semit *e = x->e;
  sq_generic *g = x->x->n->g;
  uint32_t *pos = SQ_ARRAY(e->k->a, uint32_t, g->n_par + 1), n = 0;
  for (uint32_t a = 0; a < g->n_par; a++)
    if (x->x->cls[a] != SQ_SWEEP_NONE && !e->s->lane[x->x->cls[a]])
      pos[n++] = sq_sc_index(e->k->g, g, a);
  g->pos = pos;
  g->n_pos = n;
}

static nest *open_nest(sq_semit *e, const sq_sweep_nest *s, bool to_part) {
  sq_kern *k = e->k;
  nest *x = SQ_NEW(k->a, nest);
  x->e = e;
  x->x = s;
  for (uint32_t a = 0; a < s->n->g->n_par; a++) x->vector |= s->cls[a] == e->p->va;
  x->vector &= e->p->va != SQ_SWEEP_NONE;
  if (to_part) give_places(x);
  sq_knest_begin(&x->t, k, s->n, &e->group);
  e->group.find = find_element;
  sq_sweep_depend(e->s, &x->t, s);
  for (uint32_t j = 0; j < s->n->n_in; j++) {
    if (s->inner[j] == SQ_SWEEP_NONE) continue;
    x->t.place[j] = SQ_NEW(k->a, sq_kplace);
    *x->t.place[j] =
        (sq_kplace){.base = part_pointer(e, s->inner[j]), .type = part_type(e, s->inner[j])};
  }
  if (to_part)
    x->to = (sq_kplace){.base = part_pointer(e, s->value), .type = part_type(e, s->value)};
  else
    x->to = (sq_kplace){.base = sq_kern_pointer(k, s->n->out[0]), .type = s->n->out[0]->type};
  open_lanes(x);
  if (x->vector) return x;
  uint32_t open = x->t.open;
  if (s->time != SQ_SWEEP_NONE) sq_knest_open(&x->t, s->time, NULL);
  x->plan = sq_kplan_choose(&x->t, UINT32_MAX);
  x->plan.inner = SQ_K_NO_AXIS;
  x->t.open = open;
  return x;
}

// ---- elements ----------------------------------------------------------------------------------
static void to_part(sq_knest *t, sq_lv v, void *user) {
  nest *x = user;
  sq_kern *k = t->k;
  if (!x->vector) {
    sq_knest_store(t, &x->to, v, t->mask);
    return;
  }
  sq_lv index[SQ_MAX_RANK];
  for (uint32_t j = 0; j < t->g->n_pos; j++) index[j] = sq_knest_uniform(t, t->g->pos[j]);
  sq_lv ptr = element_pointer(x, &x->to, x->x->value, index);
  sq_k_store_row(k, x->to.type.dtype, ptr, sq_k_splat(k, v, x->e->p->w), NULL);
}

static void to_result(sq_knest *t, sq_lv v, void *user) {
  nest *x = user;
  sq_knest_store(t, &x->to, v, t->mask);
}

static void run(nest *x, sq_lv turn, bool into_part) {
  sq_knest *t = &x->t;
  sq_kern *k = t->k;
  uint32_t mark = sq_knest_enter(t), open = t->open;
  sq_lv only = into_part ? NULL : sq_semit_first_only(x->e, x->x);
  sq_kif f;
  if (x->x->time != SQ_SWEEP_NONE) sq_knest_open(t, x->x->time, turn);
  if (only) sq_kif_begin(k, &f, only);
  sq_knest_run(t, &x->plan, NULL, NULL, into_part ? to_part : to_result, x);
  if (only) sq_kif_end(k, &f, 0, NULL, NULL, NULL);
  sq_knest_leave(t, mark);
  t->open = open;
}

// ---- a block -----------------------------------------------------------------------------------
static sq_lv part_size(sq_semit *e, uint32_t value) {
  sq_dims *ds = e->k->g->dims;
  sq_type t = part_type(e, value);
  int64_t bytes = sq_dtype_table[t.dtype].bytes;
  sq_dim n = sq_dim_const(ds, sq_semit_has_vector(e, value) ? bytes * e->p->w : bytes);
  for (uint32_t a = 0; a < t.rank; a++) n = sq_dim_mul(ds, n, sq_dim_storage(ds, t.dim[a]));
  return sq_kern_dim(e->k, n);
}

static void move_on(sq_semit *e) {
  LLVMBuilderRef b = e->k->b;
  for (uint32_t k = 0; k < e->s->scan->n_carried; k++) {
    if (e->p->in_place[k]) continue;
    LLVMBuildMemCpy(b, part_pointer(e, k), 16, part_pointer(e, e->s->next[k]), 16, part_size(e, k));
  }
}

void sq_smemory_all(sq_semit *e, sq_lv block, void *user) {
  (void)user;
  (void)block;
  sq_kern *k = e->k;
  const sq_sweep *s = e->s;
  nest **member = SQ_ARRAY(k->a, nest *, s->n_member + 1);
  nest **store = SQ_ARRAY(k->a, nest *, s->n_store + 1);
  for (uint32_t i = 0; i < s->scan->n_carried; i++)
    run(open_nest(e, &s->load[i], true), NULL, true);
  for (uint32_t i = 0; i < s->n_member; i++) {
    member[i] = open_nest(e, &s->member[i], true);
    sq_knest_hoist(&member[i]->t);
  }
  for (uint32_t i = 0; i < s->n_store; i++) store[i] = open_nest(e, &s->store[i], false);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_kern_dim(k, s->extent), 1, 0, NULL);
  sq_lv turn = sq_semit_turn(e, l.i);
  for (uint32_t i = 0; i < s->n_member; i++) run(member[i], turn, true);
  for (uint32_t i = 0; i < s->n_store; i++) run(store[i], turn, false);
  move_on(e);
  sq_kloop_end(k, &l, NULL);
  for (uint32_t i = 0; i < s->n_final; i++) run(open_nest(e, &s->final[i], false), NULL, false);
}
