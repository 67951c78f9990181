// An object and the runtime become one shared object. In: paths. Out: a self-contained .so that
// exports `seqm_*` alone, or a message that says what the linker said.
//
// The compiler driver of the system is asked first (it knows where libc is); where there is none,
// LLVM's linker. The result appears under its name only when it is complete.
#include "base/text.h"
#include "codegen/codegen.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool runs_here(const char *triple) {
#if defined __aarch64__
  return strncmp(triple, "aarch64", 7) == 0;
#elif defined __x86_64__
  return strncmp(triple, "x86_64", 6) == 0;
#else
  (void)triple;
  return false;
#endif
}

enum { SAID = 1500, MOST = 24 };

// Runs a program found on PATH. Returns its exit status, -1 when it cannot be started; what it
// wrote to stderr comes back in `said`.
static int run(const char *const *argv, char said[SAID]) {
  said[0] = 0;
  int pipe_[2];
  if (pipe2(pipe_, O_CLOEXEC) != 0) return -1;
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions) != 0) {
    close(pipe_[0]);
    close(pipe_[1]);
    return -1;
  }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, pipe_[1], 2);
  pid_t pid;
  int failed = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_[1]);
  size_t n = 0;
  char piece[512];
  for (ssize_t k; !failed && (k = read(pipe_[0], piece, sizeof piece)) != 0;) {
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) break;
    size_t room = SAID - 1 - n, take = (size_t)k < room ? (size_t)k : room;
    memcpy(said + n, piece, take);
    n += take;
  }
  said[n] = 0;
  while (n > 0 && said[n - 1] == '\n') said[--n] = 0;
  close(pipe_[0]);
  if (failed) return -1;
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -1;
  // A shell's convention for "not found" is what posix_spawn of old systems gives too.
  if (WIFEXITED(status)) return WEXITSTATUS(status) == 127 ? -1 : WEXITSTATUS(status);
  return 1;
}

typedef struct linking {
  const char *object, *runtime, *script, *output;
} linking;

static void by_driver(const linking *l, const char *driver, const char *argv[MOST]) {
  uint32_t n = 0;
  argv[n++] = driver;
  const char *rest[] = {"-shared",
                        "-fPIC",
                        "-o",
                        l->output,
                        l->object,
                        "-Wl,--whole-archive",
                        l->runtime,
                        "-Wl,--no-whole-archive",
                        "-Wl,--as-needed",
                        "-Wl,-Bsymbolic",
                        "-Wl,--gc-sections",
                        "-Wl,-z,noexecstack",
                        l->script,
                        "-lm",
                        "-lpthread",
                        "-ldl",
                        NULL};
  for (size_t k = 0; k < sizeof rest / sizeof *rest; k++) argv[n++] = rest[k];
}

// Without a compiler driver: undefined symbols are found in libc and libm when the object is
// loaded.
static void by_lld(const linking *l, const char *driver, const char *argv[MOST]) {
  const char *plain_script = l->script + strlen("-Wl,");
  const char *all[] = {driver,
                       "-shared",
                       "-o",
                       l->output,
                       l->object,
                       "--whole-archive",
                       l->runtime,
                       "--no-whole-archive",
                       "-Bsymbolic",
                       "--gc-sections",
                       "-z",
                       "noexecstack",
                       plain_script,
                       "--allow-shlib-undefined",
                       "-l:libm.so.6",
                       "-l:libc.so.6",
                       "-L/lib/x86_64-linux-gnu",
                       "-L/lib/aarch64-linux-gnu",
                       "-L/lib64",
                       "-L/usr/lib64",
                       NULL};
  for (size_t k = 0; k < sizeof all / sizeof *all; k++) argv[k] = all[k];
}

typedef struct linker {
  const char *program;
  void (*arguments)(const linking *l, const char *driver, const char *argv[MOST]);
  bool native;        // links for this machine only
  const char *triple; // or for this one
} linker;
static const linker linkers[] = {
    {"cc", by_driver, true, NULL},
    {"gcc", by_driver, true, NULL},
    {"clang", by_driver, true, NULL},
    {"aarch64-linux-gnu-gcc", by_driver, false, "aarch64"},
    {"x86_64-linux-gnu-gcc", by_driver, false, "x86_64"},
    {"ld.lld-19", by_lld, true, NULL},
    {"ld.lld", by_lld, true, NULL},
};

sq_status sq_codegen_link(sq_ctx *ctx, const sq_target *t, const char *object,
                          const char *runtime_library, const char *output, const char **message) {
  sq_arena *a = &ctx->arena;
  const char *temporary = sq_arena_fmt(a, "%s.%ld.tmp", output, (long)getpid());
  const char *script = sq_arena_fmt(a, "%s.%ld.map", output, (long)getpid());
  static const char exports[] = "{ global: seqm_*; local: *; };\n";
  const char *why = NULL;
  if (sq_file_write(a, script, exports, sizeof exports - 1, &why) != SQ_OK) {
    *message = why;
    return SQ_EWORLD;
  }
  linking l = {object, runtime_library, sq_arena_fmt(a, "-Wl,--version-script=%s", script),
               temporary};
  char said[SAID] = "";
  int status = -1;
  const char *program = NULL;
  for (size_t k = 0; k < sizeof linkers / sizeof *linkers && status < 0; k++) {
    const linker *k_th = &linkers[k];
    if (k_th->native ? !runs_here(t->triple)
                     : strncmp(t->triple, k_th->triple, strlen(k_th->triple)) != 0)
      continue;
    const char *argv[MOST];
    program = k_th->program;
    k_th->arguments(&l, program, argv);
    status = run(argv, said);
  }
  unlink(script);
  if (status == 0 && rename(temporary, output) == 0) return SQ_OK;
  int e = errno;
  unlink(temporary);
  if (status < 0)
    *message = sq_arena_fmt(a, "no linker for %s: neither a C compiler (cc) nor ld.lld was found",
                            t->triple);
  else if (status == 0)
    *message = sq_arena_fmt(a, "cannot write %s: %s", output, strerror(e));
  else
    *message = sq_arena_fmt(a, "%s failed (status %d): %s", program, status, said);
  return SQ_EWORLD;
}
