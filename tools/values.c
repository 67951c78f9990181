// Tensors at the command line: literals and .npy files in, printing out.
#include "tools/values.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

int64_t sq_value_count(const seqm_tensor *t) {
  int64_t n = 1;
  for (uint32_t k = 0; k < t->rank; k++) n *= t->dim[k];
  return n;
}

bool sq_value_new(sq_ctx *ctx, sq_dtype dtype, uint32_t rank, const int64_t *dim, seqm_tensor *t) {
  *t = (seqm_tensor){.dtype = (seqm_dtype)dtype, .rank = rank};
  int64_t n = sq_dtype_table[dtype].bytes;
  for (uint32_t k = 0; k < rank; k++) {
    t->dim[k] = dim[k];
    if (dim[k] < 0 || __builtin_mul_overflow(n, dim[k], &n) || n > INT64_MAX / 4) return false;
  }
  char *p = sq_arena_take(&ctx->arena, (size_t)n + 64);
  t->data = p + (64 - ((uintptr_t)p & 63)) % 64;
  return true;
}

static uint32_t bits_of(float f) {
  uint32_t w;
  memcpy(&w, &f, 4);
  return w;
}

static float float_of(uint32_t w) {
  float f;
  memcpy(&f, &w, 4);
  return f;
}

static float half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff;
  if (e == 31) return float_of(sign | 0x7f800000u | m << 13);
  if (e) return float_of(sign | (e + 112) << 23 | m << 13);
  float tiny = (float)m * 0x1p-24f;
  return sign ? -tiny : tiny;
}

// Nearest, ties to even.
static uint16_t float_to_half(float f) {
  uint32_t w = bits_of(f);
  uint16_t sign = (uint16_t)(w >> 16 & 0x8000);
  float a = fabsf(f);
  if (isnan(f)) return (uint16_t)(sign | 0x7e00);
  if (a >= 65520.0f) return (uint16_t)(sign | 0x7c00);
  if (a < 0x1p-14f) return (uint16_t)(sign | (uint16_t)lrintf(a * 0x1p24f));
  w &= 0x7fffffff;
  w += 0xfff + (w >> 13 & 1);
  return (uint16_t)(sign | ((w >> 13) - (112u << 10)));
}

static float bfloat_to_float(uint16_t h) { return float_of((uint32_t)h << 16); }

static uint16_t float_to_bfloat(float f) {
  uint32_t w = bits_of(f);
  if (isnan(f)) return (uint16_t)(w >> 16 | 0x40);
  return (uint16_t)((w + 0x7fff + (w >> 16 & 1)) >> 16);
}

double sq_value_float(const seqm_tensor *t, int64_t k) {
  switch (t->dtype) {
  case SEQM_F64:
    return ((const double *)t->data)[k];
  case SEQM_F32:
    return (double)((const float *)t->data)[k];
  case SEQM_F16:
    return (double)half_to_float(((const uint16_t *)t->data)[k]);
  case SEQM_BF16:
    return (double)bfloat_to_float(((const uint16_t *)t->data)[k]);
  case SEQM_I64:
  case SEQM_I32:
  case SEQM_I8:
  case SEQM_U8:
  case SEQM_BOOL:
    return (double)sq_value_int(t, k);
  }
  return 0;
}

int64_t sq_value_int(const seqm_tensor *t, int64_t k) {
  switch (t->dtype) {
  case SEQM_I64:
    return ((const int64_t *)t->data)[k];
  case SEQM_I32:
    return ((const int32_t *)t->data)[k];
  case SEQM_I8:
    return ((const int8_t *)t->data)[k];
  case SEQM_U8:
  case SEQM_BOOL:
    return ((const uint8_t *)t->data)[k];
  case SEQM_F64:
  case SEQM_F32:
  case SEQM_F16:
  case SEQM_BF16:
    break;
  }
  return 0;
}

void sq_value_set(seqm_tensor *t, int64_t k, double f, int64_t i) {
  switch (t->dtype) {
  case SEQM_F64:
    ((double *)t->data)[k] = f;
    break;
  case SEQM_F32:
    ((float *)t->data)[k] = (float)f;
    break;
  case SEQM_F16:
    ((uint16_t *)t->data)[k] = float_to_half((float)f);
    break;
  case SEQM_BF16:
    ((uint16_t *)t->data)[k] = float_to_bfloat((float)f);
    break;
  case SEQM_I64:
    ((int64_t *)t->data)[k] = i;
    break;
  case SEQM_I32:
    ((int32_t *)t->data)[k] = (int32_t)i;
    break;
  case SEQM_I8:
    ((int8_t *)t->data)[k] = (int8_t)i;
    break;
  case SEQM_U8:
    ((uint8_t *)t->data)[k] = (uint8_t)i;
    break;
  case SEQM_BOOL:
    ((uint8_t *)t->data)[k] = i != 0;
    break;
  }
}

