// What the printer, the reader, the verifier and the text of dimensions share.
#pragma once
#include "ir/ir.h"

// Letters, digits, `_` and `.`, not beginning with a digit or a dot.
bool sq_ir_name_plain(const char *s);
// In double quotes, with escapes \" \\ \n \xHH.
void sq_ir_string_print(sq_text *t, const char *s);
// Plain, or quoted when it is not; of a symbol also when it would read as a function.
void sq_ir_name_print(sq_text *t, const char *name);
void sq_ir_symbol_print(sq_text *t, const char *name);

// Which attributes an operation has; the text gives them in this order.
enum {
  SQ_FORM_PARAM = 1,     // @name, and [%instance]
  SQ_FORM_STATE = 2,     // @name, and [%instance]
  SQ_FORM_FUNC = 4,      // @name
  SQ_FORM_SYM = 8,       // a symbol
  SQ_FORM_MONOID = 16,   // its name
  SQ_FORM_AXIS = 32,     // axis 1
  SQ_FORM_EXTENT = 64,   // the word `extent`, then a size
  SQ_FORM_CARRIED = 128, // carried 2
  SQ_FORM_OUTER = 256,   // outer 1
  SQ_FORM_GENERIC = 512, // axes and scalar part
  SQ_FORM_AXES = 1024,   // axes alone
  SQ_FORM_SITE = 2048,   // site 3
  SQ_FORM_OPTIONAL_EXTENT = 4096,
};
enum { SQ_FORM_FLAGS = 3 };
typedef struct sq_op_form {
  uint32_t attrs;
  const char *extent;              // the word before the size
  const char *flag[SQ_FORM_FLAGS]; // words for the bits of `flag`
  const char *flag_none; // word for flag == 0, when the first bit's word must have an opposite
} sq_op_form;
extern const sq_op_form sq_op_forms[SQ_OP_COUNT];
extern const char *const sq_store_names[SQ_STORE_INNER + 1];

// Binary scalar functions that are written as operators; NULL: by name and parentheses.
typedef struct sq_infix {
  const char *text;
  int level; // binding strength; comparisons do not chain
} sq_infix;
extern const sq_infix sq_ewise_infix[SQ_EW_COUNT];
enum {
  SQ_LEVEL_NONE,
  SQ_LEVEL_OR,
  SQ_LEVEL_AND,
  SQ_LEVEL_NOT,
  SQ_LEVEL_CMP,
  SQ_LEVEL_SUM,
  SQ_LEVEL_PROD,
  SQ_LEVEL_ATOM
};
// Words that cannot name an axis.
bool sq_scalar_word(const char *s);
