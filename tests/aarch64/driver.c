// Calls entries of a compiled model and prints every element of their outputs, one a line, for the
// comparison of targets. Linked with a model's object (-DMODEL=seqm_model_NAME), or, without MODEL,
// it opens a shared object given first.
//
//   driver [OBJECT.so] --weights FILE | --random SEED  ENTRY [NAME=DIMS:VALUES]... [-- ENTRY
//   ...]... driver --random 1 forward x=2,3:1,2,3,4,5,6 -- step id=:7
#include "seqm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IN = 8, MOST_OUT = 8 };
typedef struct elements {
  float f[4096];
  int32_t i[4096];
} elements;

#ifdef MODEL
extern const struct sq_abi_model MODEL;
#endif

static int find_input(const seqm_entry *e, const char *name, size_t n) {
  for (size_t k = 0; k < seqm_entry_inputs(e) && k < MOST_IN; k++)
    if (strlen(seqm_input_name(e, k)) == n && !strncmp(seqm_input_name(e, k), name, n))
      return (int)k;
  return -1;
}

// name=2,3:1,2,3,4,5,6
static int parse(const seqm_entry *e, const char *text, seqm_tensor *in, elements *room) {
  const char *equals = strchr(text, '=');
  int k = equals ? find_input(e, text, (size_t)(equals - text)) : -1;
  if (k < 0) return 2;
  seqm_tensor *t = &in[k];
  t->dtype = seqm_input_dtype(e, (size_t)k);
  char *p = (char *)equals + 1;
  while (*p && *p != ':' && t->rank < SEQM_MAX_RANK) {
    t->dim[t->rank++] = strtoll(p, &p, 10);
    if (*p == ',') p++;
  }
  if (*p++ != ':' || (t->dtype != SEQM_F32 && t->dtype != SEQM_I32)) return 2;
  for (int n = 0; *p && n < 4096; n++) {
    room[k].f[n] = strtof(p, &p);
    room[k].i[n] = (int32_t)room[k].f[n];
    if (*p == ',') p++;
  }
  t->data = t->dtype == SEQM_F32 ? (void *)room[k].f : (void *)room[k].i;
  return 0;
}

static int print(int call, const seqm_entry *e, size_t k, const seqm_tensor *t) {
  int64_t n = 1;
  for (uint32_t d = 0; d < t->rank; d++) n *= t->dim[d];
  for (int64_t i = 0; i < n; i++) {
    printf("%d:%s:%s:%lld ", call, seqm_entry_name(e), seqm_output_name(e, k), (long long)i);
    if (t->dtype == SEQM_F32)
      printf("%.9g\n", (double)((const float *)t->data)[i]);
    else if (t->dtype == SEQM_I32)
      printf("%d\n", ((const int32_t *)t->data)[i]);
    else
      return 2;
  }
  return 0;
}

// One call; moves *argv behind it.
static int call(seqm_context *ctx, seqm_model *m, int number, char ***argv, elements *room) {
  seqm_tensor in[MOST_IN] = {{0}}, out[MOST_OUT] = {{0}};
  const seqm_entry *e = seqm_model_entry(m, *(*argv)++);
  if (!e || seqm_entry_inputs(e) > MOST_IN || seqm_entry_outputs(e) > MOST_OUT) return 2;
  int s = 0;
  for (; !s && **argv && strcmp(**argv, "--"); ++*argv) s = parse(e, **argv, in, room);
  if (**argv) ++*argv;
  if (!s) s = seqm_call(m, e, in, seqm_entry_inputs(e), out, seqm_entry_outputs(e));
  for (size_t k = 0; k < seqm_entry_outputs(e); k++) {
    if (!s) s = print(number, e, k, &out[k]);
    seqm_tensor_free(ctx, &out[k]);
  }
  return s;
}

static int session(seqm_context *ctx, seqm_model *m, char **argv) {
  int s = 2;
  if (!strcmp(argv[0], "--weights"))
    s = seqm_model_weights(m, argv[1]);
  else if (!strcmp(argv[0], "--random"))
    s = seqm_model_random_weights(m, strtoull(argv[1], NULL, 10));
  argv += 2;
  elements *room = calloc(MOST_IN, sizeof *room);
  for (int k = 0; room && !s && *argv; k++) s = call(ctx, m, k, &argv, room);
  free(room);
  return s;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  seqm_context *ctx = seqm_context_new(&(seqm_options){.threads = 2});
  seqm_model *m = NULL;
  if (!ctx) return 3;
#ifdef MODEL
  int s = seqm_model_linked(ctx, &MODEL, &m);
  argv += 1;
#else
  int s = seqm_model_open(ctx, argv[1], &m);
  argv += 2;
#endif
  if (!s) {
    s = session(ctx, m, argv);
    if (s) fprintf(stderr, "driver: %s\n", seqm_message(ctx));
    seqm_model_free(m);
  } else {
    fprintf(stderr, "driver: %s\n", seqm_message(ctx));
  }
  seqm_context_free(ctx);
  return s;
}
