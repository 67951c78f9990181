// Runs a harness without a fuzzer's runtime: every seed as it is, then inputs made from the seeds
// by a fixed sequence of random changes, the same on every machine.
//
//   fuzz_NAME [-n ITERATIONS] [-s SEED] [-l MAX_LENGTH] FILE_OR_FOLDER...
//
// An input on which the harness fails, or takes longer than a minute, is left in fuzz_NAME.input;
// `fuzz_NAME -n 0 fuzz_NAME.input` runs it again. Changes: bits, bytes, numbers, pieces removed,
// repeated, moved between seeds, words of the seeds put in or exchanged.
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

enum { LONGEST = 1 << 16, MOST_SEEDS = 4096, MOST_WORDS = 1 << 16 };

typedef struct bytes {
  uint8_t *v;
  size_t n;
} bytes;
static struct {
  bytes seed[MOST_SEEDS];
  size_t n_seeds;
  bytes word[MOST_WORDS]; // inside the seeds
  size_t n_words;
  char *path[MOST_SEEDS];
  size_t n_paths;
  const char *name;
} fuzz;

// ---- the input under test, for who must write it down ------------------------------------------
static uint8_t input[LONGEST];
static size_t input_size;
static char input_file[256];

static void write_down(void) {
  int fd = open(input_file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ssize_t n = fd < 0 ? -1 : write(fd, input, input_size);
  if (fd >= 0) close(fd);
  static const char said[] = "the input is in the file that ends in .input\n";
  if (n == (ssize_t)input_size) n = write(2, said, sizeof said - 1);
}
static void on_signal(int number) {
  write_down();
  signal(number, SIG_DFL);
  raise(number);
}
static void one(void) {
  // A copy of its own size, so that reading beyond it is seen.
  uint8_t *copy = malloc(input_size ? input_size : 1);
  if (!copy) exit(3);
  memcpy(copy, input, input_size);
  alarm(60);
  LLVMFuzzerTestOneInput(copy, input_size);
  alarm(0);
  free(copy);
}

// ---- seeds -------------------------------------------------------------------------------------
static int visit(const char *path, const struct stat *st, int type, struct FTW *where) {
  (void)where;
  if (type == FTW_F && st->st_size <= LONGEST && fuzz.n_paths < MOST_SEEDS)
    if (!(fuzz.path[fuzz.n_paths++] = strdup(path))) return 1;
  return 0;
}
static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}
static bool is_word(uint8_t c) {
  return c == '_' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
         (c >= 'A' && c <= 'Z');
}
static void words_of(bytes b) {
  for (size_t k = 0; k < b.n && fuzz.n_words < MOST_WORDS;) {
    size_t begin = k++;
    if (is_word(b.v[begin]))
      while (k < b.n && is_word(b.v[k])) k++;
    else // operators are words too
      while (k < b.n && k < begin + 2 && b.v[k] > ' ' && !is_word(b.v[k])) k++;
    if (b.v[begin] > ' ') fuzz.word[fuzz.n_words++] = (bytes){b.v + begin, k - begin};
  }
}
static bool read_seed(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return false;
  bytes b = {malloc(LONGEST), 0};
  if (b.v) b.n = fread(b.v, 1, LONGEST, f);
  fclose(f);
  if (!b.v) return false;
  fuzz.seed[fuzz.n_seeds++] = b;
  words_of(b);
  return true;
}

