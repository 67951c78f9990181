// Kernels compiled for the host. In: a translation unit. Out: a loaded shared object, its table of
// kernels.
//
//   unit --hash--> DIR/9c41..07.emu.so?   yes: load it
//                                         no: c++ -shared, renamed to that name when complete
#include "codegen/cuda/emu.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

// Unoptimised: most kernels run once, on little.
static const char *const flags[] = {"-x",
                                    "c++",
                                    "-std=c++17",
                                    "-O0",
                                    "-fPIC",
                                    "-shared",
                                    "-w",
                                    "-fno-exceptions",
                                    "-fno-rtti",
                                    "-fno-strict-aliasing",
                                    "-ffp-contract=off",
                                    "-fvisibility=hidden"};
enum { N_FLAGS = sizeof flags / sizeof *flags };
extern char **environ;

static const char *compiler(void) {
  const char *cxx = getenv("CXX");
  return cxx && *cxx ? cxx : "c++";
}

// ---- files -------------------------------------------------------------------------------------
static const char *cached_name(sq_arena *a, const char *dir, const char *source, size_t n) {
  XXH3_state_t s;
  XXH3_128bits_reset(&s);
  XXH3_128bits_update(&s, SEQM_VERSION, sizeof SEQM_VERSION);
  XXH3_128bits_update(&s, compiler(), strlen(compiler()) + 1);
  for (size_t k = 0; k < N_FLAGS; k++) XXH3_128bits_update(&s, flags[k], strlen(flags[k]) + 1);
  XXH3_128bits_update(&s, source, n);
  XXH128_hash_t h = XXH3_128bits_digest(&s);
  return sq_arena_fmt(a, "%s/%016llx%016llx.emu.so", dir, (unsigned long long)h.high64,
                      (unsigned long long)h.low64);
}
static void make_directory(sq_arena *a, const char *dir) {
  char *path = sq_arena_str(a, dir, strlen(dir));
  for (char *p = path + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(path, 0777);
    *p = '/';
  }
  mkdir(path, 0777);
}
// A folder for the files of one compilation: in the cache, else among temporary files.
static const char *work_folder(sq_arena *a, const char *cache_dir) {
  const char *tmp = getenv("TMPDIR");
  if (cache_dir) make_directory(a, cache_dir);
  char *in_cache = cache_dir ? sq_arena_fmt(a, "%s/emu.XXXXXX", cache_dir) : NULL;
  if (in_cache && mkdtemp(in_cache)) return in_cache;
  char *elsewhere = sq_arena_fmt(a, "%s/seqm-emu.XXXXXX", tmp && *tmp ? tmp : "/tmp");
  return mkdtemp(elsewhere);
}

// ---- the compiler ------------------------------------------------------------------------------
// $CXX may have arguments: words between spaces.
static char **command(sq_arena *a, const char *source, const char *output) {
  const char *cxx = compiler();
  char *words = sq_arena_str(a, cxx, strlen(cxx)), *rest = NULL;
  char **argv = SQ_ARRAY(a, char *, strlen(cxx) + N_FLAGS + 8);
  size_t n = 0;
  for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) argv[n++] = w;
  for (size_t k = 0; k < N_FLAGS; k++) argv[n++] = (char *)(uintptr_t)flags[k];
  argv[n++] = (char *)(uintptr_t) "-o";
  argv[n++] = (char *)(uintptr_t)output;
  argv[n++] = (char *)(uintptr_t)source;
  argv[n++] = (char *)(uintptr_t) "-lm";
  argv[n] = NULL;
  return argv;
}
static const char *what_it_said(sq_arena *a, const char *log) {
  char *text, *end;
  size_t n;
  const char *why;
  if (sq_file_read(a, log, &text, &n, &why) != SQ_OK) return "";
  if (n > 2000) n = 2000;
  text = sq_arena_str(a, text, n);
  while ((end = strrchr(text, '\n')) && !end[1]) *end = 0;
  return text;
}
static sq_status run_compiler(sq_arena *a, const char *source, const char *output, const char *log,
                              const char **message) {
  posix_spawn_file_actions_t actions;
  pid_t pid;
  char **argv = command(a, source, output);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  int e = argv[0] ? posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) : ENOENT;
  posix_spawn_file_actions_destroy(&actions);
  int status = 127 << 8;
  if (!e)
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (e || (WIFEXITED(status) && WEXITSTATUS(status) == 127)) {
    *message = sq_arena_fmt(a,
                            "the target cuda-emu needs a C++ compiler, and `%s` cannot be run: "
                            "install one (c++, g++, clang++) or name it by the variable CXX",
                            compiler());
    return SQ_EWORLD;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return SQ_OK;
  *message =
      sq_arena_fmt(a, "`%s` does not compile the kernels: %s", compiler(), what_it_said(a, log));
  return SQ_EWORLD;
}

// ---- loading -----------------------------------------------------------------------------------
static sq_emu_module *load(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return NULL;
  const sq_emu_kernel *kernel = dlsym(library, "sq_emu_table");
  sq_emu_module *m = kernel ? calloc(1, sizeof *m) : NULL;
  if (!m) {
    dlclose(library);
    return NULL;
  }
  m->library = library;
  m->kernel = kernel;
  while (kernel[m->n_kernel].name) m->n_kernel++;
  return m;
}
void sq_emu_free(sq_emu_module *m) {
  if (!m) return;
  sq_emu_memory_free(m);
  sq_emu_fibers_free(m);
  dlclose(m->library);
  free(m);
}

static sq_status compile(sq_arena *a, const char *folder, const char *source, size_t n,
                         const char *keep_as, sq_emu_module **m, const char **message) {
  const char *text = sq_arena_fmt(a, "%s/kernels.cc", folder);
  const char *object = sq_arena_fmt(a, "%s/kernels.so", folder);
  const char *log = sq_arena_fmt(a, "%s/log", folder);
  sq_status s = sq_file_write(a, text, source, n, message);
  if (s == SQ_OK) s = run_compiler(a, text, object, log, message);
  if (s == SQ_OK && keep_as && rename(object, keep_as) == 0) object = keep_as;
  if (s == SQ_OK && !(*m = load(object))) {
    const char *why = dlerror();
    *message =
        sq_arena_fmt(a, "the compiled kernels cannot be loaded: %s", why ? why : "no memory");
    s = SQ_EWORLD;
  }
  unlink(text);
  unlink(log);
  if (object != keep_as) unlink(object);
  return s;
}

sq_status sq_emu_build(sq_arena *a, const char *source, size_t n, const char *cache_dir,
                       sq_emu_module **m, const char **message) {
  const char *kept = cache_dir ? cached_name(a, cache_dir, source, n) : NULL;
  if (kept && access(kept, R_OK) == 0 && (*m = load(kept))) return SQ_OK;
  const char *folder = work_folder(a, cache_dir);
  if (!folder) {
    *message = sq_arena_fmt(a, "no folder for the kernels to be compiled in: %s", strerror(errno));
    return SQ_EWORLD;
  }
  sq_status s = compile(a, folder, source, n, kept, m, message);
  rmdir(folder);
  return s;
}
