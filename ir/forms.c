// How each operation and scalar function is written: tables for the printer and the reader.
#include "ir/ir_text.h"

enum {
  PARAM = SQ_FORM_PARAM,
  STATE = SQ_FORM_STATE,
  GENERIC = SQ_FORM_GENERIC,
  EXTENT = SQ_FORM_EXTENT,
  SITE = SQ_FORM_SITE,
  AXIS = SQ_FORM_AXIS,
};
const sq_op_form sq_op_forms[SQ_OP_COUNT] = {
    [SQ_OP_GENERIC] = {.attrs = GENERIC},
    [SQ_OP_UPDATE] = {.attrs = GENERIC},
    [SQ_OP_CUMULATE] = {.attrs = SQ_FORM_MONOID | AXIS},
    [SQ_OP_SORT] = {.attrs = AXIS},
    [SQ_OP_ARGSORT] = {.attrs = AXIS},
    [SQ_OP_TOPK] = {.attrs = AXIS | EXTENT, .extent = "k"},
    [SQ_OP_RANDOM] = {.flag = {"normal"}, .flag_none = "uniform"},
    [SQ_OP_PARAM] = {.attrs = PARAM},
    [SQ_OP_PARAM_WRITE] = {.attrs = PARAM | GENERIC},
    [SQ_OP_STATE_READ] = {.attrs = STATE},
    [SQ_OP_STATE_WRITE] = {.attrs = STATE | GENERIC},
    [SQ_OP_RESERVE] = {.attrs = STATE},
    [SQ_OP_LIVE] = {.attrs = SQ_FORM_SYM | SITE},
    [SQ_OP_CHECK] = {.attrs = SITE},
    [SQ_OP_WHILE] = {.attrs = EXTENT | SQ_FORM_OPTIONAL_EXTENT, .extent = "limit"},
    [SQ_OP_SCAN] = {.attrs = EXTENT | SQ_FORM_CARRIED,
                    .extent = "extent",
                    .flag = {"reversed", "parallel"}},
    [SQ_OP_MAP] = {.attrs = SQ_FORM_AXES},
    [SQ_OP_CALL] = {.attrs = SQ_FORM_FUNC},
    [SQ_OP_GROUP] = {.attrs = SQ_FORM_OUTER},
    [SQ_OP_SWEEP] = {.attrs = EXTENT | SQ_FORM_OPTIONAL_EXTENT,
                     .extent = "chunk",
                     .flag = {"prefix", "newton", "dense"}},
};

const char *const sq_store_names[SQ_STORE_INNER + 1] = {
    [SQ_STORE_NONE] = "none",     [SQ_STORE_SLOT] = "slot",   [SQ_STORE_INPUT] = "input",
    [SQ_STORE_OUTPUT] = "output", [SQ_STORE_PARAM] = "param", [SQ_STORE_STATE] = "state",
    [SQ_STORE_INNER] = "inner",
};

const sq_infix sq_ewise_infix[SQ_EW_COUNT] = {
    [SQ_EW_ADD] = {"+", SQ_LEVEL_SUM},        [SQ_EW_SUB] = {"-", SQ_LEVEL_SUM},
    [SQ_EW_MUL] = {"*", SQ_LEVEL_PROD},       [SQ_EW_DIV] = {"/", SQ_LEVEL_PROD},
    [SQ_EW_FLOORDIV] = {"//", SQ_LEVEL_PROD}, [SQ_EW_MOD] = {"%", SQ_LEVEL_PROD},
    [SQ_EW_LT] = {"<", SQ_LEVEL_CMP},         [SQ_EW_LE] = {"<=", SQ_LEVEL_CMP},
    [SQ_EW_EQ] = {"==", SQ_LEVEL_CMP},        [SQ_EW_NE] = {"!=", SQ_LEVEL_CMP},
    [SQ_EW_AND] = {"and", SQ_LEVEL_AND},      [SQ_EW_OR] = {"or", SQ_LEVEL_OR},
};

bool sq_scalar_word(const char *s) {
  static const char *const word[] = {"acc",  "true", "false", "inf",  "nan",   "not",
                                     "and",  "or",   "where", "post", "at",    "guard",
                                     "else", "if",   "site",  "dim",  "select"};
  for (size_t k = 0; k < sizeof word / sizeof *word; k++)
    if (!strcmp(s, word[k])) return true;
  size_t skip = s[0] == 't' ? 1 : s[0] == 'i' && s[1] == 'n' ? 2 : 0; // t3, in2
  if (skip && s[skip] && !s[skip + strspn(s + skip, "0123456789")]) return true;
  return !strncmp(s, "acc_", 4) || !strncmp(s, "inf_", 4) || !strncmp(s, "nan_", 4);
}
