// Control flow and effects as compiled code. In: the operations of a block, in order. Out: basic
// blocks of the entry; kernels are emitted by sq_kernel_emit, all else here, one function an
// operation (the table at the end).
//
//   while (carried) limit L            turn = 0
//     cond  -> bool              ->    loop: error? stop; turn < L?; cond; !bool? done
//     body  -> carried                       body; carried moved; turn++; again
//
// The error word is tested at every loop's head and before every write that outlives the call, so a
// failing call stops early and never turns forever on garbage. On a device kernels have an error word
// of their own: those that write look at it themselves, the host where it reads a condition.
#include "codegen/cpu/driver.h"
#include <stddef.h>

// ---- errors ------------------------------------------------------------------------------------
void sq_control_go_on_if(sq_cg *cg, LLVMValueRef ok) {
  LLVMBasicBlockRef next = sq_cg_block(cg, "go");
  LLVMBuildCondBr(cg->builder, ok, next, sq_cg_driver(cg)->stop);
  LLVMPositionBuilderAtEnd(cg->builder, next);
}

static void test_word(sq_cg *cg) {
  LLVMValueRef error = sq_cg_field(cg, offsetof(sq_call, error), sq_cg_type_i64(cg), "error");
  sq_control_go_on_if(cg, LLVMBuildICmp(cg->builder, LLVMIntEQ, error, sq_cg_i64(cg, 0), ""));
}

void sq_control_test(sq_cg *cg) {
  if (sq_cg_on_device(cg))
    sq_cg_device_call(cg, offsetof(sq_device, test), NULL, 0);
  else
    test_word(cg);
}

// Where `wins` holds, the word of the call at `offset` becomes `v`.
static void set_where(sq_cg *cg, LLVMValueRef wins, size_t offset, LLVMValueRef v) {
  LLVMValueRef at = sq_cg_field_at(cg, offset);
  LLVMValueRef old = LLVMBuildLoad2(cg->builder, sq_cg_type_i64(cg), at, "");
  LLVMBuildStore(cg->builder, LLVMBuildSelect(cg->builder, wins, v, old, ""), at);
}

// Records (site, value, limit) where `bad` holds; the lowest site wins.
static void fail_where(sq_cg *cg, LLVMValueRef bad, uint32_t site, LLVMValueRef value,
                       LLVMValueRef limit) {
  LLVMBuilderRef b = cg->builder;
  LLVMBasicBlockRef failing = sq_cg_block(cg, "failing"), next = sq_cg_block(cg, "checked");
  LLVMBuildCondBr(b, bad, failing, next);
  LLVMPositionBuilderAtEnd(b, failing);
  LLVMValueRef old = sq_cg_field(cg, offsetof(sq_call, error), sq_cg_type_i64(cg), "");
  LLVMValueRef mine = sq_cg_i64(cg, (int64_t)site + 1), one = sq_cg_i64(cg, 1);
  // 0, no error, is made the largest by the subtraction.
  LLVMValueRef wins = LLVMBuildICmp(b, LLVMIntULT, LLVMBuildSub(b, mine, one, ""),
                                    LLVMBuildSub(b, old, one, ""), "wins");
  set_where(cg, wins, offsetof(sq_call, error), mine);
  set_where(cg, wins, offsetof(sq_call, error_value), value);
  set_where(cg, wins, offsetof(sq_call, error_limit), limit);
  LLVMBuildBr(b, next);
  LLVMPositionBuilderAtEnd(b, next);
}

// What the host knows it tests without waiting for the device, which has a say where it fails: the
// lowest site wins.
static void emit_check(sq_cg *cg, sq_node *n) {
  LLVMBuilderRef b = cg->builder;
  LLVMValueRef bad = LLVMBuildNot(b, sq_cg_bool(cg, n->in[0]), "bad");
  LLVMBasicBlockRef next = NULL;
  if (sq_host_has(cg, n->in[0])) {
    LLVMBasicBlockRef failing = sq_cg_block(cg, "failing");
    next = sq_cg_block(cg, "checked");
    LLVMBuildCondBr(b, bad, failing, next);
    LLVMPositionBuilderAtEnd(b, failing);
  }
  fail_where(cg, bad, n->site, sq_cg_i64(cg, INT64_MIN), sq_cg_i64(cg, -1));
  sq_control_test(cg);
  if (!next) return;
  LLVMBuildBr(b, next);
  LLVMPositionBuilderAtEnd(b, next);
}