// ---- changes -----------------------------------------------------------------------------------
static uint64_t state;
static uint64_t random_bits(void) { // splitmix64
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
static size_t below(size_t n) { return n ? (size_t)(random_bits() % n) : 0; }

// Replaces input[at, at + gone) by n bytes, as far as there is room.
static void replace(size_t at, size_t gone, const uint8_t *v, size_t n) {
  static uint8_t copy[LONGEST];
  if (input_size - gone + n > LONGEST) return;
  if (n) memcpy(copy, v, n);
  memmove(input + at + n, input + at + gone, input_size - at - gone);
  if (n) memcpy(input + at, copy, n);
  input_size = input_size - gone + n;
}
static size_t piece(size_t *at, size_t most) {
  *at = below(input_size + 1);
  size_t n = 1 + below(1u << below(10));
  if (n > most) n = most;
  return n > input_size - *at ? input_size - *at : n;
}
static void put_word(bool exchange) {
  if (!fuzz.n_words) return;
  bytes w = fuzz.word[below(fuzz.n_words)];
  size_t at = below(input_size + 1), end = at;
  if (exchange) { // a whole word goes
    while (at > 0 && is_word(input[at - 1])) at--;
    while (end < input_size && is_word(input[end])) end++;
  }
  replace(at, end - at, w.v, w.n);
}
static void put_number(void) {
  static const char *const numbers[] = {"0",
                                        "1",
                                        "-1",
                                        "2",
                                        "3",
                                        "255",
                                        "65536",
                                        "2147483647",
                                        "2147483648",
                                        "4294967295",
                                        "4294967296",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "18446744073709551616",
                                        "1e308",
                                        "1e-400",
                                        "0.5",
                                        "nan"};
  const char *s = numbers[below(sizeof numbers / sizeof *numbers)];
  for (int tries = 0; tries < 50; tries++) {
    size_t at = below(input_size), end = at;
    if (at == input_size || input[at] < '0' || input[at] > '9') continue;
    while (at > 0 && input[at - 1] >= '0' && input[at - 1] <= '9') at--;
    while (end < input_size && input[end] >= '0' && input[end] <= '9') end++;
    replace(at, end - at, (const uint8_t *)s, strlen(s));
    return;
  }
}
static void change(void) {
  size_t at, n;
  uint8_t byte = (uint8_t)random_bits();
  switch (below(11)) {
  case 0:
    if (input_size) input[below(input_size)] ^= (uint8_t)(1u << below(8));
    break;
  case 1:
    if (input_size) input[below(input_size)] = byte;
    break;
  case 2:
    replace(below(input_size + 1), 0, &byte, 1);
    break;
  case 3:
    n = piece(&at, LONGEST);
    replace(at, n, NULL, 0);
    break;
  case 4: // a piece of the input again, elsewhere
    n = piece(&at, LONGEST);
    replace(below(input_size + 1), 0, input + at, n);
    break;
  case 5: { // a piece of another seed
    bytes other = fuzz.seed[below(fuzz.n_seeds)];
    size_t from = below(other.n);
    n = piece(&at, other.n - from);
    replace(at, below(2) ? n : 0, other.v + from, n);
    break;
  }
  case 6:
  case 7:
    put_word(true);
    break;
  case 8:
    put_word(false);
    break;
  case 9:
    put_number();
    break;
  default: // a line goes, or comes twice
    at = below(input_size + 1);
    while (at > 0 && input[at - 1] != '\n') at--;
    for (n = 0; at + n < input_size && input[at + n] != '\n';) n++;
    if (below(2))
      replace(at, n, NULL, 0);
    else
      replace(at, 0, input + at, n);
  }
}
static void make_input(size_t longest) {
  bytes seed = fuzz.seed[below(fuzz.n_seeds)];
  memcpy(input, seed.v, seed.n);
  input_size = seed.n;
  for (size_t k = 1 + below(1u << below(5)); k > 0; k--) change();
  if (input_size > longest) input_size = longest;
}

int main(int argc, char **argv) {
  long iterations = 1000;
  size_t longest = 8192;
  uint64_t seed = 1;
  const char *slash = strrchr(argv[0], '/');
  fuzz.name = slash ? slash + 1 : argv[0];
  snprintf(input_file, sizeof input_file, "%s.input", fuzz.name);
  int option;
  while ((option = getopt(argc, argv, "n:s:l:")) != -1) {
    if (option == 'n')
      iterations = atol(optarg);
    else if (option == 's')
      seed = strtoull(optarg, NULL, 10);
    else if (option == 'l')
      longest = strtoul(optarg, NULL, 10);
    else
      return 2;
  }
  for (int k = optind; k < argc; k++)
    if (nftw(argv[k], visit, 16, FTW_PHYS)) fprintf(stderr, "%s cannot be read\n", argv[k]);
  qsort(fuzz.path, fuzz.n_paths, sizeof *fuzz.path, by_name);
  for (size_t k = 0; k < fuzz.n_paths; k++)
    if (!read_seed(fuzz.path[k])) return 3;
  if (!fuzz.n_seeds || longest > LONGEST) {
    fprintf(stderr, "usage: %s [-n ITERATIONS] [-s SEED] [-l MAX_LENGTH] FILE_OR_FOLDER...\n",
            fuzz.name);
    return 2;
  }
  if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(write_down);
  signal(SIGABRT, on_signal);
  signal(SIGALRM, on_signal);
  if (!__sanitizer_set_death_callback) signal(SIGSEGV, on_signal);
  for (size_t k = 0; k < fuzz.n_seeds; k++) {
    memcpy(input, fuzz.seed[k].v, input_size = fuzz.seed[k].n);
    one();
  }
  for (long k = 0; k < iterations; k++) {
    state = seed * 0x100000001b3u + (uint64_t)k;
    make_input(longest);
    one();
  }
  printf("%s: %zu seeds and %ld inputs made from them\n", fuzz.name, fuzz.n_seeds, iterations);
  for (size_t k = 0; k < fuzz.n_seeds; k++) free(fuzz.seed[k].v);
  for (size_t k = 0; k < fuzz.n_paths; k++) free(fuzz.path[k]);
  return 0;
}
