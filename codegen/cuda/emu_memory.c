// Memory under emulation: shared arrays, and who touched what. In: each access of a kernel. Out: a fault
// where two threads touch an element, one of them writing, with no barrier between them; where blocks
// do so at all; where shared memory is read that nobody wrote, or memory changes that is read as what does not;
// where a product reads, or a box comes, what threads have written with no fence between the two proxies.
//
// Elements are told apart by their first byte, so accesses of one place in two widths are seen only
// where they begin alike.
#include "codegen/cuda/emu.h"
#include <stdlib.h>
#include <string.h>

static void fault(sq_emu_fiber *f, const char *what, const char *name, int64_t block, int thread) {
  if (block == f->t.block)
    sq_emu_stop(f, "race: %s %s that thread %d of the block touches with no barrier between", what,
                name, thread);
  sq_emu_stop(f, "race: %s %s that block %lld touches too", what, name, (long long)block);
}
static void read_cell(sq_emu_fiber *f, sq_emu_cell *c, const char *name) {
  uint64_t now = f->m->epoch;
  int64_t b = f->t.block;
  if (c->w_epoch && (c->w_block != b || (c->w_epoch == now && c->w_thread != f->t.thread)))
    fault(f, "reads", name, c->w_block, c->w_thread);
  c->many_blocks |= c->r_epoch && c->r_block != b;
  c->many_threads = c->r_epoch == now && (c->many_threads || c->r_thread != f->t.thread);
  c->r_epoch = now;
  c->r_block = b;
  c->r_thread = f->t.thread;
}
static void write_cell(sq_emu_fiber *f, sq_emu_cell *c, const char *name) {
  uint64_t now = f->m->epoch;
  int64_t b = f->t.block;
  if (c->w_epoch && (c->w_block != b || (c->w_epoch == now && c->w_thread != f->t.thread)))
    fault(f, "writes", name, c->w_block, c->w_thread);
  bool other = c->many_threads || c->r_thread != f->t.thread;
  if (c->r_epoch && (c->many_blocks || c->r_block != b || (c->r_epoch == now && other)))
    fault(f, "writes", name, c->r_block, c->r_thread);
  c->w_epoch = now;
  c->w_block = b;
  c->w_thread = f->t.thread;
}

static void may_write(sq_emu_fiber *f, sq_emu_cell c, const char *name) { write_cell(f, &c, name); }

// ---- memory of the device: a hash table, emptied by counting launches --------------------------
static sq_emu_cell *find(sq_emu_cell *v, uint64_t n, uint64_t launch, uint64_t key) {
  uint64_t at = (key * 0x9E3779B97F4A7C15u) >> 20 & (n - 1);
  while (v[at].launch == launch && v[at].key != key) at = (at + 1) & (n - 1);
  return &v[at];
}
static void grow(sq_emu_fiber *f) {
  sq_emu_module *m = f->m;
  uint64_t n = m->n_table ? 2 * m->n_table : 1 << 12;
  sq_emu_cell *v = calloc(n, sizeof *v);
  if (!v) sq_emu_stop(f, "out of memory");
  for (uint64_t k = 0; k < m->n_table; k++)
    if (m->table[k].launch == m->launch) *find(v, n, m->launch, m->table[k].key) = m->table[k];
  free(m->table);
  m->table = v;
  m->n_table = n;
}
void sq_emu_touch(sq_emu_fiber *f, const void *at, int bytes, int kind) {
  sq_emu_module *m = f->m;
  (void)bytes;
  if (2 * m->n_used >= m->n_table) grow(f);
  uint64_t key = (uint64_t)(uintptr_t)at;
  sq_emu_cell *c = find(m->table, m->n_table, m->launch, key);
  if (c->launch != m->launch) {
    *c = (sq_emu_cell){.key = key, .launch = m->launch};
    m->n_used++;
  }
  bool write = kind == SQ_EMU_WRITES;
  c->steady |= kind == SQ_EMU_READS_STEADY;
  if (write)
    write_cell(f, c, "memory");
  else
    read_cell(f, c, "memory");
  if (c->steady && (write || c->w_epoch))
    sq_emu_stop(f, "memory is written that is read as what nothing changes");
}

