// A sweep by rows: each state is a column of rows (a matrix state whose one axis is a lane), and all
// that a turn does with rows happens in as few loops over them as possible, for several blocks of
// lanes at once. States lie in the worker's scratch, in the first-level cache.
//
//   states from where the scan begins
//   for each turn
//     members without rows
//     for each row: states loaded; members; sums go on; states stored        \ again, while a member
//     members that need the sums                                             / needs rows and these
//   ends
#include "codegen/cpu/math.h"
#include "codegen/cpu/sweep.h"

typedef struct nest {
  const sq_sweep_nest *x;
  uint32_t level; // of its loop, or of the gap behind that loop
  bool rows, sums;
  sq_kacc acc;
  sq_selement *el[SQ_SWEEP_SETS];
} nest;

static bool has_rows(const sq_sweep *s, uint32_t value) { return s->value[value].part.rank == 1; }

// ---- can it be done? ---------------------------------------------------------------------------
// The class of rows, or NONE: values have several.
static uint32_t row_class(const sq_sweep *s) {
  uint32_t row = SQ_SWEEP_NONE;
  for (uint32_t v = 0; v < s->n_value; v++) {
    if (s->value[v].part.rank > 1) return SQ_SWEEP_NONE;
    for (uint32_t a = 0; a < s->value[v].rank; a++) {
      uint32_t c = s->value[v].cls[a];
      if (s->lane[c]) continue;
      if (row != SQ_SWEEP_NONE && row != c) return SQ_SWEEP_NONE;
      row = c;
    }
  }
  return row;
}

// Rows once, as an axis or as that of a sum; what has rows is read at this row alone.
static bool nest_fits(const sq_sweep *s, const sq_sweep_nest *x, uint32_t row) {
  const sq_generic *g = x->n->g;
  uint32_t inner = 0, axis = SQ_SWEEP_NONE;
  for (uint32_t a = 0; a < g->n_par + g->n_red; a++) {
    if (x->cls[a] == SQ_SWEEP_NONE || s->lane[x->cls[a]]) continue;
    if (x->cls[a] != row) return false;
    axis = a;
    inner++;
  }
  if (inner > 1 || g->n_red > 1 || (g->n_red && axis < g->n_par) || g->domain.n) return false;
  for (uint32_t j = 0; j < g->s.n; j++) {
    const sq_scalar *r = &g->s.v[j];
    if (r->kind != SQ_SC_READ || x->inner[r->operand] == SQ_SWEEP_NONE) continue;
    if (r->site != SQ_NO_SITE || r->other != SQ_NO_SCALAR || r->n_pos > 1) return false;
    if (!r->n_pos) continue;
    const sq_scalar *p = &g->s.v[r->pos[0]];
    if (p->kind != SQ_SC_INDEX || p->axis != axis) return false;
  }
  return true;
}

static bool reads(const sq_sweep_nest *x, uint32_t value) {
  for (uint32_t j = 0; j < x->n->n_in; j++)
    if (x->inner[j] == value) return true;
  return false;
}

static bool in_loop(const sq_sweep *s, const sq_sweep_nest *x) {
  return x->n->g->n_red || has_rows(s, x->value);
}

// level[v]: the loop in which value v is made, or, without rows, the loop after which it is there.
static void find_levels(const sq_sweep *s, uint32_t *level) {
  for (uint32_t k = 0; k < s->scan->n_carried; k++) level[k] = has_rows(s, k);
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_sweep_nest *x = &s->member[i];
    bool loop = in_loop(s, x);
    uint32_t at = loop;
    for (uint32_t j = 0; j < x->n->n_in; j++) {
      uint32_t v = x->inner[j];
      if (v == SQ_SWEEP_NONE) continue;
      uint32_t need = level[v] + (loop && !has_rows(s, v));
      at = at > need ? at : need;
    }
    level[x->value] = at;
  }
}

