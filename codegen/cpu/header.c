// The typed C header of a model. In: its descriptor. Out: text, valid in C and C++:
//
//   // forward(ids: i32[B, N], mask: i32[B, N]) -> emb: f32[B, 384]
//   static inline int minilm_forward(seqm_model *m, const int32_t *ids, int64_t B, int64_t N,
//                                    const int32_t *mask, float *emb) { ... seqm_call ... }
//
// A size stands after the first input whose shape mentions it; integer scalars that bind sizes and
// other scalars go by value. An output whose shape the caller cannot know (a growing state's
// extent) is a `seqm_tensor *`.
#include "codegen/cpu/driver.h"
#include <ctype.h>

// ---- names -------------------------------------------------------------------------------------
static const char *const keywords[] = {
    "alignas",        "alignof",       "and",         "and_eq",    "asm",        "auto",
    "bitand",         "bitor",         "bool",        "break",     "case",       "catch",
    "char",           "class",         "co_await",    "co_return", "co_yield",   "compl",
    "concept",        "const",         "const_cast",  "consteval", "constexpr",  "constinit",
    "continue",       "decltype",      "default",     "delete",    "do",         "double",
    "dynamic_cast",   "else",          "enum",        "explicit",  "export",     "extern",
    "false",          "float",         "for",         "friend",    "goto",       "if",
    "inline",         "int",           "long",        "mutable",   "namespace",  "new",
    "noexcept",       "not",           "not_eq",      "nullptr",   "operator",   "or",
    "or_eq",          "private",       "protected",   "public",    "register",   "reinterpret_cast",
    "requires",       "restrict",      "return",      "short",     "signed",     "sizeof",
    "static",         "static_assert", "static_cast", "struct",    "switch",     "template",
    "this",           "thread_local",  "throw",       "true",      "try",        "typedef",
    "typeid",         "typename",      "typeof",      "union",     "unsigned",   "using",
    "virtual",        "void",          "volatile",    "wchar_t",   "while",      "xor",
    "xor_eq",         "char8_t",       "char16_t",    "char32_t",  "_Alignas",   "_Alignof",
    "_Atomic",        "_Bool",         "_Complex",    "_Generic",  "_Imaginary", "_Noreturn",
    "_Static_assert", "_Thread_local", "NULL",        "linux",     "unix"};

static bool is_one_of(const char *s, const char *const *v, size_t n) {
  while (n && strcmp(s, v[n - 1]) != 0) n--;
  return n != 0;
}

const char *sq_c_name(sq_arena *a, const char *name) {
  size_t n = strlen(name);
  bool digit = n == 0 || isdigit((unsigned char)name[0]);
  char *s = sq_arena_fmt(a, "%s%s", digit ? "_" : "", name);
  for (char *p = s; *p; p++)
    if (!isalnum((unsigned char)*p) && *p != '_') *p = '_';
  return is_one_of(s, keywords, sizeof keywords / sizeof *keywords) ? sq_arena_fmt(a, "%s_", s) : s;
}

const char *sq_c_model(sq_arena *a, const char *name) {
  const char *s = sq_c_name(a, name);
  bool ours = strcmp(s, "seqm") == 0 || strncmp(s, "seqm_", 5) == 0; // the prefix of seqm.h
  return ours ? sq_arena_fmt(a, "%s_", s) : s;
}

const char *sq_c_descriptor(sq_arena *a, const char *name) {
  static const char *const taken[] = {"check", "entry",          "free",   "linked", "loading",
                                      "open",  "random_weights", "unused", "weights"};
  const char *s = sq_c_name(a, name);
  bool ours = is_one_of(s, taken, sizeof taken / sizeof *taken); // functions of seqm.h
  return sq_arena_fmt(a, "seqm_model_%s%s", s, ours ? "_" : "");
}

