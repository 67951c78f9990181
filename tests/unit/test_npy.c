// .npy files: round trips of every dtype, headers as numpy writes them in versions 1 to 3, and what
// is refused.
#include "runtime/npy.h"
#include "tests/unit/toy_model.h"
#include <criterion/criterion.h>
#include <sys/stat.h>
#include <unistd.h>

static seqm_context *ctx;
static char path[80];
static void start(void) {
  ctx = seqm_context_new(&(seqm_options){.allocate = toy_allocate, .threads = 1});
  snprintf(path, sizeof path, "seqm-npy-%d.npy", (int)getpid());
}
static void stop(void) {
  seqm_context_free(ctx);
  unlink(path);
}
TestSuite(npy, .init = start, .fini = stop);

Test(npy, round_trips) {
  static const int64_t shapes[][4] = {{0}, {1, 5}, {2, 2, 3}, {3, 2, 0, 4}, {3, 1, 2, 3}};
  char data[256];
  for (int k = 0; k < 256; k++) data[k] = (char)(k & 1);
  for (int t = SEQM_F64; t <= SEQM_BOOL; t++)
    for (size_t s = 0; s < TOY_COUNT(shapes); s++) {
      seqm_tensor a = {.dtype = (seqm_dtype)t, .rank = (uint32_t)shapes[s][0], .data = data}, b;
      size_t n = seqm_dtype_size(a.dtype);
      for (uint32_t k = 0; k < a.rank; k++) n *= (size_t)(a.dim[k] = shapes[s][1 + k]);
      cr_assert_eq(seqm_npy_write(ctx, path, &a), 0, "%s", seqm_message(ctx));
      cr_assert_eq(seqm_npy_read(ctx, path, &b), 0, "%s", seqm_message(ctx));
      cr_assert_eq(b.dtype, a.dtype);
      cr_assert_eq(b.rank, a.rank);
      cr_assert_arr_eq(b.dim, a.dim, sizeof a.dim);
      cr_assert_eq(b.owned, 1);
      cr_assert_eq((uintptr_t)b.data % 64, 0);
      if (n) cr_assert_arr_eq(b.data, data, n);
      seqm_tensor_free(ctx, &b);
      struct stat st;
      stat(path, &st);
      cr_assert_eq(((size_t)st.st_size - n) % 64, 0, "the data are aligned in the file");
    }
}

static size_t make(char *out, int version, const char *header, size_t data) {
  size_t n = strlen(header), at = version == 1 ? 10 : 12;
  memcpy(out, "\x93NUMPY", 6);
  out[6] = (char)version;
  out[7] = 0;
  for (size_t k = 8; k < at; k++) out[k] = (char)(n >> (8 * (k - 8)));
  memcpy(out + at, header, n);
  memset(out + at + n, 0, data);
  return at + n + data;
}

