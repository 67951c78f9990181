// The words of kernels for the emulation: each access of memory is tested, threads meet in the
// emulator.
#define SQ_FN static inline
#define SQ_FN_APART static
#define SQ_METHOD inline
#define SQ_CTX sq_emu_thread *sq_me,
#define SQ_CTX_ALONE sq_emu_thread *sq_me
#define SQ_ME sq_me,
#define SQ_ME_ALONE sq_me
#define SQ_INF __builtin_inf()
#define SQ_INFF __builtin_inff()
#define SQ_NAN __builtin_nan("")
#define SQ_NANF __builtin_nanf("")

template <class T> struct sq_ptr {
  T *p;
  sq_i64 bytes;
};
struct sq_int {
  sq_i64 v, unused;
  operator sq_i64() const { return v; }
};
struct sq_err {
  sq_i64 unused[2];
};

template <class T> SQ_FN T *sq_at(SQ_CTX const sq_ptr<T> &p, const char *name, sq_i64 i, int kind) {
  sq_i64 count = p.bytes / (sq_i64)sizeof(T);
  if ((sq_u64)i >= (sq_u64)count) sq_me->call->outside(sq_me, name, i, count);
  sq_me->call->touch(sq_me, p.p + i, sizeof(T), kind);
  return p.p + i;
}
#define SQ_LD(p, i) sq_from_memory(*sq_at(sq_me, p, #p, i, SQ_EMU_READS))
#define SQ_LD_STEADY(p, i) sq_from_memory(*sq_at(sq_me, p, #p, i, SQ_EMU_READS_STEADY))
#define SQ_ST(p, i, v) sq_to_memory(*sq_at(sq_me, p, #p, i, SQ_EMU_WRITES), v)

