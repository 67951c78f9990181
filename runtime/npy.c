// .npy files: versions 1.0 to 3.0, little-endian, C order, dtypes <f8 <f4 <f2 <u2 (bf16's bits) <i8
// <i4 |i1 |u1 |b1. Read strictly: the header is exactly numpy's dictionary of three keys, and the
// file ends with the data. Written as version 1.0, to a temporary name first.
//
//   \x93NUMPY 1 0 | u16 length | {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n |
//   data
#include "runtime/npy.h"
#include "runtime/file.h"
#include <stdio.h>
#include <string.h>

static const char magic[6] = "\x93NUMPY";

static const struct {
  const char *descr;
  seqm_dtype dtype;
} types[] = {
    {"<f8", SEQM_F64}, {"<f4", SEQM_F32}, {"<f2", SEQM_F16}, {"<u2", SEQM_BF16}, {"<i8", SEQM_I64},
    {"<i4", SEQM_I32}, {"|i1", SEQM_I8},  {"|u1", SEQM_U8},  {"|b1", SEQM_BOOL},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

// --- the header's dictionary --------------------------------------------------------------------
typedef struct reader {
  const char *p, *end;
  const char *fault;
} reader;

static bool bad(reader *r, const char *fault) {
  if (!r->fault) r->fault = fault;
  return false;
}

static void space(reader *r) {
  while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r')) r->p++;
}

static bool take(reader *r, char c) {
  space(r);
  if (r->p == r->end || *r->p != c) return false;
  r->p++;
  return true;
}

static bool word(reader *r, const char *w) {
  space(r);
  size_t n = strlen(w);
  if ((size_t)(r->end - r->p) < n || memcmp(r->p, w, n)) return false;
  r->p += n;
  return true;
}

// A quoted text without escapes.
static bool text(reader *r, char *out, size_t cap) {
  space(r);
  if (r->p == r->end || (*r->p != '\'' && *r->p != '"')) return bad(r, "a quoted text is wanted");
  char quote = *r->p++;
  size_t n = 0;
  while (r->p < r->end && *r->p != quote) {
    if (*r->p == '\\' || (unsigned char)*r->p < 0x20 || n + 1 == cap)
      return bad(r, "a quoted text is malformed");
    out[n++] = *r->p++;
  }
  out[n] = 0;
  if (r->p == r->end) return bad(r, "a quoted text does not end");
  r->p++;
  return true;
}

static bool integer(reader *r, int64_t *v) {
  space(r);
  const char *from = r->p;
  *v = 0;
  for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++)
    if (__builtin_mul_overflow(*v, (int64_t)10, v) ||
        __builtin_add_overflow(*v, (int64_t)(*r->p - '0'), v))
      return bad(r, "an extent exceeds 63 bits");
  if (r->p == from) return bad(r, "an extent is wanted");
  if (*from == '0' && r->p - from > 1) return bad(r, "an extent with a leading zero");
  return true;
}

static bool read_shape(reader *r, seqm_tensor *t) {
  if (!take(r, '(')) return bad(r, "the shape must be a tuple");
  bool comma = true;
  while (!take(r, ')')) {
    if (!comma) return bad(r, "`,` or `)` is wanted in the shape");
    if (t->rank == SEQM_MAX_RANK) return bad(r, "more than 12 axes");
    if (!integer(r, &t->dim[t->rank++])) return false;
    comma = take(r, ',');
  }
  if (t->rank == 1 && !comma) return bad(r, "the shape must be a tuple");
  return true;
}

static bool read_descr(reader *r, seqm_tensor *t) {
  char descr[16];
  if (r->p < r->end && take(r, '[')) return bad(r, "structured arrays are not taken");
  if (!text(r, descr, sizeof descr)) return false;
  for (int k = 0; k < N_TYPES; k++)
    if (!strcmp(types[k].descr, descr)) {
      t->dtype = types[k].dtype;
      return true;
    }
  if (descr[0] == '>') return bad(r, "the data are big-endian; save them as little-endian");
  if (descr[1] == 'O') return bad(r, "the array holds Python objects");
  return bad(r, "a dtype other than f2 f4 f8 i1 i4 i8 u1 b1 (or u2, the bits of bf16)");
}

static bool read_order(reader *r) {
  if (word(r, "False")) return true;
  return bad(r, word(r, "True") ? "the data are in Fortran order; save them in C order"
                                : "fortran_order must be False");
}

static bool read_dictionary(reader *r, seqm_tensor *t) {
  enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
  int seen = 0;
  char key[16];
  bool comma = true;
  if (!take(r, '{')) return bad(r, "the header is not a dictionary");
  while (!take(r, '}')) {
    if (!comma) return bad(r, "`,` or `}` is wanted");
    if (!text(r, key, sizeof key)) return false;
    if (!take(r, ':')) return bad(r, "`:` is wanted");
    int which = !strcmp(key, "descr")           ? DESCR
                : !strcmp(key, "fortran_order") ? ORDER
                : !strcmp(key, "shape")         ? SHAPE
                                                : 0;
    if (!which || (seen & which)) return bad(r, "an unknown or repeated key");
    seen |= which;
    if (which == DESCR ? !read_descr(r, t) : which == ORDER ? !read_order(r) : !read_shape(r, t))
      return false;
    comma = take(r, ',');
  }
  space(r);
  if (r->p != r->end) return bad(r, "something follows the dictionary");
  return seen == (DESCR | ORDER | SHAPE) || bad(r, "descr, fortran_order or shape is missing");
}

