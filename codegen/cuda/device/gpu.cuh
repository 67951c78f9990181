// The words of kernels for a graphics processor, compiled by NVRTC without any header of the toolkit.
#define SQ_FN static __device__ __forceinline__
#define SQ_FN_APART static __device__ __noinline__
#define SQ_METHOD __device__ __forceinline__
#define SQ_CTX
#define SQ_CTX_ALONE
#define SQ_ME
#define SQ_ME_ALONE
#define SQ_INF __longlong_as_double(0x7ff0000000000000ll)
#define SQ_INFF __int_as_float(0x7f800000)
#define SQ_NAN __longlong_as_double(0x7ff8000000000000ll)
#define SQ_NANF __int_as_float(0x7fc00000)

template <class T> struct sq_ptr {
  T *p;
};
template <class T> SQ_FN T sq_steady(const T *p) { return __ldg(p); }
SQ_FN sq_f16 sq_steady(const sq_f16 *p) { return {__ldg(&p->bits)}; }
SQ_FN sq_bf16 sq_steady(const sq_bf16 *p) { return {__ldg(&p->bits)}; }
SQ_FN sq_b8 sq_steady(const sq_b8 *p) { return {__ldg(&p->v)}; }
typedef sq_i64 sq_int;
// [0]: lowest failing site + 1; [1] to [4]: how scans by Newton's method went; [6 + 2 * site], [7 + 2 * site]:
// a value that failed there, its limit.
typedef sq_u64 *sq_err;

#define SQ_LD(q, i) sq_from_memory((q).p[i])
// Of what nothing changes while the kernel runs: the load may come before stores that the text has first.
#define SQ_LD_STEADY(q, i) sq_from_memory(sq_steady((q).p + (i)))
#define SQ_ST(q, i, v) sq_to_memory((q).p[i], v)
#define SQ_SHARED(T, name, n) __shared__ __align__(16) T name[n]
#define SQ_SHARED_OF(T) T *
// Shared memory that a launch brings, for what is beyond the 48 KiB that a kernel may declare: an array
// from byte `at` on. The room begins where the
// declaration's alignment wants it, which tiles of swizzle 128 need; the other kernels of a unit are
// padded to it, so that it stands only where a kernel has room.
#define SQ_ROOM(other, sm_90a) extern __shared__ __align__(1024) unsigned char sq_room[];
#define SQ_DYNAMIC(T, name, at, n) T *const name = (T *)(sq_room + (at))
#define SQ_SLD(s, i) ((s)[i])
#define SQ_SST(s, i, v) ((s)[i] = (v))
// Elements of 16 bits: the bits of one; 8 of them, from a place that is a multiple of 8, to 4 words.
#define SQ_LD_BITS(q, i) ((q).p[i].bits)
#define SQ_LD_VEC(q, i) (*(const sq_vec8 *)((q).p + (i)))
#define SQ_SST_VEC(s, i, v) (*(sq_vec8 *)&(s)[i] = (v))
// 16 bytes from memory to shared words s[i ..] while the thread goes on, zeros where not ok; they are
// there for it after SQ_COPIED(), for others behind a barrier after that.
#define SQ_COPY(s, i, q, at, ok) sq_copy(&(s)[i], (q).p + ((ok) ? (at) : 0), ok)
#define SQ_COPIED() sq_copied()
#define SQ_LD_PAIR(q, i) (*(const sq_u32 *)((q).p + (i)))
#define SQ_TID ((sq_i64)threadIdx.x)
#define SQ_THREADS ((sq_i64)blockDim.x)
#define SQ_BLOCK ((sq_i64)blockIdx.x)
#define SQ_GRID ((sq_i64)gridDim.x)
#define SQ_SYNC() __syncthreads()
// The same, and whether `p` holds in any thread of the block.
#define SQ_ANY(p) (__syncthreads_or(p) != 0)
#define SQ_FAIL(err, site, value, limit) sq_fail_at(err, site, value, limit)
#define SQ_NEWTON(err, stretches, iterations, redone, left)                                        \
  sq_newton_went(err, stretches, iterations, redone, left)
#define SQ_FAILED(err) (*(volatile sq_u64 *)(err) != 0)
#define SQ_KERNEL(name, threads)                                                                   \
  extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ name##_args a)
