// One entry's module compiled in several parts at once. In: the module. Out: objects in u->part[].
//
//   merge equal kernels -> bitcode -> part 0: entry, kernels 3, 7   others available_externally
//                                     part 1: kernels 0, 1, 2 ...   (dropped before code is made)
//
// Kernels do not know one another, so the code of each is the same in whatever part it lands. Every
// thread has an LLVM context of its own and allocates nothing of ours.
#include "codegen/cpu/driver.h"
#include <llvm-c/BitReader.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Error.h>
#include <pthread.h>
#include <unistd.h>

enum { WORTH = 700 }; // instructions for which a thread is worth its start

typedef struct piece {
  LLVMValueRef f;
  const char *name;
  uint32_t weight, part;
  bool entry; // or an init: known by its symbol, and perhaps in other modules too
} piece;

typedef struct part {
  const sq_target *target;
  LLVMMemoryBufferRef bitcode;
  const piece *pieces;
  uint32_t n_pieces, number;
  LLVMMemoryBufferRef object;
  const char *failed; // which step, NULL: none
  char *why;          // LLVM's words
} part;

static uint32_t weight_of(LLVMValueRef f) {
  uint32_t n = 1;
  for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b; b = LLVMGetNextBasicBlock(b))
    for (LLVMValueRef i = LLVMGetFirstInstruction(b); i; i = LLVMGetNextInstruction(i)) n++;
  return n;
}

// All functions with a body, the heaviest first.
static piece *list_pieces(sq_unit *u, const char *symbol, uint32_t *n, uint32_t *total) {
  uint32_t most = 0;
  *n = *total = 0;
  for (LLVMValueRef f = LLVMGetFirstFunction(u->module); f; f = LLVMGetNextFunction(f)) most++;
  piece *p = SQ_ARRAY(&u->scratch, piece, most + 1);
  for (LLVMValueRef f = LLVMGetFirstFunction(u->module); f; f = LLVMGetNextFunction(f)) {
    if (LLVMIsDeclaration(f)) continue;
    size_t size;
    const char *name = LLVMGetValueName2(f, &size);
    // Kernels of several entries meet in one dylib.
    bool entry = LLVMGetLinkage(f) == LLVMExternalLinkage;
    if (!entry) {
      name = sq_arena_fmt(&u->scratch, "%s/%s", symbol, name);
      LLVMSetValueName2(f, name, strlen(name));
    }
    piece one = {f, sq_arena_str(&u->scratch, name, strlen(name)), weight_of(f), 0, entry};
    *total += one.weight;
    uint32_t at = (*n)++;
    for (; at > 0 && p[at - 1].weight < one.weight; at--) p[at] = p[at - 1];
    p[at] = one;
  }
  return p;
}

static void deal(piece *p, uint32_t n, uint32_t n_part) {
  uint32_t load[SQ_PARTS] = {0};
  for (uint32_t k = 0; k < n; k++) {
    for (uint32_t j = 1; j < n_part; j++)
      if (load[j] < load[p[k].part]) p[k].part = j;
    load[p[k].part] += p[k].weight;
  }
}

// The part's own functions become external, the others are only known.
static void keep_own(const part *p, LLVMModuleRef m) {
  for (uint32_t k = 0; k < p->n_pieces; k++) {
    LLVMValueRef f = LLVMGetNamedFunction(m, p->pieces[k].name);
    if (!f) continue;
    LLVMLinkage own = p->pieces[k].entry ? LLVMWeakODRLinkage : LLVMExternalLinkage;
    LLVMSetLinkage(f, p->pieces[k].part == p->number ? own : LLVMAvailableExternallyLinkage);
  }
}

static void make_object(part *p, LLVMModuleRef m, LLVMTargetMachineRef machine) {
  keep_own(p, m);
  const char *const steps[] = {"elim-avail-extern,globaldce", sq_unit_recipe(false)};
  for (int k = 0; k < 2; k++) {
    char *e = sq_unit_passes(m, machine, steps[k]);
    if (!e) continue;
    LLVMDisposeErrorMessage(e);
    p->failed = "the optimiser";
    return;
  }
  if (LLVMTargetMachineEmitToMemoryBuffer(machine, m, LLVMObjectFile, &p->why, &p->object)) {
    p->object = NULL;
    p->failed = "code generation";
  }
}

static void *compile_part(void *arg) {
  part *p = arg;
  LLVMContextRef ctx = LLVMContextCreate();
  LLVMContextSetDiscardValueNames(ctx, 1);
  LLVMModuleRef m = NULL;
  LLVMTargetMachineRef machine = sq_target_machine(p->target, &p->why);
  if (!machine) {
    p->failed = "the target";
  } else if (LLVMParseBitcodeInContext2(ctx, p->bitcode, &m)) {
    m = NULL;
    p->failed = "reading bitcode";
  } else {
    make_object(p, m, machine);
  }
  if (m) LLVMDisposeModule(m);
  if (machine) LLVMDisposeTargetMachine(machine);
  LLVMContextDispose(ctx);
  return NULL;
}

static void compile_all(part *p, uint32_t n) {
  pthread_t thread[SQ_PARTS];
  bool started[SQ_PARTS] = {false};
  for (uint32_t k = 1; k < n; k++)
    started[k] = pthread_create(&thread[k], NULL, compile_part, &p[k]) == 0;
  compile_part(&p[0]);
  for (uint32_t k = 1; k < n; k++) {
    if (started[k])
      pthread_join(thread[k], NULL);
    else
      compile_part(&p[k]);
  }
}

static uint32_t part_count(uint32_t pieces, uint32_t total) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  uint32_t n = processors < 1 ? 1 : processors > SQ_PARTS ? SQ_PARTS : (uint32_t)processors;
  if (n > total / WORTH + 1) n = total / WORTH + 1;
  return n < pieces ? n : pieces;
}

sq_status sq_parts_compile(sq_unit *u, const char *symbol) {
  SQ_TRY(sq_unit_verify(u));
  sq_unit_anonymise(u);
  SQ_TRY(sq_unit_run(u, sq_unit_recipe(true)));
  uint32_t n_pieces, total;
  piece *all = list_pieces(u, symbol, &n_pieces, &total);
  uint32_t n = part_count(n_pieces, total);
  deal(all, n_pieces, n);
  u->buffer = LLVMWriteBitcodeToMemoryBuffer(u->module);
  part *p = SQ_ARRAY(&u->scratch, part, n);
  for (uint32_t k = 0; k < n; k++)
    p[k] = (part){.target = u->target,
                  .bitcode = u->buffer,
                  .pieces = all,
                  .n_pieces = n_pieces,
                  .number = k};
  compile_all(p, n);
  const char *failed = NULL;
  char why[1000] = "";
  for (uint32_t k = 0; k < n; k++) {
    if (p[k].object) u->part[u->n_part++] = p[k].object;
    if (p[k].failed) {
      failed = p[k].failed;
      if (p[k].why) snprintf(why, sizeof why, ": %s", p[k].why);
    }
    if (p[k].why) LLVMDisposeMessage(p[k].why);
  }
  if (!failed) return SQ_OK;
  u->message = sq_arena_fmt(u->graph->arena, "internal error: %s failed%s", failed, why);
  return SQ_EWORLD;
}
