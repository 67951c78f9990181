// A clock, and per-kernel times as a trace that Perfetto and chrome://tracing open.
#pragma once
#include "base/context.h"

double sq_clock(void); // seconds, monotonic