// Rows that a later loop reads would have to be kept; a state is written where its next value is made.
static bool levels_fit(const sq_sweep *s, const uint32_t *level) {
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    uint32_t next = s->next[k];
    if (has_rows(s, k) != has_rows(s, next)) return false;
    if (has_rows(s, k) && next != k && next < s->scan->n_carried) return false;
  }
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_sweep_nest *x = &s->member[i];
    for (uint32_t j = 0; j < x->n->n_in; j++) {
      uint32_t v = x->inner[j], until;
      if (v == SQ_SWEEP_NONE || !has_rows(s, v)) continue;
      bool carried = v < s->scan->n_carried;
      until = !carried ? level[v] : s->next[v] == v ? UINT32_MAX : level[s->next[v]];
      if (level[x->value] > until) return false;
    }
  }
  return true;
}

bool sq_srows_fit(const sq_sweep *s, sq_arena *a) {
  uint32_t row = row_class(s);
  if (row == SQ_SWEEP_NONE) return false;
  for (uint32_t v = 0; v < s->n_value; v++)
    if (s->value[v].part.dtype == SQ_BOOL) return false;
  for (uint32_t i = 0; i < s->n_member; i++)
    if (!nest_fits(s, &s->member[i], row)) return false;
  uint32_t *level = SQ_ARRAY(a, uint32_t, s->n_value + 1);
  find_levels(s, level);
  return levels_fit(s, level);
}

// ---- states in scratch -------------------------------------------------------------------------
// Row `at` (NULL: the only one) of carried value k, for a set.
static sq_lv state_pointer(sq_semit *e, uint32_t k, uint32_t set, sq_lv at) {
  sq_kern *kn = e->k;
  const sq_type *part = &e->s->value[k].part;
  uint32_t bytes = (uint32_t)sq_dtype_table[sq_semit_kept(part->dtype)].bytes * e->p->w;
  sq_lv off = sq_kern_dim(kn, e->p->place[k]);
  if (at) off = LLVMBuildAdd(kn->b, off, LLVMBuildMul(kn->b, at, sq_k_int(kn, bytes), ""), "");
  if (set) {
    sq_dim lines = e->p->lines;
    if (at && !e->p->blocks) lines = sq_dim_storage(kn->g->dims, part->dim[0]);
    sq_lv rows = at ? sq_kern_dim(kn, lines) : sq_k_int(kn, 1);
    rows = LLVMBuildMul(kn->b, rows, sq_k_int(kn, (int64_t)set * bytes), "");
    off = LLVMBuildAdd(kn->b, off, rows, "");
  }
  return LLVMBuildGEP2(kn->b, kn->i8, e->scratch, &off, 1, "");
}

static void load_set(sq_semit *e, uint32_t k, uint32_t set, sq_lv at) {
  sq_dtype t = sq_semit_kept(e->s->value[k].part.dtype);
  sq_lv ptr = state_pointer(e, k, set, at);
  e->value[k][set] = sq_semit_has_vector(e, k) ? sq_k_load_row(e->k, t, ptr, e->p->w, NULL)
                                               : sq_k_load(e->k, t, ptr);
}

static void store_set(sq_semit *e, uint32_t k, uint32_t set, sq_lv at, sq_lv v) {
  sq_dtype t = sq_semit_kept(e->s->value[k].part.dtype);
  sq_lv ptr = state_pointer(e, k, set, at);
  if (sq_semit_has_vector(e, k))
    sq_k_store_row(e->k, t, ptr, sq_k_splat(e->k, v, e->p->w), NULL);
  else
    sq_k_store(e->k, t, ptr, v);
}

static void load_state(sq_semit *e, uint32_t k, sq_lv at) {
  for (uint32_t set = 0; set < e->sets; set++) load_set(e, k, set, at);
}

static void store_state(sq_semit *e, uint32_t k, sq_lv at, sq_lv *v) {
  for (uint32_t set = 0; set < e->sets; set++) store_set(e, k, set, at, v[set]);
}

// ---- nests -------------------------------------------------------------------------------------
static sq_lv find_element(sq_knest *t, const sq_scalar *r) {
  sq_selement *el = (sq_selement *)t;
  uint32_t value = el->x->inner[r->operand];
  return value == SQ_SWEEP_NONE ? NULL : el->e->value[value][el->set];
}

