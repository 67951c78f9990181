// The descriptor as bytes that a file may hold. In: an sq_abi_model. Out: bytes, and from them the
// same descriptor again, without code and kernels. Field by field in the order of runtime/abi.h.
#include "base/bytes.h"
#include "codegen/codegen.h"

// A new field of abi.h belongs into the functions below.
_Static_assert(sizeof(sq_abi_model) == 144 && sizeof(sq_abi_entry) == 104 &&
                   sizeof(sq_abi_tensor) == 32 && sizeof(sq_abi_require) == 40 &&
                   sizeof(sq_abi_param) == 56 && sizeof(sq_abi_state) == 72 &&
                   sizeof(sq_abi_site) == 32,
               "a structure of the descriptor has changed");

static void expr(sq_bytes *b, sq_abi_expr *e) {
  sq_bytes_u32(b, &e->n);
  SQ_BYTES_PLAIN(b, e->code, e->n);
}

static void tensor(sq_bytes *b, sq_abi_tensor *t) {
  sq_bytes_text(b, &t->name);
  sq_bytes_u32(b, &t->dtype);
  sq_bytes_u32(b, &t->rank);
  SQ_BYTES_EACH(b, t->dim, t->rank, expr);
  sq_bytes_u32(b, &t->binds);
}

static void require(sq_bytes *b, sq_abi_require *r) {
  expr(b, &r->a);
  expr(b, &r->b);
  sq_bytes_u32(b, &r->equal);
  sq_bytes_u32(b, &r->site);
}

static void entry(sq_bytes *b, sq_abi_entry *e) {
  sq_bytes_text(b, &e->name);
  sq_bytes_u32(b, &e->n_in);
  SQ_BYTES_EACH(b, e->in, e->n_in, tensor);
  sq_bytes_u32(b, &e->n_out);
  SQ_BYTES_EACH(b, e->out, e->n_out, tensor);
  sq_bytes_u32(b, &e->n_require);
  SQ_BYTES_EACH(b, e->require, e->n_require, require);
  expr(b, &e->arena);
  sq_bytes_u32(b, &e->n_param);
  SQ_BYTES_PLAIN(b, e->param, e->n_param);
  sq_bytes_u32(b, &e->n_state);
  SQ_BYTES_PLAIN(b, e->state, e->n_state);
  sq_bytes_u32(b, &e->writes);
}

static void text(sq_bytes *b, const char **s) { sq_bytes_text(b, s); }

static uint32_t product(sq_bytes *b, uint32_t x, uint32_t y) {
  if (y && x > UINT32_MAX / y) b->bad = true;
  return b->bad ? 0 : x * y;
}

static void param(sq_bytes *b, sq_abi_param *p) {
  sq_bytes_text(b, &p->name);
  sq_bytes_u32(b, &p->dtype);
  sq_bytes_u32(b, &p->rank);
  SQ_BYTES_PLAIN(b, p->dim, p->rank);
  sq_bytes_u32(b, &p->count);
  sq_bytes_u32(b, &p->n_alt);
  uint32_t n = product(b, p->count, p->n_alt);
  SQ_BYTES_EACH(b, p->names, n, text);
  sq_bytes_u32(b, &p->row);
  sq_bytes_u32(b, &p->written);
  sq_bytes_u32(b, &p->frozen);
}

static void state(sq_bytes *b, sq_abi_state *s) {
  sq_bytes_text(b, &s->name);
  sq_bytes_u32(b, &s->dtype);
  sq_bytes_u32(b, &s->rank);
  SQ_BYTES_PLAIN(b, s->dim, s->rank);
  sq_bytes_u32(b, &s->count);
  SQ_BYTES_EACH(b, s->names, s->count, text);
  sq_bytes_u32(b, &s->row);
  sq_bytes_raw(b, &s->grow_axis, sizeof s->grow_axis);
  sq_bytes_u32(b, &s->grow_sym);
  sq_bytes_u32(b, &s->kept);
  sq_bytes_u32(b, &s->derived);
  sq_bytes_u32(b, &s->init);
  sq_bytes_u32(b, &s->has_instances);
}

static void site(sq_bytes *b, sq_abi_site *s) {
  sq_bytes_text(b, &s->file);
  sq_bytes_u32(b, &s->line);
  sq_bytes_u32(b, &s->column);
  sq_bytes_text(b, &s->message);
  sq_bytes_text(b, &s->source);
}

void sq_abi_bytes(sq_bytes *b, sq_abi_model *m) {
  sq_bytes_u32(b, &m->version);
  if (m->version != SQ_ABI_VERSION) b->bad = true;
  sq_bytes_text(b, &m->name);
  sq_bytes_u32(b, &m->float_dtype);
  sq_bytes_u32(b, &m->n_sym);
  SQ_BYTES_EACH(b, m->sym_names, m->n_sym, text);
  sq_bytes_u32(b, &m->n_entry);
  SQ_BYTES_EACH(b, m->entry, m->n_entry, entry);
  sq_bytes_u32(b, &m->n_init);
  SQ_BYTES_EACH(b, m->init, m->n_init, entry);
  sq_bytes_u32(b, &m->n_param);
  SQ_BYTES_EACH(b, m->param, m->n_param, param);
  sq_bytes_u32(b, &m->n_state);
  SQ_BYTES_EACH(b, m->state, m->n_state, state);
  sq_bytes_u32(b, &m->n_site);
  SQ_BYTES_EACH(b, m->site, m->n_site, site);
  sq_bytes_text(b, &m->config);
  sq_bytes_text(b, &m->cpu);
  sq_bytes_u32(b, &m->n_feature);
  SQ_BYTES_EACH(b, m->feature, m->n_feature, text);
  sq_bytes_u32(b, &m->device);
}
