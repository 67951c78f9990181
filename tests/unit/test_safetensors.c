// The safetensors reader: what it takes, what it refuses and in which words; weight files, shards,
// conversion between float types, random weights.
#include "runtime/convert.h"
#include "tests/unit/toy_model.h"
#include <criterion/criterion.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static seqm_context *ctx;
static char dir[64];
static void start(void) {
  ctx = seqm_context_new(&(seqm_options){.allocate = toy_allocate, .threads = 3});
  snprintf(dir, sizeof dir, "seqm-weights-%d", (int)getpid());
  mkdir(dir, 0700);
}
static void stop(void) {
  char command[100];
  seqm_context_free(ctx);
  snprintf(command, sizeof command, "rm -r %s", dir);
  cr_assert_eq(system(command), 0);
}
TestSuite(safetensors, .init = start, .fini = stop);

static const char *in_dir(const char *name) {
  static char path[2][160];
  static int turn;
  char *p = path[turn ^= 1];
  snprintf(p, sizeof path[0], "%s/%s", dir, name);
  return p;
}

// --- the header ---------------------------------------------------------------------------------
static int parse(const char *header, size_t data, sq_safetensors *f) {
  static char file[8192], zero[256];
  return sq_safetensors_parse(ctx, "x.st", file, toy_safetensors(file, header, zero, data), f);
}

Test(safetensors, what_is_taken) {
  sq_safetensors f;
  cr_assert_eq(parse("{}", 0, &f), 0, "%s", seqm_message(ctx));
  cr_assert_eq(f.n, 0);
  sq_safetensors_close(ctx, &f);
  cr_assert_eq(parse(" {}", 0, &f), 1, "must begin with {");
  cr_assert_eq(
      parse(
          "{\"b\\u0041\\ud83d\\ude00\\n\":{\"shape\" : [ 2 , 0 ],\"data_offsets\":[0,0],\"dtype\":"
          "\"F8_E4M3\"},\n\"__metadata__\":{\"format\":\"pt\",\"k\":\"v\"},\"a\":{\"dtype\":"
          "\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}      ",
          8, &f),
      0, "%s", seqm_message(ctx));
  cr_assert_eq(f.n, 2);
  cr_assert_str_eq(f.tensor[0].name, "a");
  cr_assert_eq(f.tensor[0].dtype, SEQM_I64);
  cr_assert_eq(f.tensor[0].rank, 0);
  cr_assert_str_eq(f.tensor[1].name, "bA\xf0\x9f\x98\x80\n");
  cr_assert_eq(f.tensor[1].dtype, -1);
  cr_assert_eq(f.tensor[1].dim[0], 2);
  cr_assert_eq(sq_st_find(f.tensor, f.n, "a"), &f.tensor[0]);
  cr_assert_null(sq_st_find(f.tensor, f.n, "c"));
  sq_safetensors_close(ctx, &f);
}

#define T(name, shape, from, to)                                                                   \
  "\"" name "\":{\"dtype\":\"F32\",\"shape\":[" shape "],\"data_offsets\":[" #from "," #to "]}"

