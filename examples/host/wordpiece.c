// WordPiece as BERT's uncased models use it: clean, lower-case, strip accents, split at white space
// and punctuation, then the longest known piece first, continuations written "##piece".
#include "wordpiece.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_WORD = 100 }; // characters; longer words are [UNK]

struct wordpiece {
  char *text;   // the file, lines ended by NUL
  char **token; // by id
  int32_t n;
  int32_t *slot; // hash table: id + 1
  uint32_t cap;
  int32_t cls, sep, unk;
};

static uint32_t hash(const char *s, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t k = 0; k < n; k++) h = (h ^ (unsigned char)s[k]) * 16777619u;
  return h;
}

static int32_t find(const wordpiece *w, const char *s, size_t n) {
  for (uint32_t at = hash(s, n) & (w->cap - 1); w->slot[at]; at = (at + 1) & (w->cap - 1)) {
    const char *t = w->token[w->slot[at] - 1];
    if (!strncmp(t, s, n) && !t[n]) return w->slot[at] - 1;
  }
  return -1;
}

static char *read_all(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  size_t n = 0, cap = 1 << 16, got;
  char *p = malloc(cap);
  while (p && (got = fread(p + n, 1, cap - n - 1, f)) > 0) {
    n += got;
    if (cap - n > 1) continue;
    char *q = realloc(p, cap *= 2);
    if (!q) free(p);
    p = q;
  }
  fclose(f);
  if (p) p[n] = 0;
  return p;
}

static bool index_tokens(wordpiece *w) {
  int32_t n = 0;
  for (char *s = w->text; *s; s++) n += *s == '\n';
  w->cap = 16;
  while (w->cap < (uint32_t)(n + 1) * 2) w->cap *= 2;
  w->token = calloc((size_t)n + 1, sizeof *w->token);
  w->slot = calloc(w->cap, sizeof *w->slot);
  if (!w->token || !w->slot) return false;
  for (char *s = w->text; *s;) {
    char *end = strchr(s, '\n');
    if (!end) end = s + strlen(s);
    char *next = *end ? end + 1 : end;
    *end = 0;
    if (end > s && end[-1] == '\r') end[-1] = 0;
    w->token[w->n++] = s;
    uint32_t at = hash(s, strlen(s)) & (w->cap - 1);
    while (w->slot[at]) at = (at + 1) & (w->cap - 1);
    w->slot[at] = w->n;
    s = next;
  }
  return true;
}

wordpiece *wordpiece_open(const char *path, const char **why) {
  wordpiece *w = calloc(1, sizeof *w);
  *why = "no memory";
  if (!w) return NULL;
  w->text = read_all(path);
  if (!w->text) *why = "the file cannot be read";
  if (!w->text || !index_tokens(w)) {
    wordpiece_close(w);
    return NULL;
  }
  w->cls = find(w, "[CLS]", 5);
  w->sep = find(w, "[SEP]", 5);
  w->unk = find(w, "[UNK]", 5);
  if (w->cls < 0 || w->sep < 0 || w->unk < 0) {
    *why = "not a BERT vocabulary: [CLS], [SEP] or [UNK] is missing";
    wordpiece_close(w);
    return NULL;
  }
  return w;
}

void wordpiece_close(wordpiece *w) {
  if (!w) return;
  free(w->text);
  free(w->token);
  free(w->slot);
  free(w);
}

static bool is_space(int32_t c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' ||
         utf8proc_category(c) == UTF8PROC_CATEGORY_ZS;
}

static bool is_dropped(int32_t c) { // control characters and the replacement character
  utf8proc_category_t k = utf8proc_category(c);
  return c == 0 || c == 0xfffd || k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_CO || k == UTF8PROC_CATEGORY_CS;
}

static bool is_alone(int32_t c) { // punctuation, ASCII symbols, CJK ideographs: words of their own
  if ((c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
      (c >= 123 && c <= 126))
    return true;
  utf8proc_category_t k = utf8proc_category(c);
  if (k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO) return true;
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) ||
         (c >= 0x2f800 && c <= 0x2fa1f);
}

typedef struct output {
  const wordpiece *w;
  int32_t *ids;
  size_t n, cap; // cap leaves room for [SEP]
  char word[MAX_WORD * 4 + 8];
  size_t len, chars; // of the word so far
} output;

static void put(output *o, int32_t id) {
  if (o->n < o->cap) o->ids[o->n++] = id;
}

static void end_word(output *o) {
  size_t len = o->len, begin = 0, first = o->n;
  bool known = o->chars <= MAX_WORD;
  o->len = o->chars = 0;
  if (!len) return;
  char piece[sizeof o->word + 2];
  while (known && begin < len) {
    int32_t id = -1;
    size_t end = len;
    for (; end > begin; end--) {
      if (end < len && ((unsigned char)o->word[end] & 0xc0) == 0x80) continue;
      size_t n = 0;
      if (begin) {
        memcpy(piece, "##", 2);
        n = 2;
      }
      memcpy(piece + n, o->word + begin, end - begin);
      id = find(o->w, piece, n + end - begin);
      if (id >= 0) break;
    }
    known = id >= 0;
    if (known) put(o, id);
    begin = end;
  }
  if (known) return;
  o->n = first; // one unknown piece makes the whole word unknown
  put(o, o->w->unk);
}

static void put_char(output *o, int32_t c) {
  if (o->chars++ >= MAX_WORD) return;
  o->len += (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)o->word + o->len);
}

size_t wordpiece_encode(const wordpiece *w, const char *text, int32_t *ids, size_t cap) {
  output o = {.w = w, .ids = ids, .cap = cap - 1};
  put(&o, w->cls);
  const utf8proc_uint8_t *s = (const utf8proc_uint8_t *)text;
  while (*s && o.n < o.cap) {
    utf8proc_int32_t c, part[32];
    utf8proc_ssize_t step = utf8proc_iterate(s, -1, &c);
    if (step <= 0) {
      c = 0xfffd;
      step = 1;
    }
    s += step;
    if (is_space(c)) {
      end_word(&o);
      continue;
    }
    if (is_dropped(c)) continue;
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(utf8proc_tolower(c), part, 32,
                                                 UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
    for (utf8proc_ssize_t k = 0; k < n; k++) {
      if (utf8proc_category(part[k]) == UTF8PROC_CATEGORY_MN) continue;
      if (!is_alone(part[k])) {
        put_char(&o, part[k]);
        continue;
      }
      end_word(&o);
      put_char(&o, part[k]);
      end_word(&o);
    }
  }
  end_word(&o);
  ids[o.n++] = w->sep;
  return o.n;
}