template <class T> struct sq_shared_array {
  T *p;
  sq_i64 count;
};
template <class T>
SQ_FN T *sq_shared_at(SQ_CTX const sq_shared_array<T> &s, const char *name, sq_i64 i, int kind) {
  if ((sq_u64)i >= (sq_u64)s.count) sq_me->call->outside(sq_me, name, i, s.count);
  sq_me->call->touch_shared(sq_me, name, s.p + i, sizeof(T), kind);
  return s.p + i;
}
#define SQ_SHARED(T, name, n)                                                                      \
  sq_shared_array<T> name = {(T *)sq_me->call->shared(sq_me, #name, (n) * sizeof(T), 16), n}
#define SQ_SHARED_TILE(T, name, n)                                                                 \
  sq_shared_array<T> name = {(T *)sq_me->call->shared(sq_me, #name, (n) * sizeof(T), 1024), n}
#define SQ_ROOM(other, sm_90a)
#define SQ_DYNAMIC(T, name, at, n)                                                                 \
  sq_shared_array<T> name = {(T *)sq_me->call->dynamic(sq_me, #name, at, (n) * sizeof(T)), n}
#define SQ_SHARED_OF(T) sq_shared_array<T>
#define SQ_SLD(s, i) (*sq_shared_at(sq_me, s, #s, i, SQ_EMU_READS))
#define SQ_SST(s, i, v) (*sq_shared_at(sq_me, s, #s, i, SQ_EMU_WRITES) = (v))

template <class T> SQ_FN sq_vec8 sq_vec_at(SQ_CTX const sq_ptr<T> &p, const char *name, sq_i64 i) {
  sq_vec8 v;
  if (i % 8) sq_me->call->outside(sq_me, "a vector that is not aligned", i, 8);
  for (int k = 7; k >= 0; k--) {
    unsigned short bits = sq_at(sq_me, p, name, i + k, SQ_EMU_READS)->bits;
    v.w[k / 2] = k % 2 ? (sq_u32)bits << 16 : v.w[k / 2] | bits;
  }
  return v;
}
SQ_FN sq_u32 sq_bits(float f);
SQ_FN sq_vec8 sq_vec_at(SQ_CTX const sq_ptr<float> &p, const char *name, sq_i64 i) {
  sq_vec8 v;
  if (i % 4) sq_me->call->outside(sq_me, "a vector that is not aligned", i, 4);
  for (int k = 3; k >= 0; k--) v.w[k] = sq_bits(*sq_at(sq_me, p, name, i + k, SQ_EMU_READS));
  return v;
}
#define SQ_LD_BITS(p, i) (sq_at(sq_me, p, #p, i, SQ_EMU_READS)->bits)
#define SQ_LD_VEC(p, i) sq_vec_at(sq_me, p, #p, i)
#define SQ_SST_VEC(s, i, v)                                                                        \
  for (int sq_k = 0; sq_k < 4; sq_k++) SQ_SST(s, (i) + sq_k, (v).w[sq_k])

template <class T>
SQ_FN sq_u32 sq_pair_at(SQ_CTX const sq_ptr<T> &p, const char *name, sq_i64 i) {
  if (i % 2) sq_me->call->outside(sq_me, "a pair that is not aligned", i, 2);
  const sq_u32 low = sq_at(sq_me, p, name, i, SQ_EMU_READS)->bits;
  return low | (sq_u32)sq_at(sq_me, p, name, i + 1, SQ_EMU_READS)->bits << 16;
}
template <class T>
SQ_FN void sq_copy(SQ_CTX const sq_shared_array<sq_u32> &s, const char *name, sq_i64 to,
                   const sq_ptr<T> &p, const char *from, sq_i64 at, bool ok) {
  sq_vec8 v = {{0, 0, 0, 0}};
  if (ok) v = sq_vec_at(sq_me, p, from, at);
  if (to < 0 || to + 4 > s.count || to % 4) sq_me->call->outside(sq_me, name, to, s.count);
  sq_me->call->copy(sq_me, name, s.p + to, &v);
}
#define SQ_LD_PAIR(p, i) sq_pair_at(sq_me, p, #p, i)
#define SQ_COPY(s, i, p, at, ok) sq_copy(sq_me, s, #s, i, p, #p, at, ok)
#define SQ_COPIED() sq_me->call->copied(sq_me, -1)
#define SQ_COPY_GROUP() sq_me->call->group(sq_me)
#define SQ_COPIED_BUT(n) sq_me->call->copied(sq_me, n)
#define SQ_TID ((sq_i64)sq_me->thread)
#define SQ_THREADS ((sq_i64)sq_me->threads)
#define SQ_BLOCK sq_me->block
#define SQ_GRID sq_me->blocks
#define SQ_SYNC() sq_me->call->sync(sq_me)
#define SQ_FAIL(err, site, value, limit) sq_me->call->failed(sq_me, site, value, limit)
#define SQ_NEWTON(err, stretches, iterations, redone, left)                                        \
  sq_me->call->newton(sq_me, stretches, iterations, redone, left)
#define SQ_FAILED(err) sq_me->call->has_failed(sq_me)
#define SQ_KERNEL(name, threads)                                                                   \
  static void name(const name##_args &a, sq_emu_thread *sq_me)
#define SQ_KERNEL_OF(name, threads, blocks) SQ_KERNEL(name, threads)
#define SQ_TABLE_BEGIN                                                                             \
  extern "C" {                                                                                     \
  extern const sq_emu_kernel sq_emu_table[] __attribute__((visibility("default")));                                                       \
  const sq_emu_kernel sq_emu_table[] = {
#define SQ_TABLE(name, threads, syncs, room, room_sm_90a, maps)                                    \
  {#name, (void (*)(const void *, sq_emu_thread *))(void *)name, threads, syncs,                   \
   sizeof(name##_args) / 16, SQ_WGMMA ? room_sm_90a : room, maps},
#define SQ_TABLE_END                                                                               \
  { 0, 0, 0, 0, 0, 0, 0 }                                                                                \
  }                                                                                                \
  ;                                                                                                \
  }

template <class A> SQ_FN A sq_shuffle_xor(SQ_CTX const A &mine, int mask) {
  A other;
  __builtin_memcpy(&other, sq_me->call->exchange(sq_me, &mine, sizeof mine, mask), sizeof mine);
  return other;
}

template <class A> SQ_FN A sq_shuffle_at(SQ_CTX const A &mine, int lane) {
  A other;
  sq_me->call->exchange(sq_me, &mine, sizeof mine, 0);
  __builtin_memcpy(&other, sq_me->call->posted(sq_me, lane), sizeof mine);
  return other;
}

// ---- tensor cores: what each lane has posted is there for all of the warp until the next but one
#define SQ_POST(words) sq_me->call->exchange(sq_me, words, sizeof words, 0)
#define SQ_POSTED(words, k, lane) (((const sq_u32 *)sq_me->call->posted(sq_me, lane))[k])

// ---- products of a group of four warps: done when waited for, from what is then where the descriptors say
#ifndef SQ_WGMMA
#define SQ_WGMMA 0 // the emulation is sm_80, but where it is said to be sm_90a
#endif
struct sq_map {
  struct {
    sq_i64 value, bytes;
  } row[16];
};
#define SQ_GATE_INIT(g, i) sq_me->call->gate(sq_me, &(g).p[i], 0, 1)
#define SQ_GATES_READY() sq_me->call->fence(sq_me)
#define SQ_GATE_EXPECT(g, i, bytes) sq_me->call->gate(sq_me, &(g).p[i], 1, bytes)
#define SQ_GATE_WAIT(g, i, parity) sq_me->call->gate(sq_me, &(g).p[i], 2, parity)
#define SQ_BULK(rank, s, i, g, j, map, c0, c1, c2, c3)                                             \
  sq_bulk(sq_me, rank, &(s).p[i], #s, &(g).p[j], &(map), c0, c1, c2, c3)
SQ_FN void sq_bulk(SQ_CTX int rank, sq_u32 *to, const char *name, const void *gate, const void *map, int c0,
                   int c1, int c2, int c3) {
  const int at[4] = {c0, c1, c2, c3};
  sq_me->call->bulk(sq_me, name, to, gate, map, rank, at);
}
#define SQ_WARP_SYNC()
struct sq_wgmma_list {
  int n = 0, group = 0;
  struct {
    float *c;
    const sq_u32 *u; // a in registers, or NULL
    sq_u64 a, b;
    int columns, turned, group;
    bool add;
  } v[32];
};
#define SQ_ASYNC_FENCE() sq_me->call->fence(sq_me)
#define SQ_WGMMA_BEGIN()
#define SQ_WGMMA_END(flying) (flying).group++
#define SQ_PANEL(s, i, lead) sq_panel(sq_me, &(s).p[i], lead)
#define SQ_TILE(s, i) SQ_PANEL(s, i, 16)
SQ_FN sq_u64 sq_panel(SQ_CTX const sq_u32 *p, int lead) {
  return (sq_u64)((sq_me->call->address(sq_me, p) & 0x3ffff) >> 4) | (sq_u64)(lead >> 4) << 16 |
         (sq_u64)(1024 >> 4) << 32 | (sq_u64)1 << 62;
}
// Elements 2 pair and 2 pair + 1 of a row. Rows of 128, 64 or 32 bytes lie in eights, the eights `stride`
// apart, and bits 4 to 6 of an address are changed by bits 7 to 9, of which a swizzle has three, two or
// one. Without swizzle pieces of 16 bytes lie in eights, those along a row `lead` apart.
SQ_FN sq_u32 sq_tile_word(SQ_CTX sq_u64 tile, int row, int pair) {
  const sq_u32 start = (sq_u32)(tile & 0x3fff) << 4, lead = (sq_u32)(tile >> 16 & 0x3fff) << 4;
  const sq_u32 stride = (sq_u32)(tile >> 32 & 0x3fff) << 4, kind = (sq_u32)(tile >> 62);
  sq_u32 at = start + row / 8 * stride;
  if (kind)
    at += row % 8 * (256 >> kind) + pair * 4;
  else
    at += pair / 4 * lead + row % 8 * 16 + pair % 4 * 4;
  if (kind) at ^= (at >> 7 & ((16 >> kind) - 1)) << 4;
  const sq_u32 *p = (const sq_u32 *)sq_me->call->behind(sq_me, at);
  sq_me->call->touch_shared(sq_me, "a tile", p, 4, SQ_EMU_READS_ASYNC);
  return *p;
}
// Pair `pair` of row `row`, where columns lie along rows of 128, 64 or 32 bytes: more columns are `lead` apart,
// eights of rows `stride`.
SQ_FN sq_u32 sq_turned_word(SQ_CTX sq_u64 tile, int row, int pair) {
  const sq_u32 start = (sq_u32)(tile & 0x3fff) << 4, lead = (sq_u32)(tile >> 16 & 0x3fff) << 4;
  const sq_u32 stride = (sq_u32)(tile >> 32 & 0x3fff) << 4, kind = (sq_u32)(tile >> 62);
  if (!kind) sq_me->call->outside(sq_me, "a turned tile without swizzle", 0, 0);
  const int pairs = (256 >> kind) / 4;
  sq_u32 at = start + pair / pairs * lead + row / 8 * stride + row % 8 * (256 >> kind) + pair % pairs * 4;
  at ^= (at >> 7 & ((16 >> kind) - 1)) << 4;
  const sq_u32 *p = (const sq_u32 *)sq_me->call->behind(sq_me, at);
  sq_me->call->touch_shared(sq_me, "a turned tile", p, 4, SQ_EMU_READS_ASYNC);
  return *p;
}
// This lane's two rows of a, whole; two columns of b.
SQ_FN void sq_wgmma_rows(SQ_CTX const sq_wgmma_list &l, int p, sq_u32 (*u)[8]) {
  const int warp = (int)(SQ_TID / 32 % 4), g = (int)(SQ_TID % 32 / 4);
  for (int k = 0; k < 16; k++)
    u[k / 8][k % 8] = sq_tile_word(sq_me, l.v[p].a, warp * 16 + k / 8 * 8 + g, k % 8);
}
SQ_FN void sq_wgmma_columns(SQ_CTX const sq_wgmma_list &l, int p, int j, sq_u32 (*w)[8]) {
  const int q = (int)(SQ_TID % 4);
  for (int k = 0; k < 8; k++) {
    const sq_u32 first = l.v[p].turned ? sq_turned_word(sq_me, l.v[p].b, 2 * k, j * 4 + q)
                                       : sq_tile_word(sq_me, l.v[p].b, j * 8 + 2 * q, k);
    const sq_u32 second = l.v[p].turned ? sq_turned_word(sq_me, l.v[p].b, 2 * k + 1, j * 4 + q)
                                        : sq_tile_word(sq_me, l.v[p].b, j * 8 + 2 * q + 1, k);
    w[0][k] = l.v[p].turned ? (first & 0xffff) | second << 16 : first;
    w[1][k] = l.v[p].turned ? first >> 16 | (second & 0xffff0000u) : second;
  }
}
// The factors are looked at when a product begins, too: from then on they must be there, and stay.
SQ_FN void sq_wgmma_put(SQ_CTX sq_wgmma_list &l, float *c, const sq_u32 *u, sq_u64 a, sq_u64 b, int columns,
                        int turned, bool add) {
  sq_u32 words[2][8];
  if (l.n == 32) sq_me->call->outside(sq_me, "products under way", l.n, 32);
  l.v[l.n] = {c, u, a, b, columns, turned, l.group, add};
  if (!u) sq_wgmma_rows(sq_me, l, l.n, words);
  for (int j = 0; j < columns / 8; j++) sq_wgmma_columns(sq_me, l, l.n, j, words);
  l.n++;
}
template <class H> SQ_FN void sq_wgmma(SQ_CTX sq_wgmma_list &l, float *c, sq_u64 a, sq_u64 b) {
  sq_wgmma_put(sq_me, l, c, 0, a, b, 128, 0, true);
}
template <class H, int add> SQ_FN void sq_wgmma_panel(SQ_CTX sq_wgmma_list &l, float *c, sq_u64 a, sq_u64 b) {
  sq_wgmma_put(sq_me, l, c, 0, a, b, 64, 0, add);
}
template <class H, int add>
SQ_FN void sq_wgmma_held(SQ_CTX sq_wgmma_list &l, float *c, const sq_u32 *a, sq_u64 b) {
  sq_wgmma_put(sq_me, l, c, a, 0, b, 64, 0, add);
}
template <class H, int n>
SQ_FN void sq_wgmma_turned(SQ_CTX sq_wgmma_list &l, float *c, const sq_u32 *a, sq_u64 b) {
  sq_wgmma_put(sq_me, l, c, a, 0, b, n, 1, true);
}
SQ_FN float sq_half_of(const sq_bf16 *, sq_u32 bits);
SQ_FN float sq_half_of(const sq_f16 *, sq_u32 bits);
// One product: this lane's rows by two columns at a time.
template <class H> SQ_FN void sq_wgmma_do(SQ_CTX const sq_wgmma_list &l, int p) {
  const H *h = 0;
  sq_u32 u[2][8], w[2][8];
  if (l.v[p].u) sq_me->call->exchange(sq_me, l.v[p].u, 16, 0);
  for (int k = 0; l.v[p].u && k < 16; k++)
    u[k / 8][k % 8] = ((const sq_u32 *)sq_me->call->posted(
        sq_me, (int)(SQ_TID % 32 / 4 * 4) + k % 4))[k / 8 + k % 8 / 4 * 2];
  if (!l.v[p].u) sq_wgmma_rows(sq_me, l, p, u);
  for (int j = 0; j < l.v[p].columns / 8; j++) {
    sq_wgmma_columns(sq_me, l, p, j, w);
    for (int e = 0; e < 4; e++) {
      float *c = l.v[p].c + j * 4 + e;
      if (!l.v[p].add) *c = 0;
      for (int k = 0; k < 8; k++) {
        *c = __builtin_fmaf(sq_half_of(h, u[e / 2][k] & 0xffff), sq_half_of(h, w[e % 2][k] & 0xffff), *c);
        *c = __builtin_fmaf(sq_half_of(h, u[e / 2][k] >> 16), sq_half_of(h, w[e % 2][k] >> 16), *c);
      }
    }
  }
}
template <class H, int but> SQ_FN void sq_wgmma_wait_but(SQ_CTX sq_wgmma_list &l) {
  int left = 0;
  for (int p = 0; p < l.n; p++)
    if (l.v[p].group + but < l.group)
      sq_wgmma_do<H>(sq_me, l, p);
    else
      l.v[left++] = l.v[p];
  l.n = left;
}
template <class H> SQ_FN void sq_wgmma_wait(SQ_CTX sq_wgmma_list &l) { sq_wgmma_wait_but<H, 0>(sq_me, l); }
template <int n> SQ_FN void sq_hold(float *) {}
// The same as a barrier, and whether `p` holds in any thread of the block.
#define SQ_ANY(p) (sq_me->call->any(sq_me, p) != 0)

// The words of the lanes for an operand from shared memory.
SQ_FN void sq_fetch(SQ_CTX const sq_shared_array<sq_u32> &s, int at, int pitch, sq_u32 *w) {
  const int lane = (int)(SQ_TID % 32), g = lane / 4, q = lane % 4;
  for (int m = 0; m < 4; m++) w[m] = SQ_SLD(s, at + (m / 2 * 8 + g) * pitch + m % 2 * 4 + q);
}
SQ_FN void sq_fetch_turned(SQ_CTX const sq_shared_array<sq_u32> &s, int at, int pitch, sq_u32 *w) {
  const int lane = (int)(SQ_TID % 32), g = lane / 4, q = lane % 4;
  for (int m = 0; m < 4; m++) {
    const int column = m / 2 * 8 + g, row = m % 2 * 8 + 2 * q;
    const sq_u32 a = SQ_SLD(s, at + row * pitch + column / 2);
    const sq_u32 b = SQ_SLD(s, at + (row + 1) * pitch + column / 2);
    const int shift = column % 2 * 16;
    w[m] = (a >> shift & 0xffff) | (b >> shift & 0xffff) << 16;
  }
}
template <class T> SQ_FN T sq_top(T a, T b) { return a != a || a > b ? a : b; }
SQ_FN float sq_power(float x) { return x < -126 ? 0 : __builtin_exp2f(x); }
SQ_FN double sq_power(double x) { return __builtin_exp2(x); }

// ---- bits and functions
SQ_FN sq_u32 sq_bits(float f) {
  sq_u32 u;
  __builtin_memcpy(&u, &f, 4);
  return u;
}
SQ_FN float sq_of_bits(sq_u32 u) {
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
// Half to float: the exponent is moved by a product, which makes subnormals normal too.
SQ_FN float sq_half_to_float(unsigned short h) {
  sq_u32 sign = (sq_u32)(h & 0x8000) << 16, m = (sq_u32)(h & 0x7fff) << 13;
  if ((h & 0x7c00) == 0x7c00) return sq_of_bits(sign | m | 0x7f800000u);
  return sq_of_bits(sq_bits(sq_of_bits(m) * 0x1p112f) | sign);
}
SQ_FN unsigned short sq_float_to_half(float f) {
  sq_u32 x = sq_bits(f), a = x & 0x7fffffffu, sign = x >> 16 & 0x8000u, h;
  if (a > 0x7f800000u)
    h = 0x7e00;
  else if (a >= 0x477ff000u)
    h = 0x7c00;
  else if (a < 0x38800000u)
    h = sq_bits(sq_of_bits(a) + 0.5f) - 0x3f000000u;
  else
    h = (a + 0xfff - 0x38000000u + (a >> 13 & 1)) >> 13;
  return (unsigned short)(h | sign);
}
SQ_FN sq_u32 sq_tf32_bits(float f) {
  return f - f == 0 ? (sq_bits(f) + 0x1000) & ~0x1fffu : sq_bits(f) & ~0x1fffu | (f != f) << 22;
}
SQ_FN sq_u32 sq_pack(const sq_f16 *, float a, float b) {
  return (sq_u32)sq_float_to_half(a) | (sq_u32)sq_float_to_half(b) << 16;
}
SQ_FN sq_u32 sq_round_to_bf16(float f) {
  const sq_u32 x = sq_bits(f);
  return f != f ? x >> 16 | 0x40 : (x + 0x7fff + (x >> 16 & 1)) >> 16;
}
SQ_FN sq_u32 sq_pack(const sq_bf16 *, float a, float b) {
  return sq_round_to_bf16(a) | sq_round_to_bf16(b) << 16;
}
#define SQ_FMA(a, b, c) __builtin_fma(a, b, c)
#define SQ_FMAF(a, b, c) __builtin_fmaf(a, b, c)
#define SQ_MATH1(name)                                                                             \
  SQ_FN float sq_c_##name(float a) { return __builtin_##name##f(a); }                              \
  SQ_FN double sq_c_##name(double a) { return __builtin_##name(a); }
#define SQ_MATH2(name)                                                                             \
  SQ_FN float sq_c_##name(float a, float b) { return __builtin_##name##f(a, b); }                  \
  SQ_FN double sq_c_##name(double a, double b) { return __builtin_##name(a, b); }
