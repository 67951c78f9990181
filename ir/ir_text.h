// Lexical matters that the printer, the reader and the text of dimensions share.
#pragma once
#include "base/text.h"

// Letters, digits, `_` and `.`, not beginning with a digit or a dot.
bool sq_ir_name_plain(const char *s);
// In double quotes, with escapes \" \\ \n \xHH.
void sq_ir_string_print(sq_text *t, const char *s);
// Plain, or quoted when it is not.
void sq_ir_name_print(sq_text *t, const char *name);
