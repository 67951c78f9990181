// Keys and values of stream_wgmma.c by tensor maps (runtime/cuda_map.c). In: keys and values that are boxes of their
// memory. Out: one thread asks for a block of either, which the processor copies, swizzled, with zeros for what is
// outside; a gate opens when all bytes are there.
//
//   places 0, 1 of keys: gates 0, 1     places 0, 1 of values: gates 2, 3
//   block number n of a block of threads, over its tiles, lies in places n % 2, and its gates' phase is n / 2
//
// They are boxes where memory runs along what a line of them has, in whole vectors, the key is one position, and
// nothing else depends on either; up to four positions, which are the axes of the map in the order of memory. Keys
// behind the last come as they are, and have no weight. What is no box comes by cp.async.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/stream.h"

enum { ELEMENT = 2, VECTOR = 8, LINE = 64, KEYS = 64, PANEL = KEYS * LINE / 2 }; // words

static const sq_scalar *read_of(const sq_cu_lines *l, const sq_value **from) {
  const sq_scalar *r = &l->m->n->g->s.v[sq_cu_stream_read(l->m, l->factor)];
  *from = l->m->n->in[r->operand];
  return r;
}
// A line is all that runs along memory, from its first element on.
static bool is_plain(const sq_cu_attend *x, const sq_cu_lines *l, uint32_t pos, uint32_t line) {
  const sq_generic *g = l->m->n->g;
  sq_affine a = sq_scalar_affine(x->k->g, g, pos);
  int64_t offset;
  if (!a.ok || !sq_dim_is_const(x->k->g->dims, a.offset, &offset) || offset) return false;
  for (uint32_t c = 0; c < g->n_par + g->n_red; c++)
    if (a.coef[c] != (c == line)) return false;
  return true;
}
static bool is_box(const sq_cu_attend *x, const sq_cu_lines *l) {
  sq_graph *graph = x->k->g;
  const sq_generic *g = l->m->n->g;
  const uint32_t read = sq_cu_stream_read(l->m, l->factor);
  const uint32_t line = sq_stream_axis(l->m, l->role), key = sq_stream_axis(l->m, SQ_STREAM_KEY);
  const sq_value *v;
  if (read == SQ_NO_SCALAR || !sq_cu_stream_runs(x->s, l->m, read, line, VECTOR)) return false;
  const sq_scalar *r = read_of(l, &v);
  if (r->n_pos != v->type.rank || r->n_pos < 2 || r->n_pos > SQ_CU_MAP_AXES) return false;
  uint32_t found = 0;
  for (uint32_t i = 0; i < r->n_pos; i++) {
    if (!(sq_scalar_axis_set(graph, g, r->pos[i]) >> key & 1)) continue;
    sq_affine a = sq_scalar_affine(graph, g, r->pos[i]);
    if (found++ || i + 1 == r->n_pos || !a.ok || a.coef[key] != 1) return false;
  }
  int64_t n;
  const bool whole = sq_dim_is_const(graph->dims, l->n, &n) && n == l->length;
  return found == 1 && (whole || is_plain(x, l, r->pos[r->n_pos - 1], line));
}
static sq_cu_stream_map make_map(sq_cu_attend *x, const sq_cu_lines *l) {
  sq_cu *k = x->k;
  sq_cg *cg = k->cg;
  sq_dims *ds = k->g->dims;
  const sq_value *v;
  const sq_scalar *r = read_of(l, &v);
  const uint32_t last = r->n_pos - 1, key = sq_stream_axis(l->m, SQ_STREAM_KEY);
  const bool plain = is_plain(x, l, r->pos[last], sq_stream_axis(l->m, l->role));
  sq_cu_map map = {.at = sq_cg_pointer(cg, v),
                   .bytes = sq_cg_bytes(cg, v),
                   .type = v->type.dtype,
                   .rank = r->n_pos,
                   .box = {LINE, 1, 1, 1}};
  map.dim[0] = sq_cu_some(k, sq_cg_dim(cg, plain ? l->n : v->type.dim[last]));
  LLVMValueRef stride = sq_cg_i64(cg, ELEMENT);
  for (uint32_t axis = 1; axis < map.rank; axis++) {
    const uint32_t i = last - axis;
    LLVMValueRef inner = sq_cg_dim(cg, sq_dim_storage(ds, v->type.dim[i + 1]));
    map.stride[axis - 1] = stride = sq_cu_mul(k, stride, sq_cu_some(k, inner));
    map.dim[axis] = sq_cu_some(k, sq_cg_dim(cg, v->type.dim[i]));
    if (sq_scalar_axis_set(k->g, l->m->n->g, r->pos[i]) >> key & 1) map.box[axis] = KEYS;
  }
  return (sq_cu_stream_map){sq_cu_map_add(k, &map), map.rank};
}
static sq_cu_lines lines(sq_cu_attend *x, bool values, const char *first) {
  return values ? sq_cu_stream_values(x, first, "tile_v", "")
                : sq_cu_stream_keys(x, first, "tile_k", "");
}
bool sq_cu_stream_maps(sq_cu_attend *x) {
  const sq_cu_lines key = lines(x, false, "lo"), value = lines(x, true, "lo");
  if (!is_box(x, &key) || !is_box(x, &value)) return false;
  x->map[0] = make_map(x, &key);
  x->map[1] = make_map(x, &value);
  return true;
}