Test(safetensors, what_is_refused) {
  static const struct {
    const char *header;
    size_t data;
    const char *why;
  } bad[] = {
      {"", 0, "an object `{` is wanted"},
      {"[]", 0, "an object `{` is wanted"},
      {"{", 0, "a string is wanted"},
      {"{}x", 0, "something follows"},
      {"{}\n", 0, "something follows"},
      {"{\"a\":1}", 0, "an object `{` is wanted"},
      {"{" T("a", "1", 0, 4) "," T("a", "1", 4, 8) "}", 8, "`a` stands twice"},
      {"{" T("a", "1", 0, 4) "," T("b", "1", 2, 6) "}", 6, "overlap"},
      {"{" T("a", "1", 0, 4) "," T("b", "1", 6, 10) "}", 10, "nothing has the bytes before them"},
      {"{" T("a", "1", 4, 8) "}", 8, "nothing has the bytes before them"},
      {"{" T("a", "2", 0, 8) "}", 4, "cut short"},
      {"{" T("a", "1", 0, 4) "}", 5, "1 bytes follow"},
      {"{" T("a", "2", 0, 4) "}", 4, "as many bytes as the shape says"},
      {"{" T("a", "1", 4, 0) "}", 4, "end before they begin"},
      {"{" T("a", "-1", 0, 4) "}", 4, "not negative"},
      {"{" T("a", "1.0", 0, 4) "}", 4, "a whole number"},
      {"{" T("a", "1e0", 0, 4) "}", 4, "a whole number"},
      {"{" T("a", "01", 0, 4) "}", 4, "leading zero"},
      {"{" T("a", "9223372036854775808", 0, 4) "}", 4, "63 bits"},
      {"{" T("a", "4611686018427387904,4", 0, 0) "}", 0, "more bytes than 64 bits"},
      {"{" T("a", "1,1,1,1,1,1,1,1,1,1,1,1,1", 0, 4) "}", 4, "more than 12 axes"},
      {"{" T("", "1", 0, 4) "}", 4, "an empty name"},
      {"{" T("a\\u0000", "1", 0, 4) "}", 4, "U+0000"},
      {"{" T("a\\ud800", "1", 0, 4) "}", 4, "surrogate"},
      {"{" T("a\\x", "1", 0, 4) "}", 4, "unknown escape"},
      {"{" T("a\x01", "1", 0, 4) "}", 4, "control character"},
      {"{" T("a\xff", "1", 0, 4) "}", 4, "not UTF-8"},
      {"{" T("a\xc0\x80", "1", 0, 4) "}", 4, "not UTF-8"},
      {"{\"a\":{\"dtype\":\"F31\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "unknown dtype"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0]}}", 4, "two data_offsets"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,1,2]}}", 4, "more than two"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 4, "without dtype, shape or data_offsets"},
      {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4, "stands twice"},
      {"{\"a\":{\"kind\":\"F32\"}}", 4, "unknown key"},
      {"{\"__metadata__\":{\"a\":1}}", 0, "a string is wanted"},
      {"{\"__metadata__\":{\"a\":\"\",\"b\":\"\",\"a\":\"\"}}", 0, "a key stands twice"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ stands twice"},
      {"{" T("a", "1", 0, 4) ",}", 4, "a string is wanted"},
      {"{" T("a", "1,", 0, 4) "}", 4, "a whole number"},
      {"{" T("a", "1", 0, 4) " " T("b", "1", 4, 8) "}", 8, "`,` or `}`"},
  };
  for (size_t k = 0; k < TOY_COUNT(bad); k++) {
    sq_safetensors f;
    cr_assert_eq(parse(bad[k].header, bad[k].data, &f), 1, "%s", bad[k].header);
    cr_assert(strstr(seqm_message(ctx), bad[k].why), "%s\ngives: %s", bad[k].header,
              seqm_message(ctx));
    cr_assert_eq(strncmp(seqm_message(ctx), "x.st: ", 6), 0);
    cr_assert_null(f.names);
  }
  sq_safetensors f;
  cr_assert_eq(sq_safetensors_parse(ctx, "x", "1234567", 7, &f), 1);
  cr_assert_eq(sq_safetensors_parse(ctx, "x", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, &f), 1);
  cr_assert_eq(sq_safetensors_parse(ctx, "x", "\3\0\0\0\0\0\0\0{}", 10, &f), 1);
}

// Every prefix of a good file is refused, and no byte changed makes the reader misbehave.
Test(safetensors, cut_and_flipped) {
  char file[512], copy[512], zero[12] = {0};
  size_t n = toy_safetensors(
      file, "{" T("a", "1", 0, 4) "," T("b", "2", 4, 12) ",\"__metadata__\":{\"f\":\"pt\"}}", zero,
      12);
  sq_safetensors f;
  for (size_t k = 0; k < n; k++) cr_assert_eq(sq_safetensors_parse(ctx, "x", file, k, &f), 1);
  for (size_t k = 0; k < n; k++)
    for (int bit = 0; bit < 8; bit++) {
      memcpy(copy, file, n);
      copy[k] ^= (char)(1 << bit);
      int status = sq_safetensors_parse(ctx, "x", copy, n, &f);
      cr_assert(status == 0 || status == 1);
      if (!status) sq_safetensors_close(ctx, &f);
    }
}