static void emit_live(sq_cg *cg, sq_node *n) {
  LLVMBuilderRef b = cg->builder;
  const sq_sym_info *info = sq_sym_at(cg->graph->dims, n->sym);
  LLVMValueRef v = sq_cg_integer(cg, n->in[0]), limit = sq_cg_dim(cg, info->limit);
  fail_where(cg, LLVMBuildICmp(b, LLVMIntUGT, v, limit, ""), n->site, v,
             LLVMBuildAdd(b, limit, sq_cg_i64(cg, 1), ""));
  // A value outside is not used: loops run to what the storage holds.
  LLVMValueRef zero = sq_cg_i64(cg, 0);
  LLVMValueRef low = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSLT, v, zero, ""), zero, v, "");
  low = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, low, limit, ""), limit, low, "");
  LLVMValueRef table = sq_cg_field(cg, offsetof(sq_call, sym), sq_cg_type_ptr(cg), "sym");
  LLVMValueRef k = sq_cg_i64(cg, n->sym.i);
  LLVMBuildStore(b, low, LLVMBuildGEP2(b, sq_cg_type_i64(cg), table, &k, 1, info->name));
}

// ---- states ------------------------------------------------------------------------------------
// c->hook(c, [state, n]); leaves the entry when it fails.
static void call_hook(sq_cg *cg, size_t hook, LLVMValueRef state, LLVMValueRef n) {
  LLVMTypeRef i32 = LLVMInt32TypeInContext(cg->ctx), ptr = sq_cg_type_ptr(cg);
  LLVMTypeRef types[] = {ptr, i32, sq_cg_type_i64(cg)};
  LLVMValueRef args[] = {cg->call, state, n};
  unsigned count = state ? 3 : 1;
  LLVMTypeRef type = LLVMFunctionType(i32, types, count, 0);
  LLVMValueRef status =
      LLVMBuildCall2(cg->builder, type, sq_cg_field(cg, hook, ptr, "hook"), args, count, "");
  sq_control_go_on_if(cg, LLVMBuildICmp(cg->builder, LLVMIntEQ, status, sq_cg_i32(cg, 0), ""));
}

// The hook looks at the device's error word itself, where it has to.
static void emit_reserve(sq_cg *cg, sq_node *n) {
  test_word(cg);
  LLVMValueRef rows = sq_cg_integer(cg, n->in[0]);
  call_hook(cg, offsetof(sq_call, reserve), sq_cg_i32(cg, (int32_t)n->ref), rows);
}

static void emit_reset(sq_cg *cg, sq_node *n) {
  (void)n;
  sq_control_test(cg);
  call_hook(cg, offsetof(sq_call, reset), NULL, NULL);
}

// The whole of a growing state is written: its extent becomes that of the write, while sizes in the
// operation still mean the extent from before.
static void emit_write(sq_cg *cg, sq_node *n) {
  sq_driver *dr = sq_cg_driver(cg);
  bool done = sq_write_is_done(cg->graph, n);
  if (!done) test_word(cg);
  // What the host knows is in no place yet.
  if (!sq_host_write(cg, n) && done) return;
  const sq_state *s = n->op == SQ_OP_STATE_WRITE ? &cg->graph->state.v[n->ref] : NULL;
  if (!s || !s->grow.i || n->g->pos) {
    sq_kernel_emit(cg, n);
    return;
  }
  if (sq_cg_on_device(cg)) sq_control_test(cg);
  LLVMValueRef before = sq_cg_dim(cg, sq_dim_sym(cg->graph->dims, s->grow));
  LLVMValueRef rows = sq_cg_dim(cg, n->g->axis[s->grow_axis].extent);
  call_hook(cg, offsetof(sq_call, resize), sq_cg_i32(cg, (int32_t)n->ref), rows);
  dr->frozen = s->grow;
  dr->frozen_value = before;
  sq_kernel_emit(cg, n);
  dr->frozen = (sq_sym){0};
}

// ---- regions -----------------------------------------------------------------------------------
// A loop under construction: index from `first` while index < last.
typedef struct loop {
  LLVMBasicBlockRef head, done;
  LLVMValueRef index;
} loop;