static nest *open_nest(sq_semit *e, const sq_sweep_nest *x) {
  nest *n = SQ_NEW(e->k->a, nest);
  const sq_generic *g = x->n->g;
  n->x = x;
  n->sums = g->n_red;
  for (uint32_t a = 0; a < g->n_par + g->n_red; a++)
    n->rows |= x->cls[a] != SQ_SWEEP_NONE && !e->s->lane[x->cls[a]];
  if (n->sums) n->acc = sq_kacc_of(g, false);
  for (uint32_t set = 0; set < e->sets; set++) {
    n->el[set] = sq_selement_new(e, x, set, SQ_SWEEP_NONE);
    e->group.find = find_element;
    sq_selement_hoist(n->el[set]);
  }
  return n;
}

static void open_turn(sq_semit *e, nest *n, sq_lv t) {
  for (uint32_t set = 0; set < e->sets; set++) sq_selement_turn(n->el[set], t);
}

static void open_row(sq_semit *e, nest *n, sq_lv row) {
  const sq_generic *g = n->x->n->g;
  for (uint32_t a = 0; a < g->n_par + g->n_red; a++) {
    if (n->x->cls[a] == SQ_SWEEP_NONE || e->s->lane[n->x->cls[a]]) continue;
    for (uint32_t set = 0; set < e->sets; set++) sq_knest_open(&n->el[set]->t, a, row);
  }
}

static void leave(sq_semit *e, nest *n, uint32_t *mark) {
  for (uint32_t set = 0; set < e->sets; set++) sq_knest_leave(&n->el[set]->t, mark[set]);
}

// With the accumulator (or the body) at hand: what the element becomes.
static sq_lv finish(sq_selement *el, sq_lv v) {
  const sq_generic *g = el->t.g;
  if (g->post == SQ_NO_SCALAR) return v;
  el->t.acc = v;
  el->t.acc_varies = sq_k_is_vec(v);
  return sq_knest_value(&el->t, g->post);
}

static void compute_set(sq_semit *e, nest *n, uint32_t set) {
  sq_selement *el = n->el[set];
  e->value[n->x->value][set] = finish(el, sq_knest_value(&el->t, n->x->n->g->body));
}

static void compute(sq_semit *e, nest *n) {
  for (uint32_t set = 0; set < e->sets; set++) compute_set(e, n, set);
}

static void write(sq_semit *e, nest *n) {
  sq_kern *k = e->k;
  sq_lv only = sq_semit_first_only(e, n->x);
  bool vector = false;
  for (uint32_t a = 0; a < n->x->n->g->n_par; a++) vector |= n->x->cls[a] == e->p->va;
  sq_kplace to = {.base = sq_kern_pointer(k, n->x->n->out[0]), .type = n->x->n->out[0]->type};
  sq_kif f;
  if (only) sq_kif_begin(k, &f, only);
  for (uint32_t set = 0; set < (vector ? e->sets : 1); set++) {
    sq_knest *t = &n->el[set]->t;
    uint32_t mark = sq_knest_enter(t); // what is computed under a condition is not known behind it
    sq_knest_store(t, &to, sq_knest_value(t, n->x->n->g->body), t->mask);
    sq_knest_leave(t, mark);
  }
  if (only) sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}

static const sq_sfixed *fixed_of(const sq_semit *e, uint32_t member) {
  static const sq_sfixed none;
  return e->p->fixed ? &e->p->fixed[member] : &none;
}

// ---- a turn ------------------------------------------------------------------------------------
typedef struct turn {
  sq_semit *e;
  nest **member, **store;
  uint32_t *level, levels;
  sq_lv rows; // how many
} turn;

static bool in_this(const turn *u, const nest *n, uint32_t level) {
  return u->level[n->x->value] == level && (n->rows || n->sums);
}

