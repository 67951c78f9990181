// Diagnostics: collecting, and drawing them with carets.
#include "base/diag.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>

void sq_diags_init(sq_diags *ds, sq_arena *arena) {
  *ds = (sq_diags){.arena = arena, .max_errors = 20};
  sq_push(arena, &ds->sources, (sq_source){"", "", 0});
}

uint32_t sq_diags_source(sq_diags *ds, const char *name, const char *text, size_t size) {
  sq_push(ds->arena, &ds->sources,
          (sq_source){sq_arena_str(ds->arena, name, strlen(name)),
                      sq_arena_str(ds->arena, text, size), size});
  return ds->sources.n - 1;
}

static const char *format(sq_arena *a, const char *fmt, va_list ap) {
  char small[2048];
  vsnprintf(small, sizeof small, fmt, ap);
  return sq_arena_str(a, small, strlen(small));
}

static sq_diag *add(sq_diags *ds, sq_severity severity, sq_span span, const char *message) {
  sq_diag *d = SQ_NEW(ds->arena, sq_diag);
  d->severity = severity;
  d->message = message;
  d->owner = ds;
  sq_push(ds->arena, &d->labels, (sq_label_rec){span, ""});
  if (severity == SQ_ERROR && ++ds->errors > ds->max_errors) return d; // counted only
  for (uint32_t k = 0; k < ds->list.n; k++) // the same thing twice helps nobody
    if (ds->list.v[k]->labels.v[0].span.begin == span.begin &&
        ds->list.v[k]->labels.v[0].span.file == span.file && span.file &&
        !strcmp(ds->list.v[k]->message, message))
      return d;
  sq_push(ds->arena, &ds->list, d);
  return d;
}

sq_diag *sq_error(sq_diags *ds, sq_span span, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *m = format(ds->arena, fmt, ap);
  va_end(ap);
  return add(ds, SQ_ERROR, span, m);
}

sq_diag *sq_warn(sq_diags *ds, sq_span span, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *m = format(ds->arena, fmt, ap);
  va_end(ap);
  return add(ds, SQ_WARNING, span, m);
}

void sq_label(sq_diag *d, sq_span span, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *m = format(d->owner->arena, fmt, ap);
  va_end(ap);
  if (d->labels.n == 1 && d->labels.v[0].span.file == span.file &&
      d->labels.v[0].span.begin == span.begin && d->labels.v[0].span.end == span.end &&
      !*d->labels.v[0].text)
    d->labels.v[0].text = m;
  else
    sq_push(d->owner->arena, &d->labels, (sq_label_rec){span, m});
}

void sq_hint(sq_diag *d, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *m = format(d->owner->arena, fmt, ap);
  va_end(ap);
  sq_push(d->owner->arena, &d->hints, m);
}

void sq_note(sq_diag *d, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *m = format(d->owner->arena, fmt, ap);
  va_end(ap);
  sq_push(d->owner->arena, &d->notes, m);
}

sq_span sq_span_join(sq_span a, sq_span b) {
  if (!a.file || a.file != b.file) return a.file ? a : b;
  if (b.begin < a.begin) a.begin = b.begin;
  if (b.end > a.end) a.end = b.end;
  return a;
}

// Columns count characters; continuation bytes of UTF-8 take none.
static uint32_t columns(const char *s, size_t n) {
  uint32_t c = 0;
  for (size_t k = 0; k < n; k++) c += ((unsigned char)s[k] & 0xc0) != 0x80;
  return c;
}

static size_t line_begin(const sq_source *src, size_t at) {
  if (at > src->size) at = src->size;
  while (at && src->text[at - 1] != '\n') at--;
  return at;
}

static size_t line_end(const sq_source *src, size_t at) {
  while (at < src->size && src->text[at] != '\n') at++;
  return at;
}

void sq_span_line(const sq_diags *ds, sq_span s, uint32_t *line, uint32_t *column) {
  *line = *column = 0;
  if (!s.file || s.file >= ds->sources.n) return;
  const sq_source *src = &ds->sources.v[s.file];
  size_t at = s.begin > src->size ? src->size : s.begin;
  uint32_t n = 1;
  for (size_t k = 0; k < at; k++) n += src->text[k] == '\n';
  size_t b = line_begin(src, at);
  *line = n;
  *column = columns(src->text + b, at - b) + 1;
}

// One line of source with the labels that begin on it: carets on the first row, texts of further
// labels each on a row of their own, the rightmost first.
typedef struct mark {
  uint32_t from, to; // columns, 0-based
  const char *text;
} mark;

static int by_column(const void *a, const void *b) {
  const mark *x = a, *y = b;
  return x->from < y->from ? -1 : x->from > y->from;
}

