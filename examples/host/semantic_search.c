// Searches text files by meaning: compiles examples/minilm.seqm just in time, embeds every
// paragraph of the files and the question, and prints the nearest paragraphs with their cosine
// similarity.
//
//   semantic_search --weights model.safetensors --vocab vocab.txt "how do I load weights?" FILE...
#include "seqm_compiler.h"
#include "wordpiece.h"
#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TOKENS = 256, BATCH = 16, WIDTH = 384 };

typedef struct paragraph {
  char *text;
  const char *file;
  int line;
  int32_t *ids;
  size_t n;
  float emb[WIDTH];
  float score;
} paragraph;

typedef struct library {
  paragraph *v;
  size_t n, cap;
} library;

static int die(int status, const char *what, const char *why) {
  fprintf(stderr, "semantic_search: %s: %s\n", what, why);
  return status;
}

// Paragraphs are runs of lines without a blank one; code fences and very short ones are left out.
static bool add_paragraph(library *lib, const char *file, int line, const char *s, size_t n) {
  while (n && isspace((unsigned char)s[n - 1])) n--;
  if (n < 40) return true;
  if (lib->n == lib->cap) {
    size_t cap = lib->cap ? lib->cap * 2 : 64;
    paragraph *v = realloc(lib->v, cap * sizeof *v);
    if (!v) return false;
    lib->v = v;
    lib->cap = cap;
  }
  char *text = malloc(n + 1);
  if (!text) return false;
  memcpy(text, s, n);
  text[n] = 0;
  lib->v[lib->n++] = (paragraph){.text = text, .file = file, .line = line};
  return true;
}

static bool add_file(library *lib, const char *file) {
  FILE *f = fopen(file, "rb");
  if (!f) return false;
  char *line = NULL, *block = NULL;
  size_t cap = 0, n = 0, block_cap = 0;
  int number = 0, begin = 1;
  bool ok = true, fence = false;
  for (ssize_t got; ok && (got = getline(&line, &cap, f)) >= 0;) {
    number++;
    bool mark = !strncmp(line, "```", 3), blank = strspn(line, " \t\r\n") == (size_t)got;
    if (mark) fence = !fence;
    if (blank || mark || fence) {
      ok = add_paragraph(lib, file, begin, block ? block : "", n);
      n = 0;
      continue;
    }
    if (!n) begin = number;
    if (n + (size_t)got + 1 > block_cap) {
      block_cap = (n + (size_t)got + 1) * 2;
      char *b = realloc(block, block_cap);
      ok = b != NULL;
      if (!ok) break;
      block = b;
    }
    memcpy(block + n, line, (size_t)got);
    n += (size_t)got;
  }
  ok = ok && add_paragraph(lib, file, begin, block ? block : "", n);
  free(line);
  free(block);
  fclose(f);
  return ok;
}

// Embeds `n` token lists as one padded batch.
static int embed(seqm_model *m, const seqm_entry *e, paragraph *const *p, size_t n) {
  size_t longest = 1;
  for (size_t k = 0; k < n; k++) longest = p[k]->n > longest ? p[k]->n : longest;
  static int32_t ids[BATCH * MAX_TOKENS], mask[BATCH * MAX_TOKENS];
  static float emb[BATCH * WIDTH];
  memset(ids, 0, n * longest * sizeof *ids);
  memset(mask, 0, n * longest * sizeof *mask);
  for (size_t k = 0; k < n; k++)
    for (size_t t = 0; t < p[k]->n; t++) {
      ids[k * longest + t] = p[k]->ids[t];
      mask[k * longest + t] = 1;
    }
  seqm_tensor in[2] = {
      {.dtype = SEQM_I32, .rank = 2, .dim = {(int64_t)n, (int64_t)longest}, .data = ids},
      {.dtype = SEQM_I32, .rank = 2, .dim = {(int64_t)n, (int64_t)longest}, .data = mask}};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 2, .dim = {(int64_t)n, WIDTH}, .data = emb};
  int s = seqm_call(m, e, in, 2, &out, 1);
  for (size_t k = 0; !s && k < n; k++) memcpy(p[k]->emb, emb + k * WIDTH, sizeof p[k]->emb);
  return s;
}

static int by_length(const void *a, const void *b) {
  const paragraph *x = *(paragraph *const *)a, *y = *(paragraph *const *)b;
  return x->n < y->n ? -1 : x->n > y->n;
}

static int by_score(const void *a, const void *b) {
  const paragraph *x = a, *y = b;
  return x->score > y->score ? -1 : x->score < y->score;
}

