// Machines that code is made for. In: a name of the command line. Out: LLVM's triple, processor and
// features, the facts kernels are shaped by, and the features the finished code needs, in the
// kernel's words (/proc/cpuinfo), so that the runtime can refuse a lesser machine by name.
#include "codegen/cpu/driver.h"
#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <pthread.h>
#include <unistd.h>

// LLVM's feature, the flag in /proc/cpuinfo, the least level that has it (0: none of ours).
typedef struct feature {
  const char *llvm, *flag;
  int level;
} feature;
static const feature x86_features[] = {
    {"sse3", "pni", 2},
    {"ssse3", "ssse3", 2},
    {"sse4.1", "sse4_1", 2},
    {"sse4.2", "sse4_2", 2},
    {"popcnt", "popcnt", 2},
    {"cx16", "cx16", 2},
    {"avx", "avx", 3},
    {"avx2", "avx2", 3},
    {"bmi", "bmi1", 3},
    {"bmi2", "bmi2", 3},
    {"f16c", "f16c", 3},
    {"fma", "fma", 3},
    {"lzcnt", "abm", 3},
    {"movbe", "movbe", 3},
    {"avx512f", "avx512f", 4},
    {"avx512bw", "avx512bw", 4},
    {"avx512cd", "avx512cd", 4},
    {"avx512dq", "avx512dq", 4},
    {"avx512vl", "avx512vl", 4},
    {"avx512bf16", "avx512_bf16", 0},
    {"avx512fp16", "avx512_fp16", 0},
    {"avx512vnni", "avx512_vnni", 0},
    {"avx512vbmi", "avx512vbmi", 0},
    {"avx512vbmi2", "avx512_vbmi2", 0},
    {"avx512ifma", "avx512ifma", 0},
    {"avx512bitalg", "avx512_bitalg", 0},
    {"avx512vpopcntdq", "avx512_vpopcntdq", 0},
    {"avxvnni", "avx_vnni", 0},
    {"amx-bf16", "amx_bf16", 0},
    {"amx-int8", "amx_int8", 0},
    {"amx-tile", "amx_tile", 0},
    {"gfni", "gfni", 0},
    {"adx", "adx", 0},
};
static const feature arm_features[] = {
    {"fp-armv8", "fp", 1},     {"neon", "asimd", 1}, {"fullfp16", "asimdhp", 0},
    {"dotprod", "asimddp", 0}, {"bf16", "bf16", 0},  {"i8mm", "i8mm", 0},
    {"lse", "atomics", 0},     {"sve", "sve", 0},    {"sve2", "sve2", 0},
};

typedef struct named_target {
  const char *name, *triple, *cpu;
  int level; // x86-64-v2 .. v4; 1: aarch64
} named_target;
static const named_target targets[] = {
    {"x86-64-v2", "x86_64-linux-gnu", "x86-64-v2", 2},
    {"x86-64-v3", "x86_64-linux-gnu", "x86-64-v3", 3},
    {"x86-64-v4", "x86_64-linux-gnu", "x86-64-v4", 4},
    {"aarch64", "aarch64-linux-gnu", "generic", 1},
};

static void init_targets(void) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMInitializeX86AsmParser();
  LLVMInitializeAArch64TargetInfo();
  LLVMInitializeAArch64Target();
  LLVMInitializeAArch64TargetMC();
  LLVMInitializeAArch64AsmPrinter();
  LLVMInitializeAArch64AsmParser();
}
void sq_target_init(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_targets);
}

// Is "+name" in a feature string such as "+sse2,-avx"?
static bool has(const char *features, const char *name) {
  size_t n = strlen(name);
  for (const char *p = features; (p = strstr(p, name)); p += n)
    if (p > features && p[-1] == '+' && (p[n] == ',' || p[n] == 0)) return true;
  return false;
}

static const feature *table_of(const char *triple, size_t *n) {
  bool arm = strncmp(triple, "aarch64", 7) == 0;
  *n =
      arm ? sizeof arm_features / sizeof *arm_features : sizeof x86_features / sizeof *x86_features;
  return arm ? arm_features : x86_features;
}

bool sq_target_has(const sq_target *t, const char *name) { return has(t->features, name); }
const char *const *sq_target_needs(const sq_target *t, sq_arena *a, uint32_t *n) {
  size_t count;
  const feature *f = table_of(t->triple, &count);
  const char **flags = SQ_ARRAY(a, const char *, count);
  *n = 0;
  for (size_t k = 0; k < count; k++)
    if (has(t->features, f[k].llvm)) flags[(*n)++] = f[k].flag;
  return flags;
}

static uint32_t system_says(int name) { // 0: nothing
  long v = sysconf(name);
  return v > 0 && v < INT32_MAX ? (uint32_t)v : 0;
}