// Of a long line only the surroundings of the first label are shown.
static void draw_line(sq_text *t, const sq_source *src, size_t begin, uint32_t line, mark *m,
                      uint32_t n) {
  enum { LONGEST = 160, BEFORE = 60 };
  size_t end = line_end(src, begin);
  uint32_t width = columns(src->text + begin, end - begin), from = 0, col = 0;
  if (n > 1) qsort(m, n, sizeof *m, by_column);
  if (width > LONGEST && n && m[0].from > BEFORE) from = m[0].from - BEFORE;
  size_t bad;
  bool odd = !sq_is_utf8(src->text + begin, end - begin, &bad); // shown with `?`
  uint32_t to = width > from + LONGEST ? from + LONGEST : width, skip = from ? 4 : 0;
  sq_text_add(t, "%5u | %s", line, from ? "... " : "");
  for (size_t k = begin; k < end; k++) {
    char c = src->text[k];
    bool first = ((unsigned char)c & 0xc0) != 0x80;
    if (col - !first >= from && col - !first < to)
      sq_text_put(t, c == '\t' || (unsigned char)c < 32 ? " " : c & 0x80 && odd ? "?" : &c, 1);
    col += first;
  }
  sq_text_add(t, "%s\n      | ", to < width ? " ..." : "");
  uint32_t shown = 0;
  while (shown < n && m[shown].from <= to) m[shown++].from += skip - from;
  n = shown;
  col = 0;
  for (uint32_t k = 0; k < n; k++) {
    for (; col < m[k].from; col++) sq_text_put(t, " ", 1);
    uint32_t stop = (m[k].to > to ? to : m[k].to) + skip - from;
    if (stop <= m[k].from) stop = m[k].from + 1;
    for (; col < stop; col++) sq_text_put(t, "^", 1);
  }
  if (n && *m[n - 1].text) sq_text_add(t, " %s", m[n - 1].text);
  sq_text_add(t, "\n");
  for (uint32_t k = n; k-- > 1;) {
    if (!*m[k - 1].text) continue;
    sq_text_add(t, "      | ");
    for (uint32_t c = 0; c < m[k - 1].from; c++) sq_text_put(t, " ", 1);
    sq_text_add(t, "%s\n", m[k - 1].text);
  }
}

static void draw(const sq_diags *ds, const sq_diag *d, sq_text *t) {
  const char *word = d->severity == SQ_ERROR     ? "error"
                     : d->severity == SQ_WARNING ? "warning"
                                                 : "note";
  sq_span at = d->labels.v[0].span;
  if (at.file && at.file < ds->sources.n) {
    uint32_t line, column;
    sq_span_line(ds, at, &line, &column);
    sq_text_add(t, "%s:%u:%u: ", ds->sources.v[at.file].name, line, column);
  } else {
    sq_text_add(t, "seqm: ");
  }
  sq_text_add(t, "%s: %s\n", word, d->message);
  bool *done = SQ_ARRAY(ds->arena, bool, d->labels.n);
  for (uint32_t k = 0; k < d->labels.n; k++) {
    sq_span s = d->labels.v[k].span;
    if (done[k] || !s.file || s.file >= ds->sources.n) continue;
    const sq_source *src = &ds->sources.v[s.file];
    size_t begin = line_begin(src, s.begin), end = line_end(src, begin);
    uint32_t line, column, n = 0;
    sq_span_line(ds, s, &line, &column);
    if (k && s.file != at.file) {
      sq_text_add(t, "  at %s:%u:%u:\n", src->name, line, column);
    }
    mark *m = SQ_ARRAY(ds->arena, mark, d->labels.n);
    for (uint32_t j = k; j < d->labels.n; j++) {
      sq_span o = d->labels.v[j].span;
      if (done[j] || o.file != s.file || o.begin < begin || o.begin > end) continue;
      done[j] = true;
      size_t to = o.end > end ? end : o.end;
      uint32_t from = columns(src->text + begin, o.begin - begin);
      m[n++] =
          (mark){from, to > o.begin ? from + columns(src->text + o.begin, to - o.begin) : from + 1,
                 d->labels.v[j].text};
    }
    draw_line(t, src, begin, line, m, n);
  }
  for (uint32_t k = 0; k < d->hints.n; k++) sq_text_add(t, "   hint: %s\n", d->hints.v[k]);
  for (uint32_t k = 0; k < d->notes.n; k++) sq_text_add(t, "   note: %s\n", d->notes.v[k]);
}

const char *sq_diags_render(const sq_diags *ds) {
  sq_text t = {.arena = ds->arena};
  sq_text_put(&t, "", 0);
  for (uint32_t k = 0; k < ds->list.n; k++) draw(ds, ds->list.v[k], &t);
  if (ds->errors > ds->max_errors)
    sq_text_add(&t, "... and %u more errors\n", ds->errors - ds->max_errors);
  return t.v;
}

// How many letters are wrong, missing, too many or swapped with their neighbour.
static uint32_t distance(const char *a, const char *b) {
  size_t n = strlen(a), m = strlen(b);
  if (n > 63 || m > 63) return UINT32_MAX;
  uint32_t rows[3][64], *above = rows[0], *last = rows[1], *row = rows[2];
  for (size_t j = 0; j <= m; j++) last[j] = (uint32_t)j;
  for (size_t i = 1; i <= n; i++) {
    row[0] = (uint32_t)i;
    for (size_t j = 1; j <= m; j++) {
      uint32_t least = last[j - 1] + (a[i - 1] != b[j - 1]);
      if (last[j] + 1 < least) least = last[j] + 1;
      if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
          above[j - 2] + 1 < least)
        least = above[j - 2] + 1;
      row[j] = least;
    }
    uint32_t *old = above;
    above = last;
    last = row;
    row = old;
  }
  return last[m];
}

const char *sq_nearest(const char *word, const char *const *candidates, uint32_t n) {
  const char *best = NULL;
  size_t length = strlen(word);
  uint32_t least = UINT32_MAX, limit = length < 2 ? 0 : length < 6 ? 1 : length < 9 ? 2 : 3;
  for (uint32_t k = 0; k < n; k++) {
    if (!candidates[k]) continue;
    uint32_t d = strcasecmp(word, candidates[k]) ? distance(word, candidates[k]) : 0;
    if (d < least && d <= limit && strcmp(candidates[k], "_")) {
      least = d;
      best = candidates[k];
    }
  }
  return best;
}