// --- weights ------------------------------------------------------------------------------------
static sq_weights *weights(void) {
  sq_weights *w;
  cr_assert_eq(sq_weights_new(ctx, &w), 0);
  return w;
}

static sq_weight get(sq_weights *w, const char *name, uint32_t dtype, int64_t n, bool own) {
  sq_weight got;
  const char *names[] = {"absent", name};
  sq_weight_ask ask = {names, 2, dtype, 1, &n, own};
  cr_assert_eq(sq_weights_get(w, &ask, &got), 0, "%s", seqm_message(ctx));
  return got;
}

static uint32_t bits_of(float f) {
  uint32_t b;
  memcpy(&b, &f, 4);
  return b;
}

Test(safetensors, types_convert) {
  char file[2048];
  // f16: 1, -2, smallest subnormal, inf, nan; bf16 likewise; f32 values that need rounding to bf16.
  static const uint16_t half[5] = {0x3c00, 0xc000, 1, 0x7c00, 0x7e01};
  static const uint16_t brain[5] = {0x3f80, 0xc000, 1, 0x7f80, 0x7fc1};
  char data[128] = {0};
  const float f32[5] = {1.00390625f, 1.01171875f, 3.4e38f, -0.0f, 1e-45f};
  const double f64[2] = {0.1, 65519.999};
  int64_t i64[1] = {-5};
  memcpy(data, half, 10);
  memcpy(data + 10, brain, 10);
  memcpy(data + 20, f32, 20);
  memcpy(data + 40, f64, 16);
  memcpy(data + 56, i64, 8);
  size_t n = toy_safetensors(file,
                             "{\"h\":{\"dtype\":\"F16\",\"shape\":[5],\"data_offsets\":[0,10]},"
                             "\"b\":{\"dtype\":\"BF16\",\"shape\":[5],\"data_offsets\":[10,20]},"
                             "\"f\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[20,40]},"
                             "\"d\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[40,56]},"
                             "\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[56,64]},"
                             "\"t\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[64,66]}}",
                             data, 66);
  file[n - 1] = 8; // true, by numpy's lights
  toy_write_file(in_dir("a.safetensors"), file, n);
  sq_weights *w = weights();
  cr_assert_eq(sq_weights_add(w, in_dir("a.safetensors")), 0, "%s", seqm_message(ctx));

  sq_weight g = get(w, "h", SEQM_F32, 5, false);
  const float *v = g.data;
  cr_assert(v[0] == 1 && v[1] == -2 && v[2] == 0x1p-24f && isinf(v[3]) && isnan(v[4]));
  sq_weights_drop(w, &g);
  g = get(w, "b", SEQM_F64, 5, false);
  const double *d = g.data;
  cr_assert(d[0] == 1 && d[1] == -2 && d[2] == 0x1p-133 && isinf(d[3]) && isnan(d[4]));
  sq_weights_drop(w, &g);
  g = get(w, "f", SEQM_BF16, 5, false);
  const uint16_t *b = g.data; // ties to even: 1.00390625 -> 1, 1.01171875 -> 1.015625
  cr_assert(b[0] == 0x3f80 && b[1] == 0x3f82 && b[2] == 0x7f80 && b[3] == 0x8000 && b[4] == 0);
  sq_weights_drop(w, &g);
  g = get(w, "d", SEQM_F16, 2, false);
  b = g.data;
  cr_assert_eq(b[0], 0x2e66);
  cr_assert_eq(b[1], 0x7bff, "65519.999 is nearer to 65504 than to 65536: %x", b[1]);
  sq_weights_drop(w, &g);
  g = get(w, "d", SEQM_F64, 2, false);
  cr_assert_eq(((const double *)g.data)[0], 0.1);
  sq_weights_drop(w, &g);
  g = get(w, "t", SEQM_BOOL, 2, false);
  cr_assert_eq(((const uint8_t *)g.data)[1], 1);
  sq_weights_drop(w, &g);
  cr_assert_eq(get(w, "i", SEQM_I32, 1, false).fault, SQ_WEIGHT_DTYPE);
  cr_assert_eq(get(w, "i", SEQM_F32, 1, false).fault, SQ_WEIGHT_DTYPE);
  cr_assert_eq(get(w, "f", SEQM_I32, 5, false).fault, SQ_WEIGHT_DTYPE);
  cr_assert_eq(get(w, "f", SEQM_F32, 4, false).fault, SQ_WEIGHT_SHAPE);
  cr_assert_eq(get(w, "x", SEQM_F32, 4, false).fault, SQ_WEIGHT_MISSING);
  sq_weights_free(w);
}