// Is carried value k read in the loop of the level?
static bool used_in(const turn *u, uint32_t k, uint32_t level) {
  const sq_sweep *s = u->e->s;
  bool used = false;
  for (uint32_t i = 0; i < s->n_member; i++)
    used |= in_this(u, u->member[i], level) && reads(u->member[i]->x, k);
  for (uint32_t i = 0; i < s->n_store; i++) used |= level == 1 && u->store[i]->x->value == k;
  return used && has_rows(s, k);
}

// A set's row from its states to their next values, so that little is held in registers at a time.
static void one_set(turn *u, uint32_t level, uint32_t set, sq_lv row, sq_lv *part,
                    const sq_lv *power) {
  sq_semit *e = u->e;
  const sq_sweep *s = e->s;
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    if (used_in(u, k, level)) load_set(e, k, set, row);
  for (uint32_t i = 0; i < s->n_member; i++) {
    nest *n = u->member[i];
    if (!in_this(u, n, level)) continue;
    sq_sfixed_row(e, fixed_of(e, i), n->el[set], u->rows, row, power);
    if (!n->sums) {
      compute_set(e, n, set);
      continue;
    }
    sq_lv x = sq_knest_value(&n->el[set]->t, n->x->n->g->body);
    sq_lv at = LLVMBuildTrunc(e->k->b, row, e->k->i32, "");
    sq_kacc_step(e->k, &n->acc, part + set * n->acc.parts, x, at, NULL, false);
    part += e->sets * n->acc.parts;
  }
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    if (has_rows(s, k) && s->next[k] != k && u->level[s->next[k]] == level)
      store_set(e, k, set, row, e->value[s->next[k]][set]);
}

// Reads of memory that are the same in all lanes, before any state is written: so LLVM sees that the sets
// have them in common.
static void read_common(nest *n, uint32_t set) {
  sq_knest *t = &n->el[set]->t;
  for (uint32_t j = 0; j < t->g->s.n; j++) {
    const sq_scalar *r = &t->g->s.v[j];
    bool plain = r->kind == SQ_SC_READ && n->x->inner[r->operand] == SQ_SWEEP_NONE &&
                 r->guard == SQ_NO_SCALAR && r->other == SQ_NO_SCALAR;
    for (uint32_t i = 0; plain && i < r->n_pos; i++) {
      sq_affine f = sq_scalar_affine(t->k->g, t->g, r->pos[i]);
      plain = f.ok;
    }
    if (plain && t->used[j] && t->hoistable[j] && !(t->deps[j] & ~t->open) &&
        !sq_knest_varies(t, j))
      sq_knest_uniform(t, j);
  }
}

// What runs in the loop of the level: all of it once, with sums begun at `part`.
static void one_row(turn *u, uint32_t level, sq_lv row, sq_lv *part, const sq_lv *power) {
  sq_semit *e = u->e;
  const sq_sweep *s = e->s;
  for (uint32_t i = 0; i < s->n_member; i++) {
    nest *n = u->member[i];
    if (!in_this(u, n, level)) continue;
    open_row(e, n, row);
    for (uint32_t set = 0; set < e->sets; set++) read_common(n, set);
  }
  for (uint32_t set = 0; set < e->sets; set++) one_set(u, level, set, row, part, power);
  for (uint32_t i = 0; i < s->n_store; i++) {
    if (!in_this(u, u->store[i], level)) continue;
    open_row(e, u->store[i], row);
    write(e, u->store[i]);
  }
}

static uint32_t begin_sums(turn *u, uint32_t level, sq_lv *part) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < u->e->s->n_member; i++) {
    nest *x = u->member[i];
    if (!in_this(u, x, level)) continue;
    for (uint32_t set = 0; set < u->e->sets; set++) {
      sq_selement_hoist(x->el[set]);
      if (!x->sums) continue;
      uint32_t w = sq_knest_varies(&x->el[set]->t, x->x->n->g->body) ? u->e->p->w : 1;
      sq_kacc_init(u->e->k, &x->acc, w, part + n);
      n += x->acc.parts;
    }
  }
  for (uint32_t i = 0; i < u->e->s->n_store; i++)
    for (uint32_t set = 0; set < u->e->sets; set++)
      if (in_this(u, u->store[i], level)) sq_selement_hoist(u->store[i]->el[set]);
  return n;
}