// --- reading ------------------------------------------------------------------------------------
static int read_header(seqm_context *ctx, const char *path, const unsigned char *data, size_t size,
                       seqm_tensor *t, size_t *at) {
  if (size < 10 || memcmp(data, magic, sizeof magic))
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: not a .npy file", path);
  int version = data[6];
  if (version < 1 || version > 3 || data[7])
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: .npy version %d.%d, but 1.0 to 3.0 are known", path,
                      version, data[7]);
  size_t n = (size_t)data[8] | (size_t)data[9] << 8, start = 10;
  if (version > 1) {
    if (size < 12) return sq_rt_fail(ctx, SQ_EMODEL, "%s: cut short in its header", path);
    n |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    start = 12;
  }
  if (n > size - start) return sq_rt_fail(ctx, SQ_EMODEL, "%s: cut short in its header", path);
  reader r = {.p = (const char *)data + start, .end = (const char *)data + start + n};
  *t = (seqm_tensor){0};
  if (!read_dictionary(&r, t))
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: .npy header: %s", path, r.fault);
  *at = start + n;
  return SQ_OK;
}

int sq_npy_parse(seqm_context *ctx, const char *path, const void *bytes, size_t size,
                 seqm_tensor *t) {
  const unsigned char *data = bytes;
  size_t at = 0, want = 0;
  seqm_tensor h;
  SQ_TRY((sq_status)read_header(ctx, path, data, size, &h, &at));
  if (!sq_shape_bytes(h.dtype, h.rank, h.dim, &want))
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: the shape is too large", path);
  if (want != size - at) {
    sq_rt_fail(ctx, SQ_EMODEL, "%s: %zu bytes of data, but ", path, size - at);
    sq_message_shape(ctx, (int)h.dtype, h.rank, h.dim);
    sq_message_add(ctx, " has %zu", want);
    return SQ_EMODEL;
  }
  for (size_t k = 0; h.dtype == SEQM_BOOL && k < want; k++)
    if (data[at + k] > 1)
      return sq_rt_fail(ctx, SQ_EMODEL, "%s: element %zu is neither false nor true", path, k);
  h.data = sq_mem_get_aligned(ctx, want);
  if (!h.data) return sq_rt_no_memory(ctx);
  h.owned = 1;
  if (want) memcpy(h.data, data + at, want);
  *t = h;
  return SQ_OK;
}

int seqm_npy_read(seqm_context *ctx, const char *path, seqm_tensor *t) {
  sq_map map;
  sq_message_clear(ctx);
  *t = (seqm_tensor){0};
  SQ_TRY((sq_status)sq_rt_given(ctx, path, "the path of the tensor"));
  SQ_TRY((sq_status)sq_map_open(ctx, path, &map));
  int status = sq_npy_parse(ctx, path, map.data, map.size, t);
  sq_map_close(&map);
  return status;
}

// --- writing ------------------------------------------------------------------------------------
static size_t header_text(const seqm_tensor *t, char *out, size_t cap) {
  const char *descr = "";
  for (int k = 0; k < N_TYPES; k++)
    if (types[k].dtype == t->dtype) descr = types[k].descr;
  size_t n =
      (size_t)snprintf(out, cap, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
  for (uint32_t k = 0; k < t->rank; k++)
    n += (size_t)snprintf(out + n, cap - n, "%s%lld", k ? ", " : "", (long long)t->dim[k]);
  n += (size_t)snprintf(out + n, cap - n, "%s), }", t->rank == 1 ? "," : "");
  while ((10 + n + 1) % 64) out[n++] = ' ';
  out[n++] = '\n';
  return n;
}

int seqm_npy_write(seqm_context *ctx, const char *path, const seqm_tensor *t) {
  size_t bytes = 0;
  sq_message_clear(ctx);
  SQ_TRY((sq_status)sq_rt_given(ctx, path, "the path of the tensor"));
  SQ_TRY((sq_status)sq_rt_given(ctx, t, "the tensor"));
  if (!seqm_dtype_size(t->dtype) || t->rank > SEQM_MAX_RANK ||
      !sq_shape_bytes(t->dtype, t->rank, t->dim, &bytes) || (bytes && !t->data))
    return sq_rt_fail(ctx, SQ_EUSAGE, "%s: not a tensor that can be written", path);
  if (t->device != SEQM_HOST)
    return sq_rt_fail(ctx, SQ_EUSAGE, "%s: the tensor is on a device: seqm_tensor_copy brings it",
                      path);
  char head[10 + 512];
  size_t n = header_text(t, head + 10, sizeof head - 10);
  memcpy(head, magic, sizeof magic);
  head[6] = 1;
  head[7] = 0;
  head[8] = (char)(n & 255);
  head[9] = (char)(n >> 8);
  sq_output o;
  SQ_TRY((sq_status)sq_output_open(ctx, path, &o));
  int status = sq_output_write(&o, head, 10 + n);
  if (!status) status = sq_output_write(&o, t->data, bytes);
  if (!status) return sq_output_done(&o);
  sq_output_drop(&o);
  return status;
}