// The same, with registers for as many blocks on a multiprocessor.
#define SQ_KERNEL_OF(name, threads, blocks)                                                        \
  extern "C" __global__ void __launch_bounds__(threads, blocks)                                    \
      name(const __grid_constant__ name##_args a)
#define SQ_TABLE_BEGIN
#define SQ_TABLE(name, threads, syncs, room, room_sm_90a, maps)
#define SQ_TABLE_END

// 0, no error, is made the largest by the subtraction.
static __device__ __noinline__ void sq_fail_at(sq_err err, sq_u32 site, sq_i64 value, sq_i64 limit) {
  ((sq_i64 *)err)[6 + 2 * (sq_i64)site] = value;
  ((sq_i64 *)err)[7 + 2 * (sq_i64)site] = limit;
  __threadfence();
  sq_u64 mine = (sq_u64)site + 1, old = *(volatile sq_u64 *)err;
  while (mine - 1 < old - 1) {
    sq_u64 was = atomicCAS(err, old, mine);
    if (was == old) return;
    old = was;
  }
}
// A number that is not negative has the order of its bits.
static __device__ __noinline__ void sq_newton_went(sq_err err, sq_u64 stretches, sq_u64 iterations,
                                                   sq_u64 redone, double left) {
  atomicAdd(err + 1, stretches);
  atomicAdd(err + 2, iterations);
  atomicAdd(err + 3, redone);
  atomicMax(err + 4, (sq_u64)__double_as_longlong(left));
}
template <class A> SQ_FN A sq_shuffle_xor(const A &mine, int mask) {
  union {
    A a;
    int w[(sizeof(A) + 3) / 4];
  } u = {mine};
#pragma unroll
  for (int k = 0; k < (int)(sizeof(A) + 3) / 4; k++)
    u.w[k] = __shfl_xor_sync(0xffffffffu, u.w[k], mask);
  return u.a;
}

// What another lane of the warp has.
template <class A> SQ_FN A sq_shuffle_at(const A &mine, int lane) {
  union {
    A a;
    int w[(sizeof(A) + 3) / 4];
  } u = {mine};
#pragma unroll
  for (int k = 0; k < (int)(sizeof(A) + 3) / 4; k++)
    u.w[k] = __shfl_sync(0xffffffffu, u.w[k], lane);
  return u.a;
}

// ---- tensor cores
#define SQ_POST(words)
#define SQ_POSTED(words, k, lane) __shfl_sync(0xffffffffu, (words)[k], lane)
#if __CUDA_ARCH__ >= 800
#define SQ_MMA_CORE(H, name)                                                                       \
  SQ_FN void sq_mma_core(const H *, float *c, const sq_u32 *a, const sq_u32 *b) {                  \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." name "." name ".f32 "                             \
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                          \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                           \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                       \
  }
SQ_MMA_CORE(sq_bf16, "bf16")
SQ_MMA_CORE(sq_f16, "f16")
SQ_FN void sq_mma_core(const sq_tf32 *, float *c, const sq_u32 *a, const sq_u32 *b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// The words of the lanes for an operand from shared memory: see sq_fetch and sq_fetch_turned.
SQ_FN sq_u32 sq_shared_address(const void *p) {
  return (sq_u32)__cvta_generic_to_shared(p);
}
SQ_FN void sq_fetch(const sq_u32 *s, int at, int pitch, sq_u32 *w) {
  const int lane = (int)(threadIdx.x % 32);
  const sq_u32 p = sq_shared_address(s + at + (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 4);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
               : "r"(p)
               : "memory");
}
SQ_FN void sq_fetch_turned(const sq_u32 *s, int at, int pitch, sq_u32 *w) {
  const int lane = (int)(threadIdx.x % 32);
  const sq_u32 p = sq_shared_address(s + at + lane % 16 * pitch + lane / 16 * 4);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
               : "r"(p)
               : "memory");
}
#if __CUDA_ARCH__ >= 800
SQ_FN void sq_copy(void *to, const void *from, bool ok) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sq_shared_address(to)),
               "l"(from), "r"(ok ? 16 : 0)
               : "memory");
}
SQ_FN void sq_copied() { asm volatile("cp.async.wait_all;" ::: "memory"); }
SQ_FN float sq_top(float a, float b) {
  float c;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
  return c;
}
#else
SQ_FN void sq_copy(void *to, const void *from, bool ok) {
  *(uint4 *)to = ok ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
}
SQ_FN void sq_copied() {}
SQ_FN float sq_top(float a, float b) { return a != a || a > b ? a : b; }
#endif
// ---- products of a group of four warps (sm_90a). c += a b, of 64 x 16 and 16 x 128 elements of 16 bits
// in shared memory; warp w of the group has rows 16 w to 16 w + 15, in each lane of c as sq_mma has it,
// 16 times side by side. Between BEGIN and sq_wgmma_wait the results are not touched.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SQ_WGMMA 1
#else
#define SQ_WGMMA 0
#endif
#define SQ_SHARED_TILE(T, name, n) __shared__ __align__(1024) T name[n]
// Copies since the last group are a group; all but the newest n groups have arrived.
#if __CUDA_ARCH__ >= 800
#define SQ_COPY_GROUP() asm volatile("cp.async.commit_group;" ::: "memory")
#define SQ_COPIED_BUT(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")
#else
#define SQ_COPY_GROUP()
#define SQ_COPIED_BUT(n)
#endif
// A tensor map, as the driver encodes it (runtime/cuda_map.c). It is an argument by value: the instruction
// takes its generic address, which wants a multiple of 64.
struct __align__(64) sq_map {
  sq_u64 w[16];
};
#if SQ_WGMMA
// ---- copies by tensor maps (sm_90a). A gate (mbarrier) of one arrival: a thread arrives and says how many
// bytes are to come, copies tell it what has come, and its phase ends when both are done: whoever waits
// for the phase's parity sees the bytes. Gates are made known to the copies, which are of another proxy,
// by the fence and the next barrier.
#define SQ_GATE_INIT(g, i)                                                                         \
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(sq_shared_address(&(g)[i])) : "memory")
#define SQ_GATES_READY()                                                                           \
  asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory")