static const struct {
  const char *c, *macro;
} c_types[SQ_DTYPE_COUNT] = {
    [SQ_F64] = {"double", "SEQM_F64"},    [SQ_F32] = {"float", "SEQM_F32"},
    [SQ_F16] = {"uint16_t", "SEQM_F16"},  [SQ_BF16] = {"uint16_t", "SEQM_BF16"},
    [SQ_I64] = {"int64_t", "SEQM_I64"},   [SQ_I32] = {"int32_t", "SEQM_I32"},
    [SQ_I8] = {"int8_t", "SEQM_I8"},      [SQ_U8] = {"uint8_t", "SEQM_U8"},
    [SQ_BOOL] = {"uint8_t", "SEQM_BOOL"},
};

// ---- one entry ---------------------------------------------------------------------------------
typedef struct writer {
  sq_text *out;
  sq_arena *a;
  const sq_abi_model *m;
  const sq_abi_entry *e;
  const char **symbol;       // by number: its parameter's name, NULL: not known to the caller
  SQ_VEC(const char *) used; // names of this function
} writer;

// A name that the function's text does not use for something else: a type, a function of seqm.h.
static const char *fresh(writer *w, const char *name) {
  static const char *const types[] = {"int8_t",  "uint8_t", "uint16_t",
                                      "int32_t", "int64_t", "size_t"};
  const char *s = sq_c_name(w->a, name);
  if (is_one_of(s, types, sizeof types / sizeof *types) || !strncmp(s, "seqm_", 5))
    s = sq_arena_fmt(w->a, "%s_", s);
  for (uint32_t k = 0; k < w->used.n; k++)
    if (strcmp(w->used.v[k], s) == 0) {
      s = sq_arena_fmt(w->a, "%s_", s);
      k = UINT32_MAX; // from the start again
    }
  sq_push(w->a, &w->used, s);
  return s;
}

// An expression in C, or as in the language when `plain`; NULL when it has a symbol without a name.
static const char *expression(writer *w, const sq_abi_expr *x, bool plain) {
  static const char *const call[] = {[SQ_X_FLOORDIV] = "seqm_floordiv",
                                     [SQ_X_MOD] = "seqm_mod",
                                     [SQ_X_MIN] = "seqm_min",
                                     [SQ_X_MAX] = "seqm_max"};
  const char **stack = SQ_ARRAY(w->a, const char *, x->n + 2);
  uint32_t n = 0;
  for (uint32_t k = 0; k < x->n; k++) {
    int64_t op = x->code[k];
    if (op == SQ_X_CONST) {
      stack[n++] = sq_arena_fmt(w->a, "%lld", (long long)x->code[++k]);
    } else if (op == SQ_X_SYM) {
      int64_t s = x->code[++k];
      const char *name = plain ? w->m->sym_names[s - 1] : w->symbol[s];
      if (!name) return NULL;
      stack[n++] = name;
    } else {
      const char *r = stack[--n], *l = stack[--n];
      if (op == SQ_X_ADD)
        stack[n++] = sq_arena_fmt(w->a, "(%s + %s)", l, r);
      else if (op == SQ_X_MUL)
        stack[n++] = sq_arena_fmt(w->a, "%s * %s", l, r);
      else
        stack[n++] = sq_arena_fmt(w->a, "%s(%s, %s)", call[op] + (plain ? 5 : 0), l, r);
    }
  }
  return n == 1 ? stack[0] : NULL;
}

// "ids: i32[B, N]"
static void signature(writer *w, const sq_abi_tensor *t) {
  sq_text_add(w->out, "%s: %s", t->name, sq_dtype_table[t->dtype].name);
  for (uint32_t k = 0; k < t->rank; k++)
    sq_text_add(w->out, "%s%s", k ? ", " : "[", expression(w, &t->dim[k], true));
  if (t->rank) sq_text_add(w->out, "]");
}

// Parameters for symbols of the expression that have none yet.
static void symbols_of(writer *w, const sq_abi_expr *x, sq_text *params) {
  for (uint32_t k = 0; k < x->n; k++) {
    int64_t op = x->code[k];
    if (op != SQ_X_CONST && op != SQ_X_SYM) continue;
    int64_t s = x->code[++k];
    if (op == SQ_X_CONST || w->symbol[s]) continue;
    w->symbol[s] = fresh(w, w->m->sym_names[s - 1]);
    sq_text_add(params, ", int64_t %s", w->symbol[s]);
  }
}