static loop loop_open(sq_cg *cg, LLVMValueRef first, LLVMValueRef last, const char *name) {
  LLVMBuilderRef b = cg->builder;
  LLVMBasicBlockRef from = LLVMGetInsertBlock(b);
  loop l = {sq_cg_block(cg, name), sq_cg_block(cg, "done"), NULL};
  LLVMBasicBlockRef turn = sq_cg_block(cg, "turn");
  LLVMBuildBr(b, l.head);
  LLVMPositionBuilderAtEnd(b, l.head);
  l.index = LLVMBuildPhi(b, sq_cg_type_i64(cg), "");
  LLVMAddIncoming(l.index, &first, &from, 1);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, l.index, last, ""), turn, l.done);
  LLVMPositionBuilderAtEnd(b, turn);
  return l;
}

static void loop_close(sq_cg *cg, const loop *l) {
  LLVMBuilderRef b = cg->builder;
  LLVMValueRef next = LLVMBuildNSWAdd(b, l->index, sq_cg_i64(cg, 1), "");
  LLVMBasicBlockRef from = LLVMGetInsertBlock(b);
  LLVMAddIncoming(l->index, &next, &from, 1);
  LLVMBuildBr(b, l->head);
  LLVMPositionBuilderAtEnd(b, l->done);
}

static void move_all(sq_cg *cg, sq_value *const *to, sq_value *const *from, uint32_t n) {
  for (uint32_t k = 0; k < n; k++)
    if (sq_host_has(cg, to[k]))
      sq_host_carry(cg, to[k], from[k]);
    else
      sq_cg_move(cg, to[k], NULL, from[k]);
}

// What a loop carried, when it has ended.
static void move_out(sq_cg *cg, sq_value *const *out, sq_value *const *carried, uint32_t n) {
  sq_host_arrive(cg, carried, n);
  move_all(cg, out, carried, n);
  sq_host_arrive(cg, out, n);
}

static void emit_repeat(sq_cg *cg, sq_node *n) {
  sq_block *body = n->region[0];
  sq_value **carried = body->args.v + 1;
  uint32_t count = n->n_in - 2;
  move_all(cg, carried, n->in + 2, count);
  LLVMValueRef lo = sq_cg_integer(cg, n->in[0]), hi = sq_cg_integer(cg, n->in[1]);
  loop l = loop_open(cg, lo, hi, "repeat");
  test_word(cg);
  sq_cg_set_integer(cg, body->args.v[0], l.index);
  sq_host_arrive(cg, carried, count);
  sq_control_block(cg, body);
  move_all(cg, carried, sq_block_end(body)->in, count);
  loop_close(cg, &l);
  move_out(cg, n->out, carried, count);
}

// What the condition of a turn is, for the host. Of a loop that the device can repeat the device may say
// no before the second turn, when it goes round itself.
static LLVMValueRef goes_on(sq_cg *cg, const sq_node *n, const loop *l, LLVMValueRef limit) {
  const sq_value *v = sq_block_end(n->region[0])->in[0];
  const sq_loops *loops = &sq_cg_driver(cg)->loops;
  bool alone = false;
  for (uint32_t k = 0; k < loops->n; k++)
    alone |= loops->v[k].node == n && loops->v[k].form == SQ_LOOP_DEVICE;
  if (!alone && !sq_host_has(cg, v)) sq_control_test(cg);
  if (!alone) return sq_cg_bool(cg, v);
  LLVMValueRef arg[4] = {sq_cg_word(cg), sq_cg_pointer(cg, v), l->index, limit};
  sq_cg_device_call(cg, offsetof(sq_device, turn), arg, 4);
  LLVMValueRef word = LLVMBuildLoad2(cg->builder, sq_cg_type_i64(cg), arg[0], "");
  return LLVMBuildICmp(cg->builder, LLVMIntNE, word, sq_cg_i64(cg, 0), "");
}

static void emit_while(sq_cg *cg, sq_node *n) {
  LLVMBuilderRef b = cg->builder;
  sq_block *cond = n->region[0], *body = n->region[1];
  uint32_t count = n->n_in;
  move_all(cg, cond->args.v, n->in, count);
  LLVMValueRef limit = n->extent.i ? sq_cg_dim(cg, n->extent) : sq_cg_i64(cg, INT64_MAX);
  loop l = loop_open(cg, sq_cg_i64(cg, 0), limit, "while");
  test_word(cg);
  sq_host_arrive(cg, cond->args.v, count);
  sq_control_block(cg, cond);
  LLVMValueRef holds = goes_on(cg, n, &l, limit);
  LLVMBasicBlockRef inside = sq_cg_block(cg, "holds");
  LLVMBuildCondBr(b, holds, inside, l.done);
  LLVMPositionBuilderAtEnd(b, inside);
  move_all(cg, body->args.v, cond->args.v, count);
  sq_host_arrive(cg, body->args.v, count);
  sq_control_block(cg, body);
  move_all(cg, cond->args.v, sq_block_end(body)->in, count);
  loop_close(cg, &l);
  move_out(cg, n->out, cond->args.v, count);
}

