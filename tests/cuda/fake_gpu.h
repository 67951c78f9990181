// What a test may ask of the driver that is none (fake_gpu.c): by dlsym on the library that the runtime
// has loaded.
#pragma once

typedef struct fake_gpu {
  // Everything is as at first, but for what is alive.
  void (*reset)(void);
  // The nth call (from 1) of `function` from now on gives `code`; NULL: of all that can fail.
  void (*fail)(const char *function, long nth, int code);
  long (*calls)(const char *function); // since reset; NULL: of all that can fail
  long (*alive)(void);                 // allocations, modules, streams, events, contexts
  const char *(*faults)(void);         // what was wrong in how it was called; "" for nothing
  const void *(*look)(unsigned long long address); // the bytes behind an address of the device
  unsigned long long (*allocate)(unsigned long long bytes); // as another library would
  void (*free)(unsigned long long address);
} fake_gpu;