static void set_tensor(writer *w, const char *array, uint32_t k, const sq_abi_tensor *t,
                       sq_text *body) {
  sq_text_add(body, "  %s[%u].dtype = %s;\n  %s[%u].rank = %u;\n", array, k,
              c_types[t->dtype].macro, array, k, t->rank);
  for (uint32_t j = 0; j < t->rank; j++)
    sq_text_add(body, "  %s[%u].dim[%u] = %s;\n", array, k, j, expression(w, &t->dim[j], false));
  sq_text_add(body, "  %s[%u].owned = 0;\n  %s[%u].device = SEQM_HOST;\n", array, k, array, k);
}

static void write_input(writer *w, uint32_t k, sq_text *params, sq_text *body) {
  const sq_abi_tensor *t = &w->e->in[k];
  const char *name = fresh(w, t->name), *type = c_types[t->dtype].c;
  if (t->rank == 0) {
    sq_text_add(params, ", %s %s", type, name);
    if (t->binds) w->symbol[t->binds] = name;
  } else {
    sq_text_add(params, ", const %s *%s", type, name);
  }
  for (uint32_t j = 0; j < t->rank; j++) symbols_of(w, &t->dim[j], params);
  set_tensor(w, "in", k, t, body);
  sq_text_add(body, "  in[%u].data = (void *)%s%s;\n", k, t->rank == 0 ? "&" : "", name);
}

static void write_output(writer *w, uint32_t k, sq_text *params, sq_text *body, sq_text *after) {
  const sq_abi_tensor *t = &w->e->out[k];
  const char *name = fresh(w, t->name);
  bool known = true;
  for (uint32_t j = 0; j < t->rank; j++) known = known && expression(w, &t->dim[j], false);
  if (known) {
    sq_text_add(params, ", %s *%s", c_types[t->dtype].c, name);
    set_tensor(w, "out", k, t, body);
    sq_text_add(body, "  out[%u].data = %s;\n", k, name);
  } else {
    sq_text_add(params, ", seqm_tensor *%s", name);
    sq_text_add(body, "  out[%u] = *%s;\n", k, name);
    sq_text_add(after, "  *%s = out[%u];\n", name, k);
  }
}

// "static inline int m_f(seqm_model *m, ...) {", broken before a parameter where it gets too long.
static void write_prototype(writer *w, const char *model, const char *name, const char *params) {
  enum { WIDTH = 100 };
  char *text =
      sq_arena_fmt(w->a, "static inline int %s_%s(seqm_model *m%s) {", model, name, params);
  size_t indent = (size_t)(strchr(text, '(') - text) + 1;
  if (indent > WIDTH / 2) indent = 4;
  for (size_t margin = 0; strlen(text) + margin > WIDTH; margin = indent) {
    char *cut = NULL;
    for (char *p = strstr(text, ", "); p && (size_t)(p - text) + 1 + margin <= WIDTH;
         p = strstr(p + 1, ", "))
      cut = p;
    if (!cut) break;
    sq_text_put(w->out, text, (size_t)(cut - text) + 1);
    sq_text_add(w->out, "\n%*s", (int)indent, "");
    text = cut + 2;
  }
  sq_text_add(w->out, "%s\n", text);
}

