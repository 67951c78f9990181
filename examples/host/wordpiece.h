// WordPiece tokeniser of uncased BERT models: text (UTF-8) to ids of a vocabulary file.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct wordpiece wordpiece;
// Reads vocab.txt, a token a line, its id the line's number from 0. NULL, with *why set, on failure
// (unreadable file, or without [CLS], [SEP], [UNK]).
wordpiece *wordpiece_open(const char *path, const char **why);
void wordpiece_close(wordpiece *w);
// Writes [CLS] tokens [SEP], at most `cap` ids (cap >= 2; longer texts are cut before [SEP]). Bytes
// that are not UTF-8 count as U+FFFD, which is dropped. Returns how many; 0 when there is no memory.
size_t wordpiece_encode(const wordpiece *w, const char *text, int32_t *ids, size_t cap);
