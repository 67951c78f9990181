// Part of `seqm explain`: a table of kernels with what each costs at least, for sizes given by --size.
#pragma once
#include "tools/cli.h"

// Are the sizes that are given sizes of the entries, and the threads a number that there can be?
sq_status sq_explain_check(const sq_cli *cli, const sq_graph *g);
// Nothing without --size. Entries that need a size that is not given are left out. States that grow count as empty.
sq_status sq_explain_costs(sq_cli *cli, const sq_graph *planned);