#define SQ_GATE_EXPECT(g, i, bytes)                                                                \
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(                     \
                   sq_shared_address(&(g)[i])),                                                    \
               "r"(bytes)                                                                          \
               : "memory")
#define SQ_GATE_WAIT(g, i, parity) sq_gate_wait(sq_shared_address(&(g)[i]), (sq_u32)(parity))
SQ_FN void sq_gate_wait(sq_u32 gate, sq_u32 parity) {
  sq_u32 done = 0;
  while (!done)
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(gate), "r"(parity)
                 : "memory");
}
// The box at c0, c1, ... (c0 runs along memory) of a map of that rank, to shared words s[i ..], which begin at
// a multiple of 1024 bytes. What is outside of the tensor comes as zeros, and counts as bytes all the same.
// An address of the own block is one of its cluster (PTX ISA, "shared::cta is contained in shared::cluster").
#define SQ_BULK(rank, s, i, g, j, map, c0, c1, c2, c3)                                             \
  sq_bulk_##rank(sq_shared_address(&(s)[i]), (sq_u64)&(map), sq_shared_address(&(g)[j]), c0, c1, c2, c3)
SQ_FN void sq_bulk_2(sq_u32 to, sq_u64 map, sq_u32 gate, int c0, int c1, int, int) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
               "[%1, {%3, %4}], [%2];" ::"r"(to),
               "l"(map), "r"(gate), "r"(c0), "r"(c1)
               : "memory");
}
SQ_FN void sq_bulk_3(sq_u32 to, sq_u64 map, sq_u32 gate, int c0, int c1, int c2, int) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
               "[%1, {%3, %4, %5}], [%2];" ::"r"(to),
               "l"(map), "r"(gate), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}
SQ_FN void sq_bulk_4(sq_u32 to, sq_u64 map, sq_u32 gate, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
               "[%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
               "l"(map), "r"(gate), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}
#define SQ_WARP_SYNC() __syncwarp()
struct sq_wgmma_list {};
// What threads wrote to shared memory is there for products behind the next barrier.
#define SQ_ASYNC_FENCE() asm volatile("fence.proxy.async.shared::cta;" ::: "memory")
#define SQ_WGMMA_BEGIN() asm volatile("wgmma.fence.sync.aligned;" ::: "memory")
// Those since the last END are a group.
#define SQ_WGMMA_END(flying) asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory")
// A factor in shared memory lies in panels: rows of 64 elements, 128 bytes, of which piece v of 16 bytes lies
// where v ^ (row % 8) is. In the descriptor (PTX ISA, "Matrix Descriptor Format" and "Strides"):
//   0-13    address / 16. All panels begin at multiples of 1024, so that bits 49-51, where a pattern of swizzle
//           begins, are 0, also where an operand begins 32 bytes on in a row: the processor changes the address.
//   16-29   leading offset / 16. K-major and swizzled it is not used (SQ_TILE); turned it is from 64 columns to
//           the next 64 (swizzle-byte-size / 16 = 8 pieces of 16 bytes), a panel.
//   32-45   stride offset / 16: K-major from 8 columns to the next 8, turned from 8 rows to the next 8: both are
//           8 rows of a panel, 1024 bytes.
//   62-63   1: swizzle of 128 bytes
#define SQ_PANEL(s, i, lead) sq_panel(&(s)[i], lead)
#define SQ_TILE(s, i) SQ_PANEL(s, i, 16)
SQ_FN sq_u64 sq_panel(const sq_u32 *p, int lead) {
  return (sq_u64)((sq_shared_address(p) & 0x3ffff) >> 4) | (sq_u64)(lead >> 4) << 16 |
         (sq_u64)(1024 >> 4) << 32 | (sq_u64)1 << 62;
}
#define SQ_FOUR(how, c, i) how(c[i]), how(c[i + 1]), how(c[i + 2]), how(c[i + 3])
#define SQ_SIXTEEN(how, c, i)                                                                      \
  SQ_FOUR(how, c, i), SQ_FOUR(how, c, i + 4), SQ_FOUR(how, c, i + 8), SQ_FOUR(how, c, i + 12)
