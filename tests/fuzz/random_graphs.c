// Random IR graphs through everything that runs graphs: graph_gen.h makes them, differ.h checks.
#include "tests/fuzz/graph_gen.h"

int main(int argc, char **argv) { return fz_main(argc, argv, gn_make); }