static bool tokenize(const wordpiece *w, paragraph *p) {
  int32_t ids[MAX_TOKENS];
  p->n = wordpiece_encode(w, p->text, ids, MAX_TOKENS);
  p->ids = malloc(p->n * sizeof *ids);
  if (p->ids) memcpy(p->ids, ids, p->n * sizeof *ids);
  return p->ids != NULL;
}

// Batches of similar length waste little padding.
static int embed_all(seqm_model *m, const seqm_entry *e, library *lib) {
  paragraph **order = malloc(lib->n * sizeof *order);
  if (!order) return 3;
  for (size_t k = 0; k < lib->n; k++) order[k] = &lib->v[k];
  qsort(order, lib->n, sizeof *order, by_length);
  int s = 0;
  for (size_t k = 0; !s && k < lib->n; k += BATCH) {
    s = embed(m, e, order + k, lib->n - k < BATCH ? lib->n - k : BATCH);
    if (isatty(2)) fprintf(stderr, "\rembedding %zu of %zu paragraphs", k, lib->n);
  }
  if (isatty(2)) fprintf(stderr, "\r%60s\r", "");
  free(order);
  return s;
}

static void print_best(library *lib, const paragraph *q, size_t top) {
  for (size_t k = 0; k < lib->n; k++) {
    double dot = 0;
    for (int c = 0; c < WIDTH; c++) dot += (double)q->emb[c] * (double)lib->v[k].emb[c];
    lib->v[k].score = (float)dot;
  }
  qsort(lib->v, lib->n, sizeof *lib->v, by_score);
  for (size_t k = 0; k < top && k < lib->n; k++) {
    printf("%.4f  %s:%d\n", (double)lib->v[k].score, lib->v[k].file, lib->v[k].line);
    size_t column = 8;
    printf("        ");
    for (const char *s = lib->v[k].text; *s && column < 8 + 400; s++, column++)
      putchar(*s == '\n' || *s == '\r' ? ' ' : *s);
    printf("\n");
  }
}

static void library_free(library *lib) {
  for (size_t k = 0; k < lib->n; k++) {
    free(lib->v[k].text);
    free(lib->v[k].ids);
  }
  free(lib->v);
}

static int search(seqm_model *m, const wordpiece *w, library *lib, const char *question,
                  size_t top) {
  const seqm_entry *e = seqm_model_entry(m, "forward");
  if (!e) return 2;
  for (size_t k = 0; k < lib->n; k++)
    if (!tokenize(w, &lib->v[k])) return 3;
  paragraph q = {.text = strdup(question)}, *one = &q;
  int s = q.text && tokenize(w, &q) ? embed(m, e, &one, 1) : 3;
  if (!s) s = embed_all(m, e, lib);
  if (!s) print_best(lib, &q, top);
  free(q.text);
  free(q.ids);
  return s;
}

int main(int argc, char **argv) {
  const char *model = "examples/minilm.seqm", *weights = NULL, *vocab = NULL, *question = NULL;
  size_t top = 3;
  library lib = {0};
  int status = 2;
  for (int k = 1; k < argc; k++) {
    bool more = k + 1 < argc;
    if (!strcmp(argv[k], "--model") && more)
      model = argv[++k];
    else if (!strcmp(argv[k], "--weights") && more)
      weights = argv[++k];
    else if (!strcmp(argv[k], "--vocab") && more)
      vocab = argv[++k];
    else if (!strcmp(argv[k], "--top") && more)
      top = strtoul(argv[++k], NULL, 10);
    else if (!question)
      question = argv[k];
    else if (!add_file(&lib, argv[k])) {
      library_free(&lib);
      return die(3, argv[k], "cannot be read");
    }
  }
  if (!weights || !vocab || !question || !lib.n) {
    fprintf(stderr, "usage: semantic_search --weights model.safetensors --vocab vocab.txt\n"
                    "         [--model minilm.seqm] [--top 3] QUESTION FILE...\n");
    library_free(&lib);
    return 2;
  }
  const char *why;
  wordpiece *w = wordpiece_open(vocab, &why);
  seqm_context *ctx = seqm_context_new(NULL);
  seqm_model *m = NULL;
  seqm_compile_options o = {.preset = "real"};
  if (!w)
    status = die(3, vocab, why);
  else if (!ctx)
    status = die(3, "seqm", "no memory");
  else if ((status = seqm_compile(ctx, model, &o, &m)) ||
           (status = seqm_model_weights(m, weights)) ||
           (status = search(m, w, &lib, question, top)))
    die(status, model, seqm_message(ctx));
  seqm_model_free(m);
  if (ctx) seqm_context_free(ctx);
  wordpiece_close(w);
  library_free(&lib);
  return status;
}
