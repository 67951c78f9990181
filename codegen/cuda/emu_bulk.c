// Copies by tensor maps under emulation, and the gates (mbarriers) that hear of them. In: a map as 16 rows
// (runtime/cuda_map.c), a place, a gate. Out: the box in shared memory, swizzled, zeros for what is outside,
// once somebody waits for its gate; a fault where bytes come that were not expected, or a map is misused.
//
//   expect 32768 | copy 16384, copy 16384: under way | wait: they arrive, the phase ends
//
// That is the latest they can arrive. The earliest is when they are asked for: then nobody may be reading
// what they write.
#include "codegen/cuda/emu.h"
#include <string.h>

enum { ELEMENT = 2, AXES = 4, SWIZZLE_128 = 3 };
enum {
  ADDRESS,
  TYPE,
  RANK,
  DIM,
  STRIDE = DIM + AXES,
  BOX = STRIDE + AXES - 1,
  SWIZZLE = BOX + AXES
};

// ---- gates -------------------------------------------------------------------------------------
static sq_emu_gate *find(sq_emu_fiber *f, const void *at) {
  sq_emu_module *m = f->m;
  for (uint32_t k = 0; k < m->n_gate; k++)
    if (m->gate[k].at == at) return &m->gate[k];
  sq_emu_stop(f, "a gate is used that was not made");
}
static void make(sq_emu_fiber *f, const void *at, int64_t count) {
  sq_emu_module *m = f->m;
  if (m->n_gate == SQ_EMU_GATES) sq_emu_stop(f, "more than %d gates", SQ_EMU_GATES);
  if (sq_emu_address(f, at) % 8) sq_emu_stop(f, "a gate is not at a multiple of 8");
  sq_emu_touch_shared(f, "a gate", at, 8, SQ_EMU_WRITES);
  m->gate[m->n_gate++] = (sq_emu_gate){at, count, count, 0, 0};
}
static void end_phase(sq_emu_fiber *f, sq_emu_gate *g) {
  if (g->left == 0 && g->bytes < 0) sq_emu_stop(f, "more bytes come to a gate than it expects");
  if (g->left || g->bytes) return;
  g->phase++;
  g->left = g->count;
}
static void expect(sq_emu_fiber *f, sq_emu_gate *g, int64_t bytes) {
  if (g->left == 0) sq_emu_stop(f, "a gate has more arrivals than were said");
  g->left--;
  g->bytes += bytes;
  end_phase(f, g);
}