static bool fits(sq_dtype t, int64_t v) {
  switch ((int)t) {
  case SQ_I32:
    return v == (int32_t)v;
  case SQ_I8:
    return v == (int8_t)v;
  case SQ_U8:
    return v == (uint8_t)v;
  case SQ_BOOL:
    return v == 0 || v == 1;
  default:
    return true;
  }
}

// Another dtype with the same values; ints become floats, floats never ints.
static sq_status convert(sq_ctx *ctx, const sq_slot_info *slot, seqm_tensor *t,
                         const char **message) {
  if ((sq_dtype)t->dtype == slot->dtype) return SQ_OK;
  const char *have = sq_dtype_table[t->dtype].name, *want = sq_dtype_table[slot->dtype].name;
  bool from = sq_is_float((sq_dtype)t->dtype), to = sq_is_float(slot->dtype);
  if (from && !to) {
    *message = sq_arena_fmt(&ctx->arena, "input `%s` is %s, but the file holds %s", slot->name,
                            want, have);
    return SQ_EMODEL;
  }
  seqm_tensor r;
  if (!sq_value_new(ctx, slot->dtype, t->rank, t->dim, &r)) return SQ_EMODEL;
  int64_t n = sq_value_count(t);
  for (int64_t k = 0; k < n; k++) {
    int64_t i = from ? 0 : sq_value_int(t, k);
    if (!to && !fits(slot->dtype, i)) {
      *message = sq_arena_fmt(&ctx->arena, "input `%s`: %lld does not fit into %s", slot->name,
                              (long long)i, want);
      return SQ_EMODEL;
    }
    sq_value_set(&r, k, sq_value_float(t, k), i);
  }
  *t = r;
  return SQ_OK;
}

static sq_status literal(sq_ctx *ctx, const char *text, const sq_slot_info *slot, seqm_tensor *t,
                         const char **message) {
  SQ_VEC(double) f = {0};
  SQ_VEC(int64_t) i = {0};
  bool list = strchr(text, ',') || *text == '[';
  const char *s = text + (*text == '[');
  for (;;) {
    char *end;
    while (isspace((unsigned char)*s)) s++;
    if ((*s == ']' || !*s) && list) break; // an empty list or a trailing comma
    double x = strtod(s, &end);
    long long v = 0;
    char *int_end = NULL;
    errno = 0;
    if (!strncmp(s, "true", 4) || !strncmp(s, "false", 5)) {
      v = *s == 't';
      x = (double)v;
      end = int_end = (char *)(uintptr_t)(s + (v ? 4 : 5));
    } else if (!sq_is_float(slot->dtype)) {
      v = strtoll(s, &int_end, 10);
      if (int_end != end || errno) { // 16.0 is taken where an integer is wanted
        if (errno || x != floor(x) || fabs(x) > 9e15) int_end = NULL;
        v = int_end ? (long long)x : 0;
        int_end = int_end ? end : NULL;
      }
    }
    if (end != s && !sq_is_float(slot->dtype) && int_end != end) {
      *message = sq_arena_fmt(&ctx->arena, "input `%s`: %.*s is not an integer; it is %s",
                              slot->name, (int)(end - s), s, sq_dtype_table[slot->dtype].name);
      return SQ_EMODEL;
    }
    if (end == s) {
      *message = sq_arena_fmt(&ctx->arena,
                              "input `%s`: `%s` is neither a .npy file nor %s number or flat list",
                              slot->name, text, sq_is_float(slot->dtype) ? "a" : "an integer");
      return SQ_EUSAGE;
    }
    if (!sq_is_float(slot->dtype) && !fits(slot->dtype, v)) {
      *message = sq_arena_fmt(&ctx->arena, "input `%s`: %lld does not fit into %s", slot->name, v,
                              sq_dtype_table[slot->dtype].name);
      return SQ_EMODEL;
    }
    sq_push(&ctx->arena, &f, x);
    sq_push(&ctx->arena, &i, (int64_t)v);
    s = end;
    while (isspace((unsigned char)*s)) s++;
    if (*s == ',') {
      list = true;
      s++;
      continue;
    }
    if (*s == ']' || !*s) break;
    *message = sq_arena_fmt(&ctx->arena, "input `%s`: `%s` is not a number or a flat list",
                            slot->name, text);
    return SQ_EUSAGE;
  }
  if (slot->rank == 0 && (list || f.n != 1)) {
    *message = sq_arena_fmt(&ctx->arena, "input `%s` is a scalar, not a list", slot->name);
    return SQ_EMODEL;
  }
  int64_t dim[SQ_MAX_RANK];
  for (uint32_t k = 0; k < slot->rank; k++) dim[k] = k + 1 == slot->rank ? f.n : 1;
  if (!sq_value_new(ctx, slot->dtype, slot->rank, dim, t)) return SQ_EMODEL;
  for (uint32_t k = 0; k < f.n; k++) sq_value_set(t, k, f.v[k], i.v[k]);
  return SQ_OK;
}