// Every f16 and bf16 value survives the way to f32 and back.
Test(safetensors, all_halves_round_trip) {
  static uint16_t from[65536], back[65536];
  static float wide[65536];
  for (int k = 0; k < 65536; k++) from[k] = (uint16_t)k;
  static const uint32_t types[2][2] = {{SEQM_F16, 0x7c00}, {SEQM_BF16, 0x7f80}};
  for (int t = 0; t < 2; t++) {
    sq_convert(ctx, types[t][0], from, SEQM_F32, wide, 65536);
    sq_convert(ctx, SEQM_F32, wide, types[t][0], back, 65536);
    for (int k = 0; k < 65536; k++) {
      bool nan = (uint32_t)(k & 0x7fff) > types[t][1];
      cr_assert(nan ? isnan(wide[k]) && (back[k] & 0x7fffu) > types[t][1] : back[k] == k,
                "type %d: %x comes back as %x", t, k, back[k]);
    }
  }
}

Test(safetensors, mapped_or_copied) {
  toy_weights(in_dir("t.safetensors"));
  sq_weights *w = weights();
  cr_assert_eq(sq_weights_add(w, in_dir("t.safetensors")), 0);
  sq_weight g = get(w, "layer.0.w", SEQM_F32, 3, false);
  bool aligned = (uintptr_t)g.found->data % 4 == 0;
  cr_assert_eq(g.owned == NULL, aligned);
  if (aligned) cr_assert_eq(g.data, g.found->data);
  sq_weights_drop(w, &g);
  g = get(w, "layer.0.w", SEQM_F32, 3, true);
  cr_assert_not_null(g.owned);
  cr_assert_eq(((float *)g.owned)[2], 0.25f);
  sq_weights_drop(w, &g);
  cr_assert_eq(sq_weights_add(w, in_dir("absent.safetensors")), 3);
  cr_assert_eq(sq_weights_add(w, dir), 3);
  sq_weights_free(w);
}

// --- shards -------------------------------------------------------------------------------------
static void write_shard(const char *name, const char *header, float value) {
  char file[512];
  toy_write_file(in_dir(name), file, toy_safetensors(file, header, &value, 4));
}

static int add_index(sq_weights *w, const char *text) {
  toy_write_file(in_dir("m.safetensors.index.json"), text, strlen(text));
  return sq_weights_add(w, in_dir("m.safetensors.index.json"));
}

