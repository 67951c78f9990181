// Status codes: also the exit statuses of the command.
#pragma once

typedef enum sq_status {
  SQ_OK = 0,
  SQ_EMODEL = 1, // the model, weights or inputs are wrong
  SQ_EUSAGE = 2, // the caller's request is wrong (unknown entry, bad option)
  SQ_EWORLD = 3, // something outside failed: file, memory, linker, device; or a part not built
} sq_status;

#define SQ_TRY(e)                                                                                  \
  do {                                                                                             \
    sq_status try_ = (e);                                                                          \
    if (try_ != SQ_OK) return try_;                                                                \
  } while (0)

// Our own mistakes, never reached by any input and never the guard of one: prints and aborts.
_Noreturn void sq_bug(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define SQ_ASSERT(c, ...)                                                                          \
  do {                                                                                             \
    if (!(c)) sq_bug(__FILE__, __LINE__, "" __VA_ARGS__);                                          \
  } while (0)