// The facts that follow from the features.
static void derive(sq_target *t) {
  bool arm = strncmp(t->triple, "aarch64", 7) == 0;
  bool wide = has(t->features, "avx512f") && has(t->features, "avx512vl") &&
              has(t->features, "avx512bw") && has(t->features, "avx512dq");
#ifdef SQ_WIDE // LLVM makes two vectors of each: the code of wider machines runs on this one
  wide |= has(t->features, "avx2");
#endif
  t->machine.vector_bytes = arm ? 16 : wide ? 64 : has(t->features, "avx2") ? 32 : 16;
  t->machine.vector_registers = arm || wide ? 32 : 16;
  t->machine.fma = arm || has(t->features, "fma");
  t->machine.fp16 = arm || has(t->features, "f16c");
  t->machine.bf16 = has(t->features, "avx512bf16");
#ifdef SQ_WIDE
  t->machine.bf16 |= wide; // written out
#endif
}

// Processors whose operations on their widest vectors take each half in turn, in LLVM's names. What is
// not named counts as whole; where that is wrong, only time is lost.
static uint32_t step_bytes(const char *cpu, uint32_t vector_bytes) {
  static const char *const halves[] = {"znver1", "znver4"};
  for (size_t k = 0; k < sizeof halves / sizeof *halves; k++)
    if (strcmp(cpu, halves[k]) == 0) return vector_bytes / 2;
  return vector_bytes;
}

static sq_status native(sq_ctx *ctx, sq_target *t, const char **message) {
  char *triple = LLVMGetDefaultTargetTriple();
  char *cpu = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
  // Copied to the stack first: an allocation may leave by the guard.
  char copy[3][8192];
  snprintf(copy[0], sizeof copy[0], "%s", triple);
  snprintf(copy[1], sizeof copy[1], "%s", cpu);
  snprintf(copy[2], sizeof copy[2], "%s", features);
  LLVMDisposeMessage(triple);
  LLVMDisposeMessage(cpu);
  LLVMDisposeMessage(features);
  bool arm = strncmp(copy[0], "aarch64", 7) == 0;
  if (!arm && strncmp(copy[0], "x86_64", 6) != 0) {
    *message = sq_arena_fmt(&ctx->arena, "no code generation for this machine (%s)", copy[0]);
    return SQ_EWORLD;
  }
  t->triple = arm ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
  t->cpu = sq_arena_str(&ctx->arena, copy[1], strlen(copy[1]));
  t->features = sq_arena_str(&ctx->arena, copy[2], strlen(copy[2]));
  derive(t);
  t->machine.step_bytes = step_bytes(t->cpu, t->machine.vector_bytes);
#ifdef SQ_WIDE // the shape of machines that take them whole
  t->machine.step_bytes = t->machine.vector_bytes;
#endif
  t->machine.l1_bytes = system_says(_SC_LEVEL1_DCACHE_SIZE);
  t->machine.l2_bytes = system_says(_SC_LEVEL2_CACHE_SIZE);
  t->machine.l3_bytes = system_says(_SC_LEVEL3_CACHE_SIZE);
  t->machine.cores = system_says(_SC_NPROCESSORS_ONLN);
  sq_machine_complete(&t->machine);
  return SQ_OK;
}

sq_status sq_target_find(sq_ctx *ctx, const char *name, sq_target *t, const char **message) {
  sq_target_init();
  *t = (sq_target){0};
  if (strcmp(name, "native") == 0) return native(ctx, t, message);
  for (size_t k = 0; k < sizeof targets / sizeof *targets; k++) {
    const named_target *n = &targets[k];
    if (strcmp(name, n->name) != 0) continue;
    sq_text features = {.arena = &ctx->arena};
    size_t count;
    const feature *f = table_of(n->triple, &count);
    for (size_t j = 0; j < count; j++)
      if (f[j].level && f[j].level <= n->level)
        sq_text_add(&features, "%s+%s", features.n ? "," : "", f[j].llvm);
    *t = (sq_target){.triple = n->triple, .cpu = n->cpu, .features = features.v};
    derive(t);
    sq_machine_complete(&t->machine);
    return SQ_OK;
  }
  *message = sq_arena_fmt(
      &ctx->arena,
      "unknown target `%s`: it is one of native, x86-64-v2, x86-64-v3, x86-64-v4, aarch64", name);
  return SQ_EUSAGE;
}

LLVMTargetMachineRef sq_target_machine(const sq_target *t, char **message) {
  sq_target_init();
  LLVMTargetRef target;
  if (LLVMGetTargetFromTriple(t->triple, &target, message)) return NULL;
  LLVMTargetMachineRef m =
      LLVMCreateTargetMachine(target, t->triple, t->cpu, t->features, LLVMCodeGenLevelDefault,
                              LLVMRelocPIC, LLVMCodeModelDefault);
  if (!m) *message = LLVMCreateMessage("LLVM has no such machine");
  return m;
}