// ---- shared memory -----------------------------------------------------------------------------
void sq_emu_block_begins(sq_emu_module *m) {
  for (uint32_t k = 0; k < m->n_array; k++) {
    free(m->array[k].data);
    free(m->array[k].cell);
  }
  m->n_array = m->declared = m->n_gate = m->n_bulk = 0;
}
void sq_emu_memory_free(sq_emu_module *m) {
  sq_emu_block_begins(m);
  free(m->table);
}
static void *add_array(sq_emu_fiber *f, const char *name, int64_t bytes, uint32_t address) {
  sq_emu_module *m = f->m;
  if (m->n_array == SQ_EMU_ARRAYS) sq_emu_stop(f, "more than %d shared arrays", SQ_EMU_ARRAYS);
  sq_emu_array *s = &m->array[m->n_array++];
  *s = (sq_emu_array){name, malloc((size_t)bytes), calloc((size_t)bytes, sizeof(sq_emu_cell)),
                      bytes, address};
  if (!s->data || !s->cell) sq_emu_stop(f, "out of memory");
  memset(s->data, 0xfb, (size_t)bytes);
  return s->data;
}
// Declared arrays begin at 16, so that none is aligned to more by chance; beside a room behind all of it,
// where descriptors do not reach.
void *sq_emu_shared(sq_emu_fiber *f, const char *name, int64_t bytes, uint32_t align) {
  enum { MOST = 48 << 10, BEHIND = 1 << 20 };
  sq_emu_module *m = f->m;
  for (uint32_t k = 0; k < m->n_array; k++)
    if (m->array[k].name == name) return m->array[k].data;
  const uint32_t first = (m->now->room ? BEHIND : 0) + 16;
  const uint32_t at = (first + m->declared + align - 1) / align * align;
  m->declared = at + (uint32_t)bytes - first;
  if (m->declared > MOST + align)
    sq_emu_stop(f, "%s: more than %d bytes of shared memory are declared", name, MOST);
  return add_array(f, name, bytes, at);
}
// The room begins at 1024: as it is aligned on a device, and to no more by chance.
void *sq_emu_dynamic(sq_emu_fiber *f, const char *name, int64_t at, int64_t bytes) {
  sq_emu_module *m = f->m;
  for (uint32_t k = 0; k < m->n_array; k++) {
    const sq_emu_array *s = &m->array[k];
    if (s->name == name) return s->data;
    if (s->address < 1024 + at + bytes && 1024 + at < s->address + s->bytes)
      sq_emu_stop(f, "%s and %s overlap", name, s->name);
  }
  if (at < 0 || at + bytes > m->now->room)
    sq_emu_stop(f, "%s ends at byte %lld, but a launch brings %lld of shared memory", name,
                (long long)(at + bytes), (long long)m->now->room);
  return add_array(f, name, bytes, 1024 + (uint32_t)at);
}
uint32_t sq_emu_address(sq_emu_fiber *f, const void *at) {
  const sq_emu_module *m = f->m;
  const char *p = at;
  for (uint32_t k = 0; k < m->n_array; k++)
    if (p >= m->array[k].data && p < m->array[k].data + m->array[k].bytes)
      return m->array[k].address + (uint32_t)(p - m->array[k].data);
  sq_emu_stop(f, "an address is not shared memory");
}
const void *sq_emu_behind(sq_emu_fiber *f, uint32_t address) {
  const sq_emu_module *m = f->m;
  for (uint32_t k = 0; k < m->n_array; k++)
    if (address - m->array[k].address < m->array[k].bytes)
      return m->array[k].data + (address - m->array[k].address);
  sq_emu_stop(f, "nothing is at %u in shared memory", address);
}
// ---- the other proxy ---------------------------------------------------------------------------
// Fences of this epoch are behind the barrier that others have passed.
void sq_emu_fence(sq_emu_fiber *f) {
  if (f->fence_epoch != f->m->epoch) f->fences_before = f->fences;
  f->fence_epoch = f->m->epoch;
  f->fences++;
}
static void must_be_fenced(sq_emu_fiber *f, const sq_emu_cell *c, const char *name,
                           const char *how) {
  const sq_emu_fiber *w = &f->m->fiber[c->w_thread];
  const bool late = w != f && w->fence_epoch == f->m->epoch;
  if (!c->w_epoch || !c->by_thread || (late ? w->fences_before : w->fences) > c->w_fences) return;
  sq_emu_stop(f, "%s is %s, but thread %d wrote it with no fence.proxy.async and barrier since",
              name, how, c->w_thread);
}

