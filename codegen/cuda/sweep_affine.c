// Affine maps of turns, a thread's turn each: put together in a warp by shuffles, from warp to warp through
// shared memory. Numbers that are 0 in every turn are left out.
//
//   in a warp   second half of each 2 * half threads:  (by, other) = by (by1, other1) + (0, other)
//   d           from 0 before the first turn, of affine scans from the states themselves, by the maps of the warps before, then by the thread's own
#include "codegen/cuda/sweep_newton.h"

static void close_products(sq_cu_affine *m) {
  for (uint32_t l = 0; l < m->n; l++)
    for (uint32_t i = 0; i < m->n; i++)
      for (uint32_t j = 0; j < m->n; j++) m->has[i][j] |= m->has[i][l] && m->has[l][j];
  m->numbers = m->n;
  for (uint32_t i = 0; i < m->n; i++)
    for (uint32_t j = 0; j < m->n; j++) m->numbers += m->has[i][j];
}
sq_cu_affine sq_cu_affine_declare(sq_cu_newton *x) {
  sq_cu_affine m = {.n = x->n};
  const char *by[SQ_NEWTON_UNKNOWNS][SQ_NEWTON_UNKNOWNS] = {0};
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    uint32_t v = x->s->next[c], at = x->f.first[c];
    for (uint32_t j = 0; at != SQ_SWEEP_NONE && j < sq_cu_newton_elements(x, c); j++) {
      if (x->f.affine) {
        sq_cu_line(x->k, "%s o%u = %s[%u];", x->type, at + j, x->w.value[v].base, j);
      } else {
        sq_cu_line(x->k, "const %s n%u = %s[%u], r%u = n%u - g%u;", x->type, at + j,
                   x->w.value[v].base, j, at + j, at + j, at + j);
        sq_cu_line(x->k, "%s o%u = r%u;", x->type, at + j, at + j);
      }
      for (uint32_t i = 0; x->slope[v] && i < x->n; i++)
        m.has[at + j][i] = (by[at + j][i] = x->slope[v][j * x->n + i]) != NULL;
    }
  }
  close_products(&m);
  for (uint32_t i = 0; i < m.n; i++)
    for (uint32_t j = 0; j < m.n; j++)
      if (m.has[i][j])
        sq_cu_line(x->k, "%s m%u_%u = %s;", x->type, i, j, by[i][j] ? by[i][j] : "0");
  return m;
}

void sq_cu_affine_warp(sq_cu_newton *x, const sq_cu_affine *m) {
  sq_cu *k = x->k;
  sq_cu_line(k, m->n > 2 ? "#pragma unroll 1" : "#pragma unroll");
  sq_cu_open(k, "for (int half = 1; half < 32; half *= 2) {");
  sq_cu_line(k, "const int end = (lane & -2 * half) + half - 1;");
  for (uint32_t i = 0; i < m->n; i++) {
    sq_cu_line(k, "const %s e%u = sq_shuffle_at(SQ_ME o%u, end);", x->type, i, i);
    for (uint32_t j = 0; j < m->n; j++)
      if (m->has[i][j])
        sq_cu_line(k, "const %s f%u_%u = sq_shuffle_at(SQ_ME m%u_%u, end);", x->type, i, j, i, j);
  }
  sq_cu_open(k, "if (lane & half) {");
  for (uint32_t i = 0; i < m->n; i++) {
    const char *row[SQ_NEWTON_UNKNOWNS] = {0};
    for (uint32_t j = 0; j < m->n; j++) {
      if (!m->has[i][j]) continue;
      sq_cu_line(k, "o%u = sq_c_fma(m%u_%u, e%u, o%u);", i, i, j, j, i);
      for (uint32_t l = 0; l < m->n; l++) {
        if (!m->has[j][l]) continue;
        const char *sum = sq_cu_temp(k, "q");
        if (row[l])
          sq_cu_line(k, "const %s %s = sq_c_fma(m%u_%u, f%u_%u, %s);", x->type, sum, i, j, j, l,
                     row[l]);
        else
          sq_cu_line(k, "const %s %s = m%u_%u * f%u_%u;", x->type, sum, i, j, j, l);
        row[l] = sum;
      }
    }
    for (uint32_t l = 0; l < m->n; l++)
      if (m->has[i][l]) sq_cu_line(k, "m%u_%u = %s;", i, l, row[l] ? row[l] : "0");
  }
  sq_cu_close(k);
  sq_cu_close(k);
}

void sq_cu_affine_share(sq_cu_newton *x, const sq_cu_affine *m) {
  sq_cu *k = x->k;
  uint32_t at = 0;
  sq_cu_open(k, "if (lane == 31) {");
  for (uint32_t i = 0; i < m->n; i++) {
    sq_cu_line(k, "SQ_SST(maps, warp * %u + %u, o%u);", m->numbers, at++, i);
    for (uint32_t j = 0; j < m->n; j++)
      if (m->has[i][j])
        sq_cu_line(k, "SQ_SST(maps, warp * %u + %u, m%u_%u);", m->numbers, at++, i, j);
  }
  sq_cu_close(k);
}
void sq_cu_affine_solve(sq_cu_newton *x, const sq_cu_affine *m) {
  sq_cu *k = x->k;
  uint32_t at = 0;
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    for (uint32_t j = 0; sq_cu_newton_solves(x, c) && j < sq_cu_newton_elements(x, c); j++)
      sq_cu_line(k, "%s d%u = %s;", x->type, x->f.first[c] + j,
                 x->f.affine ? sq_arena_fmt(k->a, "SQ_SLD(carry%u, %u)", c, j) : "0");
  sq_cu_line(k, "#pragma unroll 4");
  sq_cu_open(k, "for (int p = 0; p < warp; p++) {");
  for (uint32_t i = 0; i < m->n; i++) {
    sq_cu_line(k, "%s c%u = SQ_SLD(maps, p * %u + %u);", x->type, i, m->numbers, at++);
    for (uint32_t j = 0; j < m->n; j++)
      if (m->has[i][j])
        sq_cu_line(k, "c%u = sq_c_fma(SQ_SLD(maps, p * %u + %u), d%u, c%u);", i, m->numbers, at++,
                   j, i);
  }
  for (uint32_t i = 0; i < m->n; i++) sq_cu_line(k, "d%u = c%u;", i, i);
  sq_cu_close(k);
  for (uint32_t i = 0; i < m->n; i++)
    for (uint32_t j = 0; j < m->n; j++)
      if (m->has[i][j]) sq_cu_line(k, "o%u = sq_c_fma(m%u_%u, d%u, o%u);", i, i, j, j, i);
  for (uint32_t i = 0; i < m->n; i++) sq_cu_line(k, "d%u = o%u;", i, i);
}