static void end_sums(turn *u, uint32_t level, sq_lv *part, sq_lv rows) {
  sq_semit *e = u->e;
  for (uint32_t i = 0; i < e->s->n_member; i++) {
    nest *n = u->member[i];
    if (!in_this(u, n, level) || !n->sums) continue;
    for (uint32_t set = 0; set < e->sets; set++, part += n->acc.parts) {
      sq_lv count = n->acc.m == SQ_MEAN && !n->acc.counted ? rows : NULL;
      sq_lv v = sq_kacc_result(e->k, &n->acc, part, count);
      e->value[n->x->value][set] = finish(n->el[set], v);
    }
  }
}

static void row_loop(turn *u, uint32_t level, uint32_t n, sq_lv *part, const sq_lv *power) {
  sq_semit *e = u->e;
  sq_kern *k = e->k;
  uint32_t all = e->s->n_member + e->s->n_store;
  uint32_t *mark = SQ_ARRAY(k->a, uint32_t, SQ_SWEEP_SETS * (all + 1));
  for (uint32_t i = 0; i < all; i++) {
    nest *x = i < e->s->n_member ? u->member[i] : u->store[i - e->s->n_member];
    for (uint32_t set = 0; set < e->sets; set++)
      mark[i * SQ_SWEEP_SETS + set] = sq_knest_enter(&x->el[set]->t);
  }
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), u->rows, 1, n, part);
  memcpy(part, l.phi, n * sizeof *part);
  one_row(u, level, l.i, part, power);
  sq_kloop_end(k, &l, part);
  for (uint32_t i = 0; i < all; i++)
    leave(e, i < e->s->n_member ? u->member[i] : u->store[i - e->s->n_member],
          mark + i * SQ_SWEEP_SETS);
  memcpy(part, l.phi, n * sizeof *part);
}

// The rows of a level, the short way where the exponents allow it.
static void all_rows(turn *u, uint32_t level) {
  sq_semit *e = u->e;
  sq_lv part[SQ_K_CARRIED], full[SQ_K_CARRIED], usual = NULL;
  uint32_t n = begin_sums(u, level, part);
  for (uint32_t i = 0; i < e->s->n_member; i++)
    if (in_this(u, u->member[i], level))
      usual = sq_k_and(e->k, usual, sq_sfixed_usual(e, fixed_of(e, i), u->member[i]->el));
  if (!usual) {
    row_loop(u, level, n, part, NULL);
  } else {
    sq_kif f;
    sq_lv c[SQ_MATH_POWER];
    memcpy(full, part, n * sizeof *part);
    sq_kif_begin(e->k, &f, usual);
    sq_math_power_begin(e->k, c);
    row_loop(u, level, n, part, c);
    sq_kif_else(e->k, &f);
    row_loop(u, level, n, full, NULL);
    sq_kif_end(e->k, &f, n, part, full, part);
  }
  end_sums(u, level, part, u->rows);
}

static void gap(turn *u, uint32_t level) {
  sq_semit *e = u->e;
  for (uint32_t i = 0; i < e->s->n_member; i++) {
    nest *n = u->member[i];
    if (n->rows || n->sums || u->level[n->x->value] != level) continue;
    compute(e, n);
  }
}

static void one_turn(turn *u, sq_lv t) {
  sq_semit *e = u->e;
  const sq_sweep *s = e->s;
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    if (!has_rows(s, k)) load_state(e, k, NULL);
  for (uint32_t i = 0; i < s->n_member; i++) open_turn(e, u->member[i], t);
  for (uint32_t i = 0; i < s->n_store; i++) open_turn(e, u->store[i], t);
  for (uint32_t i = 0; i < s->n_member; i++) sq_sahead_reads(e, u->member[i]->el, u->member[i]->x);
  for (uint32_t i = 0; i < s->n_store; i++) sq_sahead_writes(e, u->store[i]->el, u->store[i]->x);
  gap(u, 0);
  for (uint32_t level = 1; level <= u->levels; level++) {
    all_rows(u, level);
    gap(u, level);
  }
  for (uint32_t i = 0; i < s->n_store; i++)
    if (!u->store[i]->rows) write(e, u->store[i]);
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    if (!has_rows(s, k)) store_state(e, k, NULL, e->value[s->next[k]]);
}

