/* How GPT-2 cuts a text before byte pairs are merged: pieces never share a token. */
#ifndef LONGHAUL_PIECES_H
#define LONGHAUL_PIECES_H

#include <stddef.h>
#include <stdint.h>

/* The code point at text, of `count` > 0 bytes, and its size. A byte that begins no UTF-8 character
 * counts as one of its own, outside every class. */
uint32_t character_at(const uint8_t *text, size_t count, int *size);

/* Bytes of the first piece of a text of count > 0 bytes, at least 1. Pieces are what this pattern
 * of Python's package regex finds (Radford et al. 2019):
 * 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
int64_t piece_bytes(const uint8_t *text, int64_t count);

#endif