static void write_entry(writer *w, const char *model) {
  const sq_abi_entry *e = w->e;
  sq_text params = {.arena = w->a}, body = {.arena = w->a}, after = {.arena = w->a};
  w->symbol = SQ_ARRAY(w->a, const char *, w->m->n_sym + 1);
  w->used.n = 0;
  static const char *const taken[] = {"m", "in", "out", "entry", "status"};
  for (size_t k = 0; k < sizeof taken / sizeof *taken; k++) sq_push(w->a, &w->used, taken[k]);
  sq_text_add(w->out, "\n// %s(", e->name);
  for (uint32_t k = 0; k < e->n_in; k++) {
    if (k) sq_text_add(w->out, ", ");
    signature(w, &e->in[k]);
  }
  sq_text_add(w->out, ")%s", e->n_out ? " -> " : "");
  for (uint32_t k = 0; k < e->n_out; k++) {
    if (k) sq_text_add(w->out, ", ");
    signature(w, &e->out[k]);
  }
  sq_text_add(w->out, "\n%s", e->writes ? "// Changes the model's state.\n" : "");
  for (uint32_t k = 0; k < e->n_in; k++) write_input(w, k, &params, &body);
  for (uint32_t k = 0; k < e->n_out; k++) write_output(w, k, &params, &body, &after);
  const char *name = strcmp(e->name, "open") == 0 ? "open_" : sq_c_name(w->a, e->name);
  write_prototype(w, model, name, params.v ? params.v : "");
  sq_text_add(w->out, "  seqm_tensor in[%u], out[%u];\n", e->n_in ? e->n_in : 1,
              e->n_out ? e->n_out : 1);
  sq_text_add(w->out, "  const seqm_entry *entry = seqm_model_entry(m, \"%s\");\n", e->name);
  sq_text_add(w->out, "  int status;\n  if (!entry) return 2;\n");
  if (e->n_in == 0) sq_text_add(w->out, "  in[0].data = 0;\n");
  if (e->n_out == 0) sq_text_add(w->out, "  out[0].data = 0;\n");
  if (body.n) sq_text_put(w->out, body.v, body.n);
  sq_text_add(w->out, "  status = seqm_call(m, entry, in, %u, out, %u);\n", e->n_in, e->n_out);
  if (after.n) sq_text_put(w->out, after.v, after.n);
  sq_text_add(w->out, "  return status;\n}\n");
}

// ---- the file ----------------------------------------------------------------------------------
static const char sizes[] =
    "\n#ifndef SEQM_SIZES\n#define SEQM_SIZES\n"
    "static inline int64_t seqm_floordiv(int64_t a, int64_t b) {\n"
    "  return b == 0 ? 0 : a / b - (a % b != 0 && (a < 0) != (b < 0));\n}\n"
    "static inline int64_t seqm_mod(int64_t a, int64_t b) { return a - seqm_floordiv(a, b) * b; }\n"
    "static inline int64_t seqm_min(int64_t a, int64_t b) { return a < b ? a : b; }\n"
    "static inline int64_t seqm_max(int64_t a, int64_t b) { return a > b ? a : b; }\n#endif\n";

void sq_codegen_header(const sq_abi_model *m, const char *guard, sq_text *out) {
  sq_arena *a = out->arena;
  const char *name = sq_c_model(a, m->name), *macro = sq_c_name(a, guard);
  const char *descriptor = sq_c_descriptor(a, m->name);
  writer w = {.out = out, .a = a, .m = m};
  sq_text_add(out,
              "// The model `%s` as C functions; made by seqm. Data are dense, row-major; sizes "
              "are int64_t.\n// Every function returns 0 or a status of seqm.h, and "
              "seqm_message says what went wrong.\n",
              m->name);
  sq_text_add(out, "#ifndef %s\n#define %s\n#include \"seqm.h\"\n", macro, macro);
  sq_text_add(out, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
  sq_text_put(out, sizes, sizeof sizes - 1);
  sq_text_add(out, "\nextern const struct sq_abi_model %s;\n", descriptor);
  sq_text_add(out, "// The model that is linked into this program; closed by seqm_model_free.\n");
  sq_text_add(out, "static inline int %s_open(seqm_context *ctx, seqm_model **m) {\n", name);
  sq_text_add(out, "  return seqm_model_linked(ctx, &%s, m);\n}\n", descriptor);
  for (uint32_t k = 0; k < m->n_entry; k++) {
    w.e = &m->entry[k];
    write_entry(&w, name);
  }
  sq_text_add(out, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}