static void emit_if(sq_cg *cg, sq_node *n) {
  LLVMBuilderRef b = cg->builder;
  LLVMBasicBlockRef side[2] = {sq_cg_block(cg, "then"), sq_cg_block(cg, "else")};
  LLVMBasicBlockRef done = sq_cg_block(cg, "endif");
  LLVMBuildCondBr(b, sq_cg_bool(cg, n->in[0]), side[0], side[1]);
  for (int k = 0; k < 2; k++) {
    LLVMPositionBuilderAtEnd(b, side[k]);
    sq_control_block(cg, n->region[k]);
    move_all(cg, n->out, sq_block_end(n->region[k])->in, n->n_out);
    LLVMBuildBr(b, done);
  }
  LLVMPositionBuilderAtEnd(b, done);
  sq_host_arrive(cg, n->out, n->n_out);
}

// A row of `to`, whose leading axes are those of a region, receives an element.
static void move_row(sq_cg *cg, const sq_value *to, LLVMValueRef row, const sq_value *from) {
  LLVMValueRef bytes = LLVMBuildMul(cg->builder, row, sq_cg_bytes(cg, from), "");
  sq_cg_move(cg, to, sq_cg_add_bytes(cg, sq_cg_pointer(cg, to), bytes), from);
}

static void emit_scan(sq_cg *cg, sq_node *n) {
  LLVMBuilderRef b = cg->builder;
  sq_block *body = n->region[0];
  sq_value **carried = body->args.v + 1;
  uint32_t count = n->n_carried;
  move_all(cg, carried, n->in, count);
  LLVMValueRef extent = sq_cg_dim(cg, n->extent);
  loop l = loop_open(cg, sq_cg_i64(cg, 0), extent, "scan");
  test_word(cg);
  LLVMValueRef t = l.index;
  if (n->flag & 1) t = LLVMBuildSub(b, LLVMBuildSub(b, extent, sq_cg_i64(cg, 1), ""), l.index, "t");
  sq_cg_set_integer(cg, body->args.v[0], t);
  sq_host_arrive(cg, carried, count);
  sq_control_block(cg, body);
  sq_value **yields = sq_block_end(body)->in;
  for (uint32_t k = count; k < n->n_out; k++) move_row(cg, n->out[k], t, yields[k]);
  move_all(cg, carried, yields, count);
  loop_close(cg, &l);
  move_out(cg, n->out, carried, count);
}

static void emit_map(sq_cg *cg, sq_node *n) {
  sq_dims *ds = cg->graph->dims;
  sq_block *body = n->region[0];
  loop l[SQ_MAX_RANK];
  LLVMValueRef row = sq_cg_i64(cg, 0);
  for (uint32_t k = 0; k < n->g->n_par; k++) {
    sq_dim extent = n->g->axis[k].extent;
    l[k] = loop_open(cg, sq_cg_i64(cg, 0), sq_cg_dim(cg, extent), "map");
    LLVMValueRef stride = sq_cg_dim(cg, sq_dim_storage(ds, extent));
    row = LLVMBuildAdd(cg->builder, LLVMBuildMul(cg->builder, row, stride, ""), l[k].index, "row");
  }
  // All of them every time: values of the body may lie in the place of one that is no longer used.
  for (uint32_t k = 0; k < n->g->n_par; k++) sq_cg_set_integer(cg, body->args.v[k], l[k].index);
  test_word(cg);
  sq_control_block(cg, body);
  for (uint32_t k = 0; k < n->n_out; k++) move_row(cg, n->out[k], row, sq_block_end(body)->in[k]);
  for (uint32_t k = n->g->n_par; k-- > 0;) loop_close(cg, &l[k]);
}

// ---- dispatch ----------------------------------------------------------------------------------
static void emit_nothing(sq_cg *cg, sq_node *n) {
  (void)cg;
  (void)n;
}