// ---- a block -----------------------------------------------------------------------------------
// Between memory and the states: rows if they have any.
static void move(sq_semit *e, const sq_sweep_nest *x, uint32_t k, bool inward) {
  sq_kern *kn = e->k;
  bool rows = has_rows(e->s, k);
  if (!inward && !rows) load_state(e, k, NULL); // opening the nest reads it
  nest *n = open_nest(e, x);
  sq_kloop l;
  if (rows) {
    sq_lv all = sq_kern_dim(kn, e->s->value[k].part.dim[0]);
    sq_kloop_begin(kn, &l, sq_k_int(kn, 0), all, 1, 0, NULL);
    open_row(e, n, l.i);
  }
  if (inward) {
    sq_lv v[SQ_SWEEP_SETS];
    for (uint32_t set = 0; set < e->sets; set++)
      v[set] = sq_knest_value(&n->el[set]->t, x->n->g->body);
    store_state(e, k, rows ? l.i : NULL, v);
  } else {
    if (rows) load_state(e, k, l.i);
    write(e, n);
  }
  if (rows) sq_kloop_end(kn, &l, NULL);
}

void sq_srows_begin(sq_semit *e, sq_lv block, void *user) {
  (void)block;
  (void)user;
  for (uint32_t v = 0; v < e->s->n_value; v++)
    e->value[v] = SQ_ARRAY(e->k->a, sq_lv, SQ_SWEEP_SETS);
  for (uint32_t i = 0; i < e->s->scan->n_carried; i++) move(e, &e->s->load[i], i, true);
  sq_lv rows = sq_kern_dim(e->k, e->s->size[row_class(e->s)]);
  for (uint32_t i = 0; i < e->s->n_member; i++)
    sq_sfixed_begin(e, fixed_of(e, i), &e->s->member[i], rows);
}

void sq_srows_end(sq_semit *e, sq_lv block, void *user) {
  (void)block;
  (void)user;
  for (uint32_t i = 0; i < e->s->n_final; i++)
    move(e, &e->s->final[i], e->s->final[i].value, false);
}

void sq_srows_turns(sq_semit *e, sq_lv block, void *user) {
  (void)block;
  sq_kern *k = e->k;
  const sq_sweep *s = e->s;
  const sq_sturns *r = user;
  turn u = {.e = e, .rows = sq_kern_dim(k, s->size[row_class(s)])};
  u.level = SQ_ARRAY(k->a, uint32_t, s->n_value + 1);
  find_levels(s, u.level);
  for (uint32_t v = 0; v < s->n_value; v++)
    if (u.level[v] > u.levels) u.levels = u.level[v];
  u.member = SQ_ARRAY(k->a, nest *, s->n_member + 1);
  u.store = SQ_ARRAY(k->a, nest *, s->n_store + 1);
  for (uint32_t i = 0; i < s->n_member; i++) u.member[i] = open_nest(e, &s->member[i]);
  for (uint32_t i = 0; i < s->n_store; i++) u.store[i] = open_nest(e, &s->store[i]);
  sq_kloop l;
  sq_kloop_begin(k, &l, r->lo, r->hi, 1, 0, NULL);
  one_turn(&u, sq_semit_turn(e, l.i));
  sq_kloop_end(k, &l, NULL);
}

void sq_srows_all(sq_semit *e, sq_lv block, void *user) {
  sq_sturns all = {sq_k_int(e->k, 0), sq_kern_dim(e->k, e->s->extent)};
  sq_srows_begin(e, block, user);
  sq_srows_turns(e, block, &all);
  sq_srows_end(e, block, user);
}