// ---- boxes -------------------------------------------------------------------------------------
static int64_t box_of(const sq_emu_bulk *b, int axis) {
  return axis < b->map[RANK].value ? b->map[BOX + axis].value : 1;
}
static uint32_t element(sq_emu_fiber *f, const sq_emu_bulk *b, const int64_t *at) {
  int64_t offset = at[0] * ELEMENT;
  for (int k = 0; k < b->map[RANK].value; k++) {
    if (at[k] < 0 || at[k] >= b->map[DIM + k].value) return 0;
    if (k) offset += at[k] * b->map[STRIDE + k - 1].value;
  }
  if (offset < 0 || offset + ELEMENT > b->map[ADDRESS].bytes)
    sq_emu_stop(f, "a tensor map reads byte %lld of %lld", (long long)offset,
                (long long)b->map[ADDRESS].bytes);
  const char *from = (const char *)(uintptr_t)b->map[ADDRESS].value + offset;
  uint16_t bits;
  sq_emu_touch(f, from, ELEMENT, SQ_EMU_READS);
  memcpy(&bits, from, sizeof bits);
  return bits;
}
// Two neighbours at a time, as shared memory is words. arrives: or only whether it may.
static void walk(sq_emu_fiber *f, const sq_emu_bulk *b, bool arrives) {
  const uint32_t first = sq_emu_address(f, b->to);
  uint32_t word = 0;
  for (int64_t z = 0; z < box_of(b, 2) * box_of(b, 3); z++)
    for (int64_t y = 0; y < box_of(b, 1); y++)
      for (int64_t x = 0; x < box_of(b, 0); x += 2, word++) {
        uint32_t at = first + word * 4;
        if (b->map[SWIZZLE].value == SWIZZLE_128) at ^= (at >> 7 & 7) << 4;
        uint32_t *to = (uint32_t *)(uintptr_t)sq_emu_behind(f, at);
        sq_emu_touch_shared(f, b->name, to, sizeof *to,
                            arrives ? SQ_EMU_BOX_COMES : SQ_EMU_BOX_BEGINS);
        if (!arrives) continue;
        int64_t place[AXES] = {b->at[0] + x, b->at[1] + y, b->at[2] + z % box_of(b, 2),
                               b->at[3] + z / box_of(b, 2)};
        const uint32_t low = element(f, b, place);
        place[0]++;
        *to = low | element(f, b, place) << 16;
      }
}
void sq_emu_bulk_begins(sq_emu_fiber *f, const char *name, void *to, const void *gate,
                        const void *map, int rank, const int *at) {
  sq_emu_module *m = f->m;
  const sq_device_arg *row = map;
  const uint32_t multiple = row[SWIZZLE].value == SWIZZLE_128 ? 1024 : 128;
  if (m->n_bulk == SQ_EMU_BULKS) sq_emu_stop(f, "more than %d copies under way", SQ_EMU_BULKS);
  if (row[RANK].value != rank)
    sq_emu_stop(f, "a tensor map of rank %lld is used as one of %d", (long long)row[RANK].value,
                rank);
  for (int k = 1; k + 1 < rank; k++)
    if (row[STRIDE + k - 1].value < 1 || row[STRIDE + k].value % row[STRIDE + k - 1].value)
      sq_emu_stop(f, "a stride of a tensor map is no multiple of the one before");
  if (sq_emu_address(f, to) % multiple)
    sq_emu_stop(f, "%s: a box does not begin at a multiple of %u", name, multiple);
  sq_emu_bulk *b = &m->bulk[m->n_bulk];
  *b = (sq_emu_bulk){name, to, find(f, gate), row, {at[0], at[1], at[2], at[3]}};
  sq_emu_touch_shared(f, "a gate", gate, 8, SQ_EMU_READS_ASYNC);
  walk(f, b, false);
  m->n_bulk++;
}

// ---- waiting -----------------------------------------------------------------------------------
static const sq_emu_bulk *under_way(const sq_emu_module *m, const sq_emu_gate *g) {
  for (uint32_t k = 0; k < m->n_bulk; k++)
    if (m->bulk[k].gate == g) return &m->bulk[k];
  return NULL;
}
static void arrive(sq_emu_fiber *f, const sq_emu_bulk *which) {
  sq_emu_module *m = f->m;
  const sq_emu_bulk b = *which;
  size_t at = (size_t)(which - m->bulk);
  memmove(&m->bulk[at], &m->bulk[at + 1], (--m->n_bulk - at) * sizeof b);
  m->comes = b.gate;
  walk(f, &b, true);
  b.gate->bytes -= box_of(&b, 0) * box_of(&b, 1) * box_of(&b, 2) * box_of(&b, 3) * ELEMENT;
  end_phase(f, b.gate);
}
bool sq_emu_gate_opens(const sq_emu_fiber *f) {
  return (f->gate->phase & 1) != f->parity || under_way(f->m, f->gate);
}
static void wait_for(sq_emu_fiber *f, const sq_emu_gate *g, uint64_t parity) {
  f->gate = g;
  f->parity = parity;
  while ((g->phase & 1) == parity) {
    const sq_emu_bulk *b = under_way(f->m, g);
    if (b)
      arrive(f, b);
    else
      sq_emu_wait(f, SQ_EMU_GATE);
  }
  f->seen[g - f->m->gate] = g->phase;
}
void sq_emu_gate_do(sq_emu_fiber *f, const void *at, int what, int64_t n) {
  if (!f->m->now->syncs) sq_emu_stop(f, "a gate in a kernel without barriers");
  if (what == 0) {
    make(f, at, n);
    return;
  }
  sq_emu_gate *g = find(f, at);
  sq_emu_touch_shared(f, "a gate", at, 8, SQ_EMU_READS);
  if (what == 1)
    expect(f, g, n);
  else
    wait_for(f, g, (uint64_t)n);
}