Test(safetensors, shards) {
  write_shard("one.safetensors", "{" T("a", "1", 0, 4) "}", 1);
  write_shard("two.safetensors", "{" T("b", "1", 0, 4) "}", 2);
  sq_weights *w = weights();
  cr_assert_eq(add_index(w,
                         "{\"metadata\":{\"total_size\":8,\"x\":[1.5e3,null,{\"y\":[]}]},"
                         "\"weight_map\":{\"b\":\"two.safetensors\",\"a\":\"./one.safetensors\"}}"),
               0, "%s", seqm_message(ctx));
  sq_weight g = get(w, "b", SEQM_F32, 1, false);
  cr_assert_eq(*(const float *)g.data, 2);
  sq_weights_drop(w, &g);
  g = get(w, "a", SEQM_F32, 1, false);
  cr_assert_eq(*(const float *)g.data, 1);
  sq_weights_drop(w, &g);
  static const struct {
    const char *text, *why;
    int status;
  } bad[] = {
      {"", "an object `{` is wanted", 1},
      {"{}", "no weight_map", 1},
      {"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "outside the folder", 1},
      {"{\"weight_map\":{\"a\":\"x/../../one.safetensors\"}}", "outside the folder", 1},
      {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "outside the folder", 1},
      {"{\"weight_map\":{\"a\":\"\"}}", "outside the folder", 1},
      {"{\"weight_map\":{\"a\":\"two.safetensors\"}}", "which does not have it", 1},
      {"{\"weight_map\":{\"a\":\"three.safetensors\"}}", "cannot be opened", 3},
      {"{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}", "stands twice", 1},
      {"{\"weight_map\":{},\"weight_map\":{}}", "stands twice", 1},
      {"{\"weight_map\":{},\"other\":1}", "unknown key", 1},
      {"{\"weight_map\":{}} x", "something follows", 1},
      {"{\"metadata\":[1,],\"weight_map\":{}}", "a value is wanted", 1},
      {"{\"metadata\":-,\"weight_map\":{}}", "a digit is wanted", 1},
      {"{\"metadata\":00,\"weight_map\":{}}", "leading zero", 1},
      {"{\"metadata\":{\"a\" 1},\"weight_map\":{}}", "`:` is wanted", 1},
      {"{\"metadata\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
       "nested too deeply", 1},
  };
  for (size_t k = 0; k < TOY_COUNT(bad); k++) {
    cr_assert_eq(add_index(w, bad[k].text), bad[k].status, "%s: %s", bad[k].text,
                 seqm_message(ctx));
    cr_assert(strstr(seqm_message(ctx), bad[k].why), "%s\ngives: %s", bad[k].text,
              seqm_message(ctx));
  }
  sq_weights_free(w);
}

// --- random weights -----------------------------------------------------------------------------
Test(safetensors, random_weights) {
  enum { ROWS = 300, COLUMNS = 400, N = ROWS * COLUMNS };
  static float v[N], again[N];
  int64_t dim[] = {ROWS, COLUMNS};
  sq_random_weight(ctx, 42, "w", SEQM_F32, 2, dim, v);
  seqm_context *alone = seqm_context_new(&(seqm_options){.threads = 1});
  sq_random_weight(alone, 42, "w", SEQM_F32, 2, dim, again);
  seqm_context_free(alone);
  cr_assert_arr_eq(v, again, sizeof v);
  double sum = 0, square = 0, fourth = 0;
  for (int k = 0; k < N; k++) {
    double z = (double)v[k] * sqrt(COLUMNS);
    sum += z;
    square += z * z;
    fourth += z * z * z * z;
  }
  cr_assert(fabs(sum / N) < 0.02, "mean %g", sum / N);
  cr_assert(fabs(square / N - 1) < 0.02, "variance %g", square / N);
  cr_assert(fabs(fourth / N - 3) < 0.2, "kurtosis %g", fourth / N);
  // The values themselves are a promise: the same on every machine.
  static const uint32_t want[4] = {0x3d94caa2, 0x3b7423ef, 0xbcf7bc91, 0x3da8bc8d};
  for (int k = 0; k < 4; k++)
    cr_assert_eq(bits_of(v[k]), want[k], "element %d is %a = %08x", k, (double)v[k], bits_of(v[k]));
  uint32_t hash = 2166136261u;
  for (int k = 0; k < N; k++) hash = (hash ^ bits_of(v[k])) * 16777619u;
  cr_assert_eq(hash, 0x098814d5, "%08x", hash);
  sq_random_weight(ctx, 42, "u", SEQM_F32, 2, dim, again);
  cr_assert_neq(again[0], v[0]);
  int64_t one[] = {1000};
  sq_random_weight(ctx, 42, "b", SEQM_F32, 1, one, again);
  for (sum = 0, square = 0; square < 1000; square++) sum += (double)again[(int)square];
  cr_assert(fabs(sum / 1000 - 1) < 0.005);
  int32_t ints[4] = {1, 1, 1, 1};
  int64_t four[] = {4};
  sq_random_weight(ctx, 42, "i", SEQM_I32, 1, four, ints);
  cr_assert_eq(ints[3], 0);
}