Test(npy, versions) {
  char file[512];
  for (int version = 1; version <= 3; version++) {
    seqm_tensor t;
    size_t n =
        make(file, version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", 24);
    cr_assert_eq(sq_npy_parse(ctx, "x.npy", file, n, &t), 0, "%s", seqm_message(ctx));
    cr_assert_eq(t.dim[1], 3);
    seqm_tensor_free(ctx, &t);
    n = make(file, version, "{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"|u1\"}", 2);
    cr_assert_eq(sq_npy_parse(ctx, "x.npy", file, n, &t), 0, "%s", seqm_message(ctx));
    cr_assert_eq(t.rank, 1);
    seqm_tensor_free(ctx, &t);
  }
}

#define HEADER(d, f, s) "{'descr': " d ", 'fortran_order': " f ", 'shape': " s ", }"
Test(npy, what_is_refused) {
  static const struct {
    const char *header;
    size_t data;
    const char *why;
  } bad[] = {
      {HEADER("'<f4'", "False", "(2,)"), 7, "7 bytes of data, but f32[2] has 8"},
      {HEADER("'<f4'", "False", "(2,)"), 9, "9 bytes of data"},
      {HEADER("'>f4'", "False", "(2,)"), 8, "big-endian"},
      {HEADER("'<f4'", "True", "(2,)"), 8, "Fortran order"},
      {HEADER("'<f4'", "Maybe", "(2,)"), 8, "fortran_order must be False"},
      {HEADER("'<c8'", "False", "(2,)"), 16, "a dtype other than"},
      {HEADER("'|O'", "False", "(2,)"), 16, "Python objects"},
      {HEADER("[('a', '<f4')]", "False", "(2,)"), 8, "structured"},
      {HEADER("'<f4'", "False", "(2)"), 8, "tuple"},
      {HEADER("'<f4'", "False", "2"), 8, "tuple"},
      {HEADER("'<f4'", "False", "(-2,)"), 8, "an extent is wanted"},
      {HEADER("'<f4'", "False", "(2 3)"), 8, "`,` or `)`"},
      {HEADER("'<f4'", "False", "(,)"), 8, "an extent is wanted"},
      {HEADER("'<f4'", "False", "(9223372036854775808,)"), 8, "63 bits"},
      {HEADER("'<f4'", "False", "(4611686018427387904, 4)"), 8, "too large"},
      {HEADER("'<f4'", "False", "(1,1,1,1,1,1,1,1,1,1,1,1,1)"), 4, "more than 12 axes"},
      {HEADER("'<f4\\n'", "False", "(2,)"), 8, "malformed"},
      {HEADER("'|b1'", "False", "(2,)") "x", 2, "something follows"},
      {"{'descr': '<f4', 'shape': (2,)}", 8, "is missing"},
      {"{'descr': '<f4', 'descr': '<f4'}", 8, "unknown or repeated key"},
      {"{'descr': '<f4' 'shape': (2,)}", 8, "`,` or `}`"},
      {"{'descr' '<f4'}", 8, "`:` is wanted"},
      {"", 8, "not a dictionary"},
      {"{", 0, "a quoted text is wanted"},
      {"{'", 0, "does not end"},
  };
  char file[512];
  for (size_t k = 0; k < TOY_COUNT(bad); k++) {
    seqm_tensor t;
    size_t n = make(file, 1, bad[k].header, bad[k].data);
    cr_assert_eq(sq_npy_parse(ctx, "x.npy", file, n, &t), 1, "%s", bad[k].header);
    cr_assert(strstr(seqm_message(ctx), bad[k].why), "%s\ngives: %s", bad[k].header,
              seqm_message(ctx));
  }
  seqm_tensor t;
  size_t n = make(file, 1, HEADER("'|b1'", "False", "(2,)"), 2);
  file[n - 1] = 2;
  cr_assert_eq(sq_npy_parse(ctx, "x.npy", file, n, &t), 1);
  cr_assert(strstr(seqm_message(ctx), "neither false nor true"));
  file[n - 1] = 1;
  for (size_t k = 0; k < n; k++) cr_assert_eq(sq_npy_parse(ctx, "x.npy", file, k, &t), 1);
  for (size_t k = 0; k < n; k++)
    for (int bit = 0; bit < 8; bit++) {
      file[k] ^= (char)(1 << bit);
      int status = sq_npy_parse(ctx, "x.npy", file, n, &t);
      cr_assert(status == 0 || status == 1);
      if (!status) seqm_tensor_free(ctx, &t);
      file[k] ^= (char)(1 << bit);
    }
  n = make(file, 4, HEADER("'|b1'", "False", "(2,)"), 2);
  cr_assert_eq(sq_npy_parse(ctx, "x.npy", file, n, &t), 1);
  cr_assert_str_eq(seqm_message(ctx), "x.npy: .npy version 4.0, but 1.0 to 3.0 are known");
}

Test(npy, files) {
  float x[2] = {1, 2};
  seqm_tensor a = {.dtype = SEQM_F32, .rank = 1, .dim = {2}, .data = x}, b;
  cr_assert_eq(seqm_npy_read(ctx, "/nonexistent.npy", &b), 3);
  cr_assert_eq(seqm_npy_read(ctx, ".", &b), 3);
  cr_assert_eq(seqm_npy_write(ctx, "/nonexistent/x.npy", &a), 3);
  cr_assert_eq(seqm_npy_write(ctx, ".", &a), 3);
  cr_assert_eq(seqm_npy_write(ctx, "/dev/null", &a), 0, "%s", seqm_message(ctx));
  struct stat st;
  cr_assert_eq(stat("/dev/null", &st), 0);
  cr_assert(S_ISCHR(st.st_mode), "a device is written to, not replaced");
  cr_assert_eq(seqm_npy_write(ctx, "/dev/full", &a), 3);
  // Written through a symbolic link, over what was there; no other file is left.
  char other[100];
  snprintf(other, sizeof other, "%s.link", path);
  toy_write_file(path, "old", 3);
  cr_assert_eq(symlink(path, other), 0);
  cr_assert_eq(seqm_npy_write(ctx, other, &a), 0);
  cr_assert_eq(lstat(other, &st), 0);
  cr_assert(S_ISLNK(st.st_mode));
  unlink(other);
  cr_assert_eq(seqm_npy_read(ctx, path, &b), 0);
  seqm_tensor_free(ctx, &b);
  a.data = NULL;
  cr_assert_eq(seqm_npy_write(ctx, path, &a), 2);
}
