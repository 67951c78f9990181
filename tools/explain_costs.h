// `seqm explain --size`: what kernels cost at least, how contractions and attention are cut, and the
// time expected of them.
#pragma once
#include "codegen/codegen.h"
#include "tools/cli.h"

// SQ_EUSAGE, with a message, when a --size names no size of an entry that is asked for.
sq_status sq_explain_check(const sq_cli *cli, const sq_graph *g);
sq_status sq_explain_costs(sq_cli *cli, sq_graph *g, const sq_target *t);