static void touch_cell(sq_emu_fiber *f, sq_emu_cell *c, const char *name, int kind) {
  const bool reads = kind == SQ_EMU_READS || kind == SQ_EMU_READS_ASYNC;
  const bool begins = kind == SQ_EMU_COPY_BEGINS || kind == SQ_EMU_BOX_BEGINS;
  const bool comes = kind == SQ_EMU_COPY_COMES || kind == SQ_EMU_BOX_COMES;
  if (c->coming && !comes) sq_emu_stop(f, "%s is touched where a copy is under way", name);
  if (reads && !c->w_epoch) sq_emu_stop(f, "%s is read before it is written", name);
  // Who has waited for the box's gate needs no barrier.
  if (reads && !c->by_thread && f->seen[c->gate] > c->phase) c->w_thread = f->t.thread;
  if (reads)
    read_cell(f, c, name);
  else if (begins)
    may_write(f, *c, name);
  else
    write_cell(f, c, name);
  if (kind == SQ_EMU_READS_ASYNC) must_be_fenced(f, c, name, "read by a product or a copy");
  if (kind == SQ_EMU_BOX_BEGINS) must_be_fenced(f, c, name, "where a box comes");
  c->coming = begins;
  if (reads || begins) return;
  c->by_thread = kind != SQ_EMU_BOX_COMES;
  c->w_fences = f->fences;
  if (c->by_thread) return;
  c->gate = (uint32_t)(f->m->comes - f->m->gate);
  c->phase = f->m->comes->phase;
}
void sq_emu_touch_shared(sq_emu_fiber *f, const char *name, const void *at, int bytes, int kind) {
  sq_emu_module *m = f->m;
  const char *p = at;
  (void)bytes;
  for (uint32_t k = 0; k < m->n_array; k++) {
    sq_emu_array *s = &m->array[k];
    if (p < s->data || p >= s->data + s->bytes) continue;
    touch_cell(f, &s->cell[p - s->data], name, kind);
    return;
  }
  sq_emu_stop(f, "%s is not shared memory", name);
}

// ---- copies under way --------------------------------------------------------------------------
// Until its thread has waited for it a copy has not arrived: who reads too early reads what was there.
void sq_emu_copy_begins(sq_emu_fiber *f, const char *name, void *to, const void *from) {
  if (f->n_copy == f->room) {
    uint32_t room = f->room ? 2 * f->room : 64;
    sq_emu_copy *v = realloc(f->copy, room * sizeof *v);
    if (!v) sq_emu_stop(f, "out of memory");
    f->copy = v;
    f->room = room;
  }
  sq_emu_copy *c = &f->copy[f->n_copy++];
  c->name = name;
  c->to = to;
  memcpy(c->word, from, sizeof c->word);
  c->group = f->group;
  for (int k = 0; k < 4; k++)
    sq_emu_touch_shared(f, name, c->to + k, sizeof *c->to, SQ_EMU_COPY_BEGINS);
}
void sq_emu_copies_end(sq_emu_fiber *f, int but) {
  uint32_t left = 0;
  for (uint32_t i = 0; i < f->n_copy; i++) {
    if (but >= 0 && f->copy[i].group + (uint64_t)but >= f->group) {
      f->copy[left++] = f->copy[i];
      continue;
    }
    for (int k = 0; k < 4; k++) {
      unsigned *to = f->copy[i].to + k;
      sq_emu_touch_shared(f, f->copy[i].name, to, sizeof *to, SQ_EMU_COPY_COMES);
      *to = f->copy[i].word[k];
    }
  }
  f->n_copy = left;
}
