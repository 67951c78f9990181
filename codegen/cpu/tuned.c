// What --tune found. In: a class of kernels, as a text. Out: how they are cut on this machine.
//
//   DIR/KEY.tune   u64 version | rows (sq_tuned_row), classes ascending
//                  KEY: the machine's facts and processor
//
// A row says how a kernel is cut, never what it computes: where it fits the machine no more, or the
// file is damaged, the model's choice stands.
#include "codegen/cpu/cut.h"
#include "codegen/cpu/driver.h"
#include <math.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { MOST_ROWS = 4096 };
static const char suffix[] = ".tune";
static const uint64_t version = 1;

uint64_t sq_tuned_class(const char *class) { return XXH3_64bits(class, strlen(class)); }

const sq_tuned_row *sq_tuned_find(const sq_target *t, const char *class) {
  uint64_t want = sq_tuned_class(class);
  for (uint32_t lo = 0, hi = t->tuned ? t->tuned->n : 0; lo < hi;) {
    uint32_t mid = lo + (hi - lo) / 2;
    const sq_tuned_row *r = &t->tuned->row[mid];
    if (r->class == want) return r;
    if (r->class < want)
      lo = mid + 1;
    else
      hi = mid;
  }
  return NULL;
}

// ---- cuts as numbers ---------------------------------------------------------------------------
sq_tuned_row sq_tuned_of_gemm(const char *class, const sq_gemm_cut *c, float gain) {
  return (sq_tuned_row){.class = sq_tuned_class(class),
                        .kind = SQ_TUNED_GEMM,
                        .number = {c->mr, c->nv, c->depth_bytes, c->rows_bytes, c->block_bytes,
                                   c->least_tiles, c->most_tiles, c->unit_cycles, c->most_units,
                                   c->few_columns},
                        .gain = gain};
}
bool sq_tuned_gemm(const sq_machine *m, const sq_tuned_row *r, sq_gemm_cut *c) {
  sq_gemm_cut x = *c;
  const uint32_t *n = r->number;
  x.mr = n[0];
  x.nv = n[1];
  x.depth_bytes = n[2];
  x.rows_bytes = n[3];
  x.block_bytes = n[4];
  x.least_tiles = n[5];
  x.most_tiles = n[6];
  x.unit_cycles = n[7];
  x.most_units = n[8];
  x.few_columns = n[9];
  if (r->kind != SQ_TUNED_GEMM || !sq_gemm_cut_fits(m, &x)) return false;
  *c = x;
  return true;
}
sq_tuned_row sq_tuned_of_stream(const char *class, const sq_stream_cut *c, float gain) {
  return (sq_tuned_row){.class = sq_tuned_class(class),
                        .kind = SQ_TUNED_STREAM,
                        .number = {c->nv, c->score_bytes},
                        .gain = gain};
}
bool sq_tuned_stream(const sq_machine *m, const sq_tuned_row *r, sq_stream_cut *c) {
  sq_stream_cut x = {.nv = r->number[0], .score_bytes = r->number[1]};
  if (r->kind != SQ_TUNED_STREAM || !sq_stream_cut_fits(m, &x)) return false;
  *c = x;
  return true;
}

// ---- the file ----------------------------------------------------------------------------------
static sq_cache_key key_of(sq_arena *a, const sq_target *t) {
  sq_text key = {.arena = a};
  sq_text_add(&key, "tuned 1 %s %s %s ", t->triple, t->cpu, t->features);
  sq_machine m = t->machine;
  m.rates.measured = false; // found with the rates of one day, it holds on the next
  sq_machine_key(&m, &key);
  return sq_cache_key_of(key.v, key.n);
}

static bool in_order(const sq_tuned_row *r, uint32_t n) {
  for (uint32_t k = 0; k < n; k++) {
    if (k && r[k - 1].class >= r[k].class) return false;
    if (r[k].kind != SQ_TUNED_GEMM && r[k].kind != SQ_TUNED_STREAM) return false;
    if (!isfinite(r[k].gain) || r[k].gain < 0) return false;
  }
  return true;
}

const sq_tuned *sq_tuned_load(sq_arena *a, const char *dir, const sq_target *t, bool *broken) {
  const char *data;
  size_t size;
  sq_cache_key key = key_of(a, t);
  *broken = false;
  if (!sq_cache_has(dir, key, suffix)) return NULL;
  *broken = true;
  if (!sq_cache_get(a, dir, key, suffix, &data, &size)) return NULL;
  if (size < sizeof version || memcmp(data, &version, sizeof version)) return NULL;
  size -= sizeof version;
  size_t n = size / sizeof(sq_tuned_row);
  if (size % sizeof(sq_tuned_row) || n > MOST_ROWS) return NULL;
  sq_tuned_row *row = SQ_ARRAY(a, sq_tuned_row, n + 1);
  memcpy(row, data + sizeof version, size);
  if (!in_order(row, (uint32_t)n)) return NULL;
  *broken = false;
  sq_tuned *all = SQ_NEW(a, sq_tuned);
  *all = (sq_tuned){.n = (uint32_t)n, .row = row};
  return all;
}

const sq_tuned *sq_tuned_with(sq_arena *a, const sq_tuned *old, const sq_tuned_row *row) {
  uint32_t have = old ? old->n : 0, n = 0;
  sq_tuned_row *to = SQ_ARRAY(a, sq_tuned_row, have + 1);
  bool placed = !row->kind;
  for (uint32_t k = 0; k < have; k++) {
    if (!placed && old->row[k].class >= row->class) {
      to[n++] = *row;
      placed = true;
    }
    if (old->row[k].class != row->class) to[n++] = old->row[k];
  }
  if (!placed) to[n++] = *row;
  sq_tuned *all = SQ_NEW(a, sq_tuned);
  *all = (sq_tuned){.n = n, .row = to};
  return all;
}

bool sq_tuned_store(sq_arena *a, const char *dir, const sq_target *t, const sq_tuned *all) {
  sq_cache_key key = key_of(a, t);
  uint32_t n = !all ? 0 : all->n < MOST_ROWS ? all->n : MOST_ROWS;
  size_t rows = n * sizeof(sq_tuned_row);
  char *data = SQ_ARRAY(a, char, sizeof version + rows);
  memcpy(data, &version, sizeof version);
  if (rows) memcpy(data + sizeof version, all->row, rows);
  return sq_cache_put(dir, key, suffix, data, sizeof version + rows);
}

void sq_tuned_key(const sq_tuned *t, sq_text *key) {
  if (!t || !t->n) return;
  sq_cache_key k = sq_cache_key_of(t->row, t->n * sizeof *t->row);
  sq_text_add(key, "tuned %llx %llx", (unsigned long long)k.low, (unsigned long long)k.high);
}