// "generic y, gpt2.seqm:21": what a trace shows for a kernel.
static LLVMValueRef kernel_label(sq_cg *cg, const sq_node *n) {
  char text[256];
  uint32_t line, column;
  const sq_diags *ds = &cg->graph->ctx->diags;
  sq_span_line(ds, n->span, &line, &column);
  const char *file = line ? ds->sources.v[n->span.file].name : "";
  const char *base = strrchr(file, '/');
  const char *name = n->n_out && n->out[0]->name ? n->out[0]->name : "";
  snprintf(text, sizeof text, "%s%s%s", sq_op_table[n->op].name, *name ? " " : "", name);
  size_t at = strlen(text);
  if (line) snprintf(text + at, sizeof text - at, ", %s:%u", base ? base + 1 : file, line);
  sq_cut_info cut;
  bool trial = cg->target->tuned && cg->target->tuned->trial;
  if (trial && sq_cut_explain(cg->graph, cg->target, n, NULL, &cut))
    snprintf(text, sizeof text, "%s", cut.class);
  return LLVMBuildGlobalStringPtr(cg->builder, text, "label");
}

// if (c->mark) c->mark(c, label)
static void emit_mark(sq_cg *cg, const sq_node *n) {
  LLVMTypeRef ptr = sq_cg_type_ptr(cg), args[] = {ptr, ptr};
  LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(cg->ctx), args, 2, 0);
  LLVMValueRef hook = sq_cg_field(cg, offsetof(sq_call, mark), ptr, "mark");
  LLVMBasicBlockRef yes = LLVMAppendBasicBlockInContext(cg->ctx, cg->entry, "marked");
  LLVMBasicBlockRef on = LLVMAppendBasicBlockInContext(cg->ctx, cg->entry, "kernel");
  LLVMBuildCondBr(cg->builder, LLVMBuildIsNotNull(cg->builder, hook, ""), yes, on);
  LLVMPositionBuilderAtEnd(cg->builder, yes);
  LLVMBuildCall2(cg->builder, type, hook, (LLVMValueRef[]){cg->call, kernel_label(cg, n)}, 2, "");
  LLVMBuildBr(cg->builder, on);
  LLVMPositionBuilderAtEnd(cg->builder, on);
}

typedef void (*emitter)(sq_cg *cg, sq_node *n);
static const emitter emitters[SQ_OP_COUNT] = {
    [SQ_OP_GENERIC] = sq_kernel_emit,
    [SQ_OP_UPDATE] = sq_kernel_emit,
    [SQ_OP_CUMULATE] = sq_kernel_emit,
    [SQ_OP_SORT] = sq_kernel_emit,
    [SQ_OP_ARGSORT] = sq_kernel_emit,
    [SQ_OP_TOPK] = sq_kernel_emit,
    [SQ_OP_RANDOM] = sq_kernel_emit,
    [SQ_OP_GROUP] = sq_kernel_emit,
    [SQ_OP_SWEEP] = sq_kernel_emit,
    [SQ_OP_STREAM] = sq_kernel_emit,
    [SQ_OP_PARAM] = emit_nothing,
    [SQ_OP_STATE_READ] = emit_nothing,
    [SQ_OP_PARAM_WRITE] = emit_write,
    [SQ_OP_STATE_WRITE] = emit_write,
    [SQ_OP_RESERVE] = emit_reserve,
    [SQ_OP_RESET] = emit_reset,
    [SQ_OP_LIVE] = emit_live,
    [SQ_OP_CHECK] = emit_check,
    [SQ_OP_REPEAT] = emit_repeat,
    [SQ_OP_WHILE] = emit_while,
    [SQ_OP_IF] = emit_if,
    [SQ_OP_SCAN] = emit_scan,
    [SQ_OP_MAP] = emit_map,
    [SQ_OP_YIELD] = emit_nothing,
};

void sq_control_block(sq_cg *cg, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    SQ_ASSERT(emitters[n->op], "no code for operation %s", sq_op_table[n->op].name);
    if (sq_host_emit(cg, n)) continue;
    if (n->op == SQ_OP_UPDATE && sq_host_has(cg, n->in[0])) // in place
      sq_host_settle(cg, n->in[0], sq_cg_pointer(cg, n->in[0]));
    if (sq_kernel_is(n)) emit_mark(cg, n);
    emitters[n->op](cg, n);
  }
}
