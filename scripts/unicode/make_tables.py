#!/usr/bin/env python3
"""Writes src/tokenizer/unicode_tables.cpp: the differences of Hugging Face `tokenizers` from Unicode 14.

    make_tables.py > src/tokenizer/unicode_tables.cpp

Needs tokenizers, and a Python whose unicodedata is 14.0 (3.11), the version of Debian's PCRE2 and
utf8proc. No file is read: every property of all code points comes from tokenizers.
"""

import sys
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERY = "".join(map(chr, CODES))
# In the order of utf8proc_category_t.
CATEGORIES = ("Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf "
              "Cs Co").split()
# A stand-in has the same script if a pattern is likely to name it.
SCRIPTS = ("Han", "Hiragana", "Katakana", "Hangul", "Latin", "Greek", "Cyrillic", "Arabic", "Hebrew",
           "Thai", "Devanagari")


def matched(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return {ord(c) for piece, _ in split.pre_tokenize_str(EVERY) for c in piece}


def isolated(pre_tokenizer):
    """The characters that are split from their neighbours, which are letters."""
    text = "".join("a" + chr(c) for c in CODES)
    pieces = pre_tokenizer.pre_tokenize_str(text)
    return {ord(piece) for piece, _ in pieces if len(piece) == 1 and piece != "a"}


def ranges(values):
    """{code: value} as [first, last, value]."""
    out = []
    for code in sorted(values):
        if out and out[-1][1] == code - 1 and out[-1][2] == values[code]:
            out[-1][1] = code
        else:
            out.append([code, code, values[code]])
    return out


def new_categories():
    """{code: new category} where Unicode 14 has another, and a stand-in for each."""
    now = {c: name for name in CATEGORIES if name != "Cs" for c in matched(rf"\p{{{name}}}")}
    script = {c: name for name in SCRIPTS for c in matched(rf"\p{{{name}}}")}
    changed = {c: now[c] for c in CODES if now[c] != unicodedata.category(chr(c))}
    first = {}
    for c in CODES:
        if c not in changed and c >= 0x800:
            first.setdefault((now[c], script.get(c), c > 0xFFFF), c)
    stand_in = {}
    for c, category in changed.items():
        wide = c > 0xFFFF
        key = (category, script.get(c), wide)
        stand_in[c] = first.get(key) or first[(category, None, wide)]
    return now, changed, stand_in


def inert():
    """Code points that normalization of Unicode 14 changes or moves, and that tokenizers leaves unchanged."""
    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    out = set()
    for c in CODES:
        for form, mine in (("NFD", nfd), ("NFKD", nfkd)):
            old, new = mine.normalize_str(chr(c)), unicodedata.normalize(form, chr(c))
            if old != new:
                if old != chr(c):
                    sys.exit(f"U+{c:04X}: {form} gives {old!r}, not {new!r} and not itself")
                out.add(c)
                if form == "NFD":
                    out.update(map(ord, new[1:]))  # characters that it would be composed with
        if unicodedata.combining(chr(c)):
            before, after = "a" + chr(c) + "\u0334", "a\u0345" + chr(c)
            if nfd.normalize_str(before) == before and nfd.normalize_str(after) == after:
                out.add(c)
    return out


def main():
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"unicodedata is {unicodedata.unidata_version}, not 14.0.0: use Python 3.11")
    now, changed, stand_in = new_categories()
    print(f"""// Written by scripts/unicode/make_tables.py with tokenizers {tokenizers.__version__}; do not edit.
// What Hugging Face `tokenizers` knows of characters beside Unicode 14.
#include "unicode.h"

namespace ram {{
namespace {{""")
    print("// clang-format off")
    kinds = {c: CATEGORIES.index(name) for c, name in changed.items()}
    body = []

    def add(name, values, note):
        body.append((name, values, note))

    add("kNewCategory", kinds, "Category (utf8proc_category_t) where Unicode 16 has another than 14.")
    add("kStandIn", stand_in, "A character of 14 with that category, of the same length in UTF-8.")
    punctuation = isolated(pre_tokenizers.Punctuation())
    add("kNotPunctuation", {c: 0 for c in CODES if now[c][0] == "P" and c not in punctuation},
        "Category P, and not punctuation.")
    strip = normalizers.StripAccents()
    marks = {c for c in CODES if not strip.normalize_str(chr(c))}
    add("kNotCombining", {c: 0 for c in CODES if now[c][0] == "M" and c not in marks},
        "Category M, and not dropped by StripAccents.")
    add("kCombining", {c: 0 for c in marks if now[c][0] != "M"}, "The other way round.")
    add("kInert", {c: 0 for c in inert() | set(changed)}, "What normalization leaves alone.")
    lower = normalizers.Lowercase()
    new_lower = {}
    for c in CODES:
        text = lower.normalize_str(chr(c))
        if text != chr(c).lower():
            if len(text) != 1:
                sys.exit(f"U+{c:04X}: lower case of several characters")
            new_lower[c] = ord(text)
    add("kNewLower", new_lower, "The lower case where it is another than in 14.")
    for name, values, note in body:
        print(f"\n// {note}\nconstexpr CodeRange {name}Table[] = {{")
        line = "   "
        for row in ranges(values):
            item = " {" + ", ".join(f"0x{v:X}" for v in row) + "},"
            if len(line) + len(item) > 98:
                print(line)
                line = "   "
            line += item
        print(line + "\n};")
    print("// clang-format on\n\n}  // namespace\n")
    for name, _, _ in body:
        print(f"const std::span<const CodeRange> {name} = {name}Table;")
    print("\n}  // namespace ram")
    # The rules that src/tokenizer/unicode.cpp states in words are true for every code point.
    numbers = isolated(pre_tokenizers.Digits(True))
    extra = set(range(0x11DE0, 0x11DEA)) | set(range(0x16FF4, 0x16FF7))
    assert numbers == {c for c in CODES if now[c][0] == "N"} | extra
    known = {c for c in CODES if now[c][0] == "P"} | set(map(ord, "$+<=>^`|~")) | {0x166D, 0x111C9}
    assert punctuation <= known


if __name__ == "__main__":
    main()