#define SQ_WGMMA_CORE(H, name)                                                                     \
  SQ_FN void sq_wgmma_core(const H *, float *c, sq_u64 a, sq_u64 b) {                              \
    asm volatile(                                                                                  \
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"                                               \
        "wgmma.mma_async.sync.aligned.m64n128k16.f32." name "." name " {"                          \
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                   \
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "         \
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "         \
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"           \
        "}, %64, %65, p, 1, 1, 0, 0;\n}"                                                           \
        : SQ_SIXTEEN("+f", c, 0), SQ_SIXTEEN("+f", c, 16), SQ_SIXTEEN("+f", c, 32), SQ_SIXTEEN("+f", c, 48)\
        : "l"(a), "l"(b), "n"(1));                                                                 \
  }
SQ_WGMMA_CORE(sq_bf16, "bf16")
SQ_WGMMA_CORE(sq_f16, "f16")
template <class H> SQ_FN void sq_wgmma(sq_wgmma_list &, float *c, sq_u64 a, sq_u64 b) {
  sq_wgmma_core((const H *)0, c, a, b);
}
template <class H> SQ_FN void sq_wgmma_wait(sq_wgmma_list &) {
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
// The same for attention. Neither registers of a factor nor results are touched until the wait, which ends all
// but the newest groups.
//   panel    64 x 16 in a panel by 16 x 64: rows of panels are rows of a and columns of b
//   held     64 x 16 in registers, a warp's as sq_mma has them, by the same
//   turned   the same by 16 x 64 or 16 x 128 whose rows are rows of panels (imm-trans-b)
// add 0: c = a b, which needs nothing of what c was, so that the compiler may take other registers for it.
template <int add> struct sq_adds {};
template <int n> struct sq_columns {};
#define SQ_RESULTS_32                                                                              \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                         \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SQ_WGMMA_PANEL(H, name, add, how)                                                          \
  SQ_FN void sq_wgmma_panel_core(sq_adds<add>, const H *, float *c, sq_u64 a, sq_u64 b) {          \
    asm volatile(                                                                                  \
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"                                               \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." name "." name " {"                           \
        SQ_RESULTS_32 "}, %32, %33, p, 1, 1, 0, 0;\n}"                                             \
        : SQ_SIXTEEN(how, c, 0), SQ_SIXTEEN(how, c, 16)                                            \
        : "l"(a), "l"(b), "n"(add));                                                               \
  }
#define SQ_WGMMA_HELD(H, name, add, how)                                                           \
  SQ_FN void sq_wgmma_held_core(sq_adds<add>, const H *, float *c, const sq_u32 *a, sq_u64 b) {    \
    asm volatile(                                                                                  \
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"                                               \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." name "." name " {"                           \
        SQ_RESULTS_32 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}"                               \
        : SQ_SIXTEEN(how, c, 0), SQ_SIXTEEN(how, c, 16)                                            \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(add));                           \
  }
#define SQ_WGMMA_TURNED_64(H, name)                                                                \
  SQ_FN void sq_wgmma_turned_core(sq_columns<64>, const H *, float *c, const sq_u32 *a, sq_u64 b) {\
    asm volatile(                                                                                  \
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"                                               \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." name "." name " {"                           \
        SQ_RESULTS_32 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"                               \
        : SQ_SIXTEEN("+f", c, 0), SQ_SIXTEEN("+f", c, 16)                                          \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(1));                             \
  }
#define SQ_WGMMA_TURNED_128(H, name)                                                               \
  SQ_FN void sq_wgmma_turned_core(sq_columns<128>, const H *, float *c, const sq_u32 *a, sq_u64 b) {\
    asm volatile(                                                                                  \
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"                                               \
        "wgmma.mma_async.sync.aligned.m64n128k16.f32." name "." name " {"                          \
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                   \
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "         \
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "         \
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"           \
        "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"                                             \
        : SQ_SIXTEEN("+f", c, 0), SQ_SIXTEEN("+f", c, 16), SQ_SIXTEEN("+f", c, 32), SQ_SIXTEEN("+f", c, 48)\
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(1));                             \
  }
#define SQ_WGMMA_ALL(H, name)                                                                      \
  SQ_WGMMA_PANEL(H, name, 0, "=f")                                                                 \
  SQ_WGMMA_PANEL(H, name, 1, "+f")                                                                 \
  SQ_WGMMA_HELD(H, name, 0, "=f")                                                                  \
  SQ_WGMMA_HELD(H, name, 1, "+f")                                                                  \
  SQ_WGMMA_TURNED_64(H, name)                                                                      \
  SQ_WGMMA_TURNED_128(H, name)
SQ_WGMMA_ALL(sq_bf16, "bf16")
SQ_WGMMA_ALL(sq_f16, "f16")
template <class H, int add> SQ_FN void sq_wgmma_panel(sq_wgmma_list &, float *c, sq_u64 a, sq_u64 b) {
  sq_wgmma_panel_core(sq_adds<add>(), (const H *)0, c, a, b);
}
template <class H, int add> SQ_FN void sq_wgmma_held(sq_wgmma_list &, float *c, const sq_u32 *a, sq_u64 b) {
  sq_wgmma_held_core(sq_adds<add>(), (const H *)0, c, a, b);
}
template <class H, int n> SQ_FN void sq_wgmma_turned(sq_wgmma_list &, float *c, const sq_u32 *a, sq_u64 b) {
  sq_wgmma_turned_core(sq_columns<n>(), (const H *)0, c, a, b);
}
template <class H, int but> SQ_FN void sq_wgmma_wait_but(sq_wgmma_list &) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(but) : "memory");
}
// What is done with results comes behind the wait before this: the compiler knows nothing of products.
template <int n> SQ_FN void sq_hold(float *c) {
#pragma unroll
  for (int i = 0; i < n; i++) asm volatile("" : "+f"(c[i])::"memory");
}
#endif

SQ_FN double sq_top(double a, double b) { return a != a || a > b ? a : b; }
// 2^x, 0 below the normal range.
SQ_FN float sq_power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
SQ_FN double sq_power(double x) { return exp2(x); }

// ---- bits and functions
SQ_FN sq_u32 sq_bits(float f) { return __float_as_uint(f); }
SQ_FN float sq_of_bits(sq_u32 u) { return __uint_as_float(u); }
SQ_FN float sq_half_to_float(unsigned short h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
SQ_FN unsigned short sq_float_to_half(float f) {
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
// To 11 bits, halves away from 0.
SQ_FN sq_u32 sq_tf32_bits(float f) {
#if __CUDA_ARCH__ >= 800
  sq_u32 w;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(w) : "f"(f));
  return w;
#else
  return f - f == 0 ? (sq_bits(f) + 0x1000) & ~0x1fffu : sq_bits(f);
#endif
}
// Two numbers of 16 bits in a word, the first in the lower half.
SQ_FN sq_u32 sq_pack(const sq_f16 *, float a, float b) {
  return (sq_u32)sq_float_to_half(a) | (sq_u32)sq_float_to_half(b) << 16;
}
SQ_FN sq_u32 sq_pack(const sq_bf16 *, float a, float b) {
  sq_u32 w;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(b), "f"(a));
#else
  w = sq_bits(a) + 0x7fff + (sq_bits(a) >> 16 & 1);
  w = w >> 16 | ((sq_bits(b) + 0x7fff + (sq_bits(b) >> 16 & 1)) & 0xffff0000u);
#endif
  return w;
}
#define SQ_FMA(a, b, c) fma(a, b, c)
#define SQ_FMAF(a, b, c) fmaf(a, b, c)
#define SQ_MATH1(name)                                                                             \
  SQ_FN float sq_c_##name(float a) { return name##f(a); }                                          \
  SQ_FN double sq_c_##name(double a) { return name(a); }
#define SQ_MATH2(name)                                                                             \
  SQ_FN float sq_c_##name(float a, float b) { return name##f(a, b); }                              \
  SQ_FN double sq_c_##name(double a, double b) { return name(a, b); }
