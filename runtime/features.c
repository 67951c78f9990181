// Does this machine have the CPU features that a model was compiled for? Names are those of
// /proc/cpuinfo. On x86-64 the common ones are asked of the CPU itself, on aarch64 of the kernel's
// HWCAP; a name that is in neither table is looked up in /proc/cpuinfo.
#define _GNU_SOURCE
#include "runtime/model.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

typedef enum answer { UNKNOWN, NO, YES } answer;

#if defined(__x86_64__)
enum { EAX, EBX, ECX, EDX };
enum { ANY, AVX = 6, AVX512 = 0xe6, AMX = 0x60000 }; // bits of XCR0 that the system must have set
static const struct {
  const char *name;
  unsigned leaf, sub, reg, bit, state;
} table[] = {
    {"sse3", 1, 0, ECX, 0, ANY},
    {"pni", 1, 0, ECX, 0, ANY},
    {"pclmulqdq", 1, 0, ECX, 1, ANY},
    {"ssse3", 1, 0, ECX, 9, ANY},
    {"fma", 1, 0, ECX, 12, AVX},
    {"cx16", 1, 0, ECX, 13, ANY},
    {"sse4_1", 1, 0, ECX, 19, ANY},
    {"sse4_2", 1, 0, ECX, 20, ANY},
    {"movbe", 1, 0, ECX, 22, ANY},
    {"popcnt", 1, 0, ECX, 23, ANY},
    {"aes", 1, 0, ECX, 25, ANY},
    {"xsave", 1, 0, ECX, 26, ANY},
    {"avx", 1, 0, ECX, 28, AVX},
    {"f16c", 1, 0, ECX, 29, AVX},
    {"sse", 1, 0, EDX, 25, ANY},
    {"sse2", 1, 0, EDX, 26, ANY},
    {"bmi1", 7, 0, EBX, 3, ANY},
    {"avx2", 7, 0, EBX, 5, AVX},
    {"bmi2", 7, 0, EBX, 8, ANY},
    {"avx512f", 7, 0, EBX, 16, AVX512},
    {"avx512dq", 7, 0, EBX, 17, AVX512},
    {"avx512ifma", 7, 0, EBX, 21, AVX512},
    {"avx512cd", 7, 0, EBX, 28, AVX512},
    {"avx512bw", 7, 0, EBX, 30, AVX512},
    {"avx512vl", 7, 0, EBX, 31, AVX512},
    {"avx512vbmi", 7, 0, ECX, 1, AVX512},
    {"avx512_vbmi2", 7, 0, ECX, 6, AVX512},
    {"gfni", 7, 0, ECX, 8, ANY},
    {"vaes", 7, 0, ECX, 9, AVX},
    {"vpclmulqdq", 7, 0, ECX, 10, AVX},
    {"avx512_vnni", 7, 0, ECX, 11, AVX512},
    {"avx512_bitalg", 7, 0, ECX, 12, AVX512},
    {"avx512_vpopcntdq", 7, 0, ECX, 14, AVX512},
    {"amx_bf16", 7, 0, EDX, 22, AMX},
    {"avx512_fp16", 7, 0, EDX, 23, AVX512},
    {"amx_tile", 7, 0, EDX, 24, AMX},
    {"amx_int8", 7, 0, EDX, 25, AMX},
    {"avx_vnni", 7, 1, EAX, 4, AVX},
    {"avx512_bf16", 7, 1, EAX, 5, AVX512},
    {"lahf_lm", 0x80000001, 0, ECX, 0, ANY},
    {"abm", 0x80000001, 0, ECX, 5, ANY},
    {"lzcnt", 0x80000001, 0, ECX, 5, ANY},
};

static unsigned long long xcr0(void) {
  unsigned r[4] = {0};
  if (!__get_cpuid(1, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) || !(r[ECX] >> 27 & 1)) return 0;
  unsigned lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (unsigned long long)hi << 32 | lo;
}

static answer ask_cpu(const char *name) {
  for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
    if (strcmp(table[k].name, name)) continue;
    unsigned r[4] = {0};
    if (!__get_cpuid_count(table[k].leaf, table[k].sub, &r[EAX], &r[EBX], &r[ECX], &r[EDX]))
      return NO;
    bool saved = !table[k].state || (xcr0() & table[k].state) == table[k].state;
    return (r[table[k].reg] >> table[k].bit & 1) && saved ? YES : NO;
  }
  return UNKNOWN;
}
#elif defined(__aarch64__) && defined(__linux__)
static const struct {
  const char *name;
  int second; // HWCAP2
  unsigned bit;
} table[] = {
    {"fp", 0, 0},      {"asimd", 0, 1},    {"aes", 0, 3},       {"pmull", 0, 4},
    {"sha1", 0, 5},    {"sha2", 0, 6},     {"crc32", 0, 7},     {"atomics", 0, 8},
    {"fphp", 0, 9},    {"asimdhp", 0, 10}, {"asimdrdm", 0, 12}, {"jscvt", 0, 13},
    {"fcma", 0, 14},   {"lrcpc", 0, 15},   {"sha3", 0, 17},     {"asimddp", 0, 20},
    {"sha512", 0, 21}, {"sve", 0, 22},     {"asimdfhm", 0, 23}, {"sve2", 1, 1},
    {"svei8mm", 1, 9}, {"svebf16", 1, 12}, {"i8mm", 1, 13},     {"bf16", 1, 14},
};

static answer ask_cpu(const char *name) {
  for (size_t k = 0; k < sizeof table / sizeof *table; k++)
    if (!strcmp(table[k].name, name))
      return getauxval(table[k].second ? AT_HWCAP2 : AT_HWCAP) >> table[k].bit & 1 ? YES : NO;
  return UNKNOWN;
}
#else
static answer ask_cpu(const char *name) {
  (void)name;
  return UNKNOWN;
}
#endif

static bool has_word(const char *line, const char *word) {
  size_t n = strlen(word);
  for (const char *p = line; (p = strstr(p, word)); p += n)
    if (p != line && (p[-1] == ' ' || p[-1] == '\t' || p[-1] == ':') &&
        (p[n] == ' ' || p[n] == '\n' || !p[n]))
      return true;
  return false;
}

// The first processor's line stands in the first kilobytes.
static bool ask_cpuinfo(const char *name) {
  char text[8192];
  int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  size_t n = 0;
  for (ssize_t k; n < sizeof text - 1 && (k = read(fd, text + n, sizeof text - 1 - n)) > 0;)
    n += (size_t)k;
  close(fd);
  text[n] = 0;
  const char *at = strstr(text, "\nflags");
  if (!at) at = strstr(text, "\nFeatures");
  if (!at) return false;
  char *end = strchr(text + (at - text) + 1, '\n');
  if (end) *end = 0;
  return has_word(at, name);
}

const char *sq_rt_missing_feature(const char *const *feature, uint32_t n) {
  for (uint32_t k = 0; k < n; k++) {
    answer a = ask_cpu(feature[k]);
    if (a == NO || (a == UNKNOWN && !ask_cpuinfo(feature[k]))) return feature[k];
  }
  return NULL;
}
