// What made the code. Out: the build ids of the objects in memory that decide what a model file
// becomes: this compiler, LLVM, and libm, by which constants are folded. Another build of any of them
// is another identity.
#include "codegen/codegen.h"
#include <elf.h>
#include <link.h>
#include <llvm-c/Core.h>
#include <math.h>
#include <sys/stat.h>

enum { MAKERS = 3 };
typedef struct search {
  uintptr_t maker[MAKERS]; // an address inside each
  uint32_t known;
  char id[512]; // no memory is taken while the list of objects is locked
  size_t n;
} search;

static bool put(search *s, const void *id, size_t size) {
  if (size == 0 || size > sizeof s->id - s->n) return false;
  memcpy(s->id + s->n, id, size);
  s->n += size;
  return true;
}

static bool holds(const struct dl_phdr_info *o, uintptr_t address) {
  for (int k = 0; k < o->dlpi_phnum; k++) {
    const ElfW(Phdr) *h = &o->dlpi_phdr[k];
    uintptr_t from = o->dlpi_addr + h->p_vaddr;
    if (h->p_type == PT_LOAD && address >= from && address - from < h->p_memsz) return true;
  }
  return false;
}

static size_t padded(size_t n) { return (n + 3) & ~(size_t)3; }

static bool note_id(search *s, const char *at, size_t size) {
  ElfW(Nhdr) n;
  while (size >= sizeof n) {
    memcpy(&n, at, sizeof n);
    size_t name = padded(n.n_namesz), desc = padded(n.n_descsz);
    if (name > size - sizeof n || desc > size - sizeof n - name) return false;
    const char *text = at + sizeof n;
    if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && !memcmp(text, "GNU", 4))
      return put(s, text + name, n.n_descsz);
    at += sizeof n + name + desc;
    size -= sizeof n + name + desc;
  }
  return false;
}

// An object that was linked without a build id is known by its file.
static bool file_id(search *s, const char *path) {
  struct stat st;
  if (stat(*path ? path : "/proc/self/exe", &st)) return false;
  int64_t id[] = {(int64_t)st.st_dev, (int64_t)st.st_ino, st.st_size, st.st_mtim.tv_sec,
                  st.st_mtim.tv_nsec};
  return put(s, id, sizeof id);
}

static int look(struct dl_phdr_info *o, size_t size, void *user) {
  (void)size;
  search *s = user;
  for (int m = 0; m < MAKERS; m++) {
    if (!holds(o, s->maker[m])) continue;
    bool found = false;
    for (int k = 0; !found && k < o->dlpi_phnum; k++)
      if (o->dlpi_phdr[k].p_type == PT_NOTE)
        found = note_id(s, (const char *)(o->dlpi_addr + o->dlpi_phdr[k].p_vaddr),
                        o->dlpi_phdr[k].p_memsz);
    if (found || file_id(s, o->dlpi_name)) s->known++;
  }
  return 0;
}

bool sq_codegen_identity(sq_text *out) {
  search s = {.maker = {(uintptr_t)&sq_codegen_identity, (uintptr_t)&LLVMGetVersion,
                        (uintptr_t)(double (*)(double, double)) & pow}};
  dl_iterate_phdr(look, &s);
  sq_text_put(out, s.id, s.n);
  return s.known == MAKERS;
}
