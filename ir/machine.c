// The machine's description: stated defaults, what follows from it, what functions cost.
#include "ir/machine.h"
#include <math.h>

// A usual processor of the last years, where nothing is known.
enum { L1 = 32 << 10, L2 = 512 << 10, CORES = 4, VECTORS_A_CYCLE = 2 };
static const double CLOCK = 3e9, MEMORY = 20e9, L2_A_CORE = 64e9, L3_A_CORE = 32e9;

void sq_machine_complete(sq_machine *m) {
  if (!m->l1_bytes) m->l1_bytes = L1;
  if (!m->l2_bytes) m->l2_bytes = L2;
  if (!m->cores) m->cores = CORES;
  if (!m->step_bytes) m->step_bytes = m->vector_bytes;
  if (m->rates.measured) return;
  double lanes = sq_machine_lanes(m, 4), cores = m->cores;
  m->rates = (sq_rates){.flops = 2 * VECTORS_A_CYCLE * lanes * CLOCK * cores * (m->fma ? 1 : 0.5),
                        .memory = MEMORY,
                        .l2 = L2_A_CORE * cores,
                        .l3 = L3_A_CORE * cores};
}

sq_machine sq_machine_level(int level) {
  bool arm = level == 1;
  sq_machine m = {.vector_bytes = level >= 4   ? 64
                                  : level == 3 ? 32
                                               : 16,
                  .vector_registers = arm || level >= 4 ? 32 : 16,
                  .fma = arm || level >= 3,
                  .fp16 = arm || level >= 3};
  sq_machine_complete(&m);
  return m;
}

static bool usable(double rate) { return isfinite(rate) && rate > 1e6 && rate < 1e18; }

void sq_machine_calibrate(sq_machine *m, const sq_rates *r) {
  if (!usable(r->flops) || !usable(r->memory)) return;
  m->rates.measured = true;
  m->rates.flops = r->flops;
  m->rates.memory = r->memory;
  if (usable(r->l2)) m->rates.l2 = r->l2;
  if (usable(r->l3)) m->rates.l3 = r->l3;
}

void sq_machine_key(const sq_machine *m, sq_text *key) {
  sq_text_add(key, "%u %u %u %d%d%d %u %u %u %u ", m->vector_bytes, m->step_bytes,
              m->vector_registers, m->fma, m->fp16, m->bf16, m->l1_bytes, m->l2_bytes, m->l3_bytes,
              m->cores);
  if (!m->rates.measured) return;
  const double sizes[] = {0, m->l3_bytes, HUGE_VAL};
  for (int k = 0; k < 3; k++) sq_text_add(key, "%u ", sq_machine_hidden_rows(m, sizes[k]));
}

uint32_t sq_machine_lanes(const sq_machine *m, uint32_t bytes) {
  return m->vector_bytes > bytes ? m->vector_bytes / bytes : 1;
}

uint32_t sq_machine_step_lanes(const sq_machine *m, uint32_t bytes) {
  uint32_t step = m->step_bytes < m->vector_bytes ? m->step_bytes : m->vector_bytes;
  return step > bytes ? step / bytes : 1;
}

uint32_t sq_machine_near(const sq_machine *m) { return m->l1_bytes / 4 * 3; }

double sq_machine_clock(const sq_machine *m) {
  double cores = m->cores ? m->cores : 1, vector = 2.0 * sq_machine_lanes(m, 4);
  return m->rates.flops / cores / vector / VECTORS_A_CYCLE * (m->fma ? 1 : 2);
}

double sq_machine_reads(const sq_machine *m, double bytes, const char **place) {
  const char *none;
  if (!place) place = &none;
  double cores = m->cores ? m->cores : 1;
  if (bytes <= m->l2_bytes * cores) return *place = "the second-level caches", m->rates.l2;
  if (m->l3_bytes && bytes <= m->l3_bytes) return *place = "the third-level cache", m->rates.l3;
  return *place = "memory", m->rates.memory;
}

// A vector takes bytes / rate to be read, and a multiply-add for each row.
uint32_t sq_machine_hidden_rows(const sq_machine *m, double bytes) {
  enum { USUAL = 4, MOST = 16 };
  if (!m->rates.measured) return USUAL;
  double read = m->vector_bytes / sq_machine_reads(m, bytes, NULL);
  double rows = floor(read * m->rates.flops / (2.0 * sq_machine_lanes(m, 4)) + 0.5);
  return rows < USUAL ? USUAL : rows > MOST ? MOST : (uint32_t)rows;
}

uint32_t sq_ewise_cycles(sq_ewise e) {
  switch ((int)e) {
  case SQ_EW_DIV:
  case SQ_EW_SQRT:
  case SQ_EW_RSQRT:
    return 4;
  case SQ_EW_FLOORDIV:
  case SQ_EW_MOD:
    return 10;
  case SQ_EW_EXP:
  case SQ_EW_EXP2:
  case SQ_EW_LOG:
  case SQ_EW_LOG2:
    return 12;
  case SQ_EW_EXPM1:
  case SQ_EW_LOG1P:
  case SQ_EW_SIGMOID:
  case SQ_EW_TANH:
  case SQ_EW_ERF:
    return 18;
  case SQ_EW_SIN:
  case SQ_EW_COS:
  case SQ_EW_TAN:
  case SQ_EW_ATAN2:
    return 40;
  case SQ_EW_POW:
    return 80;
  default:
    return 1;
  }
}