sq_status sq_value_parse(sq_ctx *ctx, seqm_context *rt, const char *value, const sq_slot_info *slot,
                         seqm_tensor *t, const char **message) {
  size_t n = strlen(value);
  if (n < 4 || strcmp(value + n - 4, ".npy")) return literal(ctx, value, slot, t, message);
  seqm_tensor file = {0};
  int s = seqm_npy_read(rt, value, &file);
  if (s) {
    *message = sq_arena_fmt(&ctx->arena, "input `%s`: %s", slot->name, seqm_message(rt));
    return (sq_status)s;
  }
  bool ok = sq_value_new(ctx, (sq_dtype)file.dtype, file.rank, file.dim, t);
  if (ok) memcpy(t->data, file.data, (size_t)sq_value_count(&file) * seqm_dtype_size(file.dtype));
  seqm_tensor_free(rt, &file);
  if (!ok) return SQ_EWORLD;
  return convert(ctx, slot, t, message);
}

static void print_element(FILE *out, const seqm_tensor *t, int64_t k) {
  if (!sq_is_float((sq_dtype)t->dtype))
    fprintf(out, "%lld", (long long)sq_value_int(t, k));
  else
    fprintf(out, t->dtype == SEQM_F64 ? "%.17g" : "%.7g", sq_value_float(t, k));
}

// The elements from `at` on below axis `axis`, nested in brackets.
static int64_t print_nested(FILE *out, const seqm_tensor *t, uint32_t axis, int64_t at) {
  if (axis == t->rank) {
    print_element(out, t, at);
    return at + 1;
  }
  fputc('[', out);
  for (int64_t k = 0; k < t->dim[axis]; k++) {
    if (k) fputs(axis + 1 == t->rank ? ", " : ",\n ", out);
    at = print_nested(out, t, axis + 1, at);
  }
  fputc(']', out);
  return at;
}

void sq_value_print(FILE *out, const char *name, const seqm_tensor *t) {
  int64_t n = sq_value_count(t);
  fprintf(out, "%s: %s[", name, sq_dtype_table[t->dtype].name);
  for (uint32_t k = 0; k < t->rank; k++) fprintf(out, k ? ", %lld" : "%lld", (long long)t->dim[k]);
  fputs("]", out);
  if (n <= 64) {
    fputs(" = ", out);
    print_nested(out, t, 0, 0);
    fputc('\n', out);
    return;
  }
  double sum = 0;
  for (int64_t k = 0; k < n; k++) sum += sq_value_float(t, k);
  fputs(" = ", out);
  for (int64_t k = 0; k < 4; k++) {
    print_element(out, t, k);
    fputs(", ", out);
  }
  fputs("..., ", out);
  for (int64_t k = n - 4; k < n; k++) {
    print_element(out, t, k);
    if (k + 1 < n) fputs(", ", out);
  }
  fprintf(out, " (mean %.7g)\n", sum / (double)n);
}

void sq_value_to64(sq_arena *a, const seqm_tensor *t, sq_tensor64 *out) {
  *out = (sq_tensor64){.dtype = (sq_dtype)t->dtype, .rank = t->rank};
  memcpy(out->dim, t->dim, sizeof(int64_t) * t->rank);
  int64_t n = sq_value_count(t);
  if (sq_is_float(out->dtype)) {
    out->f = SQ_ARRAY(a, double, n + 1);
    for (int64_t k = 0; k < n; k++) out->f[k] = sq_value_float(t, k);
  } else {
    out->i = SQ_ARRAY(a, int64_t, n + 1);
    for (int64_t k = 0; k < n; k++) out->i[k] = sq_value_int(t, k);
  }
}

bool sq_value_from64(sq_ctx *ctx, const sq_tensor64 *t, seqm_tensor *out) {
  if (!sq_value_new(ctx, t->dtype, t->rank, t->dim, out)) return false;
  int64_t n = sq_value_count(out);
  for (int64_t k = 0; k < n; k++) sq_value_set(out, k, t->f ? t->f[k] : 0, t->f ? 0 : t->i[k]);
  return true;
}