void sq_cu_stream_gates(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_dynamic(k, true, "sq_u64", "gates", 4, 4 * 8, 8);
  sq_cu_open(k, "if (SQ_TID == 0) {");
  sq_cu_line(k, "for (int i = 0; i < 4; i++) SQ_GATE_INIT(gates, i);");
  sq_cu_line(k, "SQ_GATES_READY();");
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "sq_u32 turn = 0; // blocks of keys before");
}
// By one thread, for the block of this number whose first key is `first`.
void sq_cu_stream_ask(sq_cu_attend *x, bool values, const char *number, const char *first) {
  sq_cu *k = x->k;
  const sq_cu_lines l = lines(x, values, first);
  const sq_value *v;
  const sq_scalar *r = read_of(&l, &v);
  const int panels = (int)l.length / LINE;
  sq_cu_open(k, "{");
  sq_cu_line(k, "const int to = (int)((%s) %% 2);", number);
  sq_cu_line(k, "const sq_i64 key = %s, %s = %s;", first, l.index, l.from);
  sq_cu_line(k, "SQ_GATE_EXPECT(gates, to + %d, %d);", values ? 2 : 0, panels * PANEL * 4);
  sq_cu_mark mark = sq_cu_members_enter(x);
  const char *at[SQ_CU_MAP_AXES] = {"0", "0", "0", "0"};
  for (uint32_t axis = 0; axis < r->n_pos; axis++)
    at[axis] = sq_cu_nest_value(l.t, r->pos[r->n_pos - 1 - axis]);
  for (int p = 0; p < panels; p++)
    sq_cu_line(k,
               "SQ_BULK(%u, %s, to * %d + %d, gates, to + %d, %s, (int)(%s) + %d, (int)(%s), "
               "(int)(%s), (int)(%s));",
               x->map[values].rank, l.tile, panels * PANEL, p * PANEL, values ? 2 : 0,
               x->map[values].name, at[0], p * LINE, at[1], at[2], at[3]);
  sq_cu_members_leave(x, mark);
  sq_cu_close(k);
}
// Until the block of this number has come.
void sq_cu_stream_await(sq_cu_attend *x, bool values, const char *number) {
  sq_cu_line(x->k, "SQ_GATE_WAIT(gates, (int)((%s) %% 2) + %d, (%s) / 2 & 1);", number,
             values ? 2 : 0, number);
}
