#!/usr/bin/env python3
"""Writes the results of each single component of Hugging Face `tokenizers` on small cases.

    make_components.py     # rewrites components/components.json beside it

Needs tokenizers; nothing is trained or fetched, so every run writes the same file. Keys:
  "normalizer", "pre_tokenizer", "decoder"   [{"json": the component, "cases": [[in, out], ...]}]
  "post_processor"                           [{"json", "prefix": ids, "suffix": ids}]
  "tokenizer"                                [{"json": tokenizer.json, "cases": [[text, ids or null], ...]}]
A null is an error of `tokenizers` on that text. Decoders take lists of tokens; inputs that make `tokenizers` panic are
left out.
"""

import itertools
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from tokenizers import pre_tokenizers as pre

TEXTS = [
    "", " ", "  a  b ", "a", "Hello, World!", "a\tb\r\nc", "x1y22z333", "it's", "naïve ÉCOLE", "e\u0301\u0323 ﬁ ½ Å", "İstanbul ẞΣ",
    "▁a ▁▁ b", "狐 ひらがな、カ", "\U0001f468\u200d\U0001f469 \u2764\ufe0f", "a\u00a0b\u3000c\u2028d\u0085e\u200bf\ufeffg",
    "\x00\x01\x1f\x7f\x9f", "\ufffd\U0010ffff\u0378", "\u0301\u0315\u0300\u05ae", "aaaa", "aXbXXc", "_a_b-c", "ﷺ", "\u1112\u1161\u11ab 한",
]  # fmt: skip
TOKEN_LISTS = [
    [], ["a"], ["▁a", "▁b", "c"], ["Ġa", "b", "Ċ"], ["<0x41>", "<0xe2>", "<0x96>", "<0x81>", "x"], ["<0xFF>", "<0x41>", "y"],
    ["<0x4>", "<0xGG>", "<0x00>"], ["a</w>", "b</w>", "c"], [" a", "  b ", "c  "], ["aa", "aXa", "XX"], ["Ã", "©", "Ãx", "ĠÐ"],
    ["▁▁", "▁", "a▁b"], ["é", "狐", "\U0001f600"], ["", "a", ""], ["</w>", "</w></w>"],
]  # fmt: skip


def normalizer_kinds():
    n = normalizers
    yield from (n.NFC(), n.NFD(), n.NFKC(), n.NFKD(), n.Lowercase(), n.StripAccents(), n.Nmt(), n.ByteLevel())
    yield from (n.Strip(left, right) for left in (True, False) for right in (True, False))
    yield from (n.Prepend(text) for text in ("▁", "ab", " "))
    for what in (" ", "a", "aa", "X", "é", Regex(r"\s+"), Regex("[aeiou]"), Regex("a*"), Regex("(?=b)"), Regex("^")):
        yield from (n.Replace(what, by) for by in ("", "▁", "aa"))
    yield n.Sequence([])
    yield n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")])
    yield n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase(), n.Sequence([n.Strip(True, True), n.Prepend("x")])])
    yield n.Sequence([n.Replace("a", "aa"), n.Replace("a", "aa"), n.Replace(Regex("a+"), "b")])


def pre_tokenizer_kinds():
    yield from (pre.Whitespace(), pre.WhitespaceSplit(), pre.BertPreTokenizer(), pre.CharDelimiterSplit("X"))
    yield from (pre.Digits(one) for one in (True, False))
    yield from (pre.FixedLength(n) for n in (1, 2, 5))
    yield from (pre.ByteLevel(add_prefix_space=a, use_regex=b) for a in (True, False) for b in (True, False))
    for scheme in ("always", "first", "never"):
        yield from (pre.Metaspace("▁", scheme, cut) for cut in (True, False))
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        yield pre.Punctuation(behavior)
        for what in (" ", "a", Regex(r"\d"), Regex("a*"), Regex("(?=b)")):
            yield from (pre.Split(what, behavior, invert) for invert in (True, False))
    yield pre.Sequence([])
    yield pre.Sequence([pre.WhitespaceSplit(), pre.Digits(True), pre.Punctuation("isolated")])
    yield pre.Sequence([pre.Whitespace(), pre.Sequence([pre.FixedLength(3), pre.Metaspace("▁", "always", True)])])
    yield pre.Sequence([pre.ByteLevel(add_prefix_space=False, use_regex=False)] * 2)


def decoder_kinds():
    d = decoders
    yield from (d.ByteLevel(), d.ByteFallback(), d.Fuse(), d.BPEDecoder("</w>"), d.BPEDecoder("a"))
    yield from (d.Strip(c, left, right) for c in (" ", "a", "▁") for left in (0, 1, 3) for right in (0, 1))
    for scheme in ("always", "first", "never"):
        yield d.Metaspace("▁", scheme, True)
    for what in ("▁", "a", "X", Regex("[aX]+"), Regex("b*")):
        yield from (d.Replace(what, by) for by in ("", " ", "aa"))
    yield d.Sequence([])
    yield d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    yield d.Sequence([d.Fuse(), d.Replace("a", "aa"), d.Sequence([d.Replace("aa", "b"), d.Fuse()])])
    yield d.Sequence([d.ByteFallback(), d.Metaspace("▁", "always", True)])


def post_processor_kinds():
    p = processors
    yield p.ByteLevel()
    yield p.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    yield p.TemplateProcessing("$A </s>", "$A $B", [("</s>", 2)])
    yield p.TemplateProcessing("<s> <t> $A </s> </s>", "$A $B", [("<s>", 1), ("<t>", 3), ("</s>", 2)])
    yield p.TemplateProcessing("$0", "$A $B", [])
    yield p.RobertaProcessing(("</s>", 2), ("<s>", 1))
    yield p.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    yield p.Sequence([p.ByteLevel(), p.TemplateProcessing("<s> $A", None, [("<s>", 1)])])


def part(tokenizer, name):
    return json.loads(tokenizer.to_str())[name]


def component(kind, name):
    t = Tokenizer(models.BPE(vocab={"<pad>": 0, "<s>": 1, "</s>": 2, "<t>": 3}, merges=[]))
    setattr(t, name, kind)
    return part(t, name)


def post_processor(kind):
    t = Tokenizer(models.BPE(vocab={"<pad>": 0, "<s>": 1, "</s>": 2, "<t>": 3, "x": 4}, merges=[]))
    t.post_processor = kind
    ids = t.encode("x").ids
    at = ids.index(4)
    return {"json": part(t, "post_processor"), "prefix": ids[:at], "suffix": ids[at + 1 :]}


def bpe_kinds():
    """Models over a small alphabet: unknown characters, bytes, affixes, merges that compete."""
    letters = ["<unk>", "a", "b", "c", " ", "ab", "bc", "abc", "aa", "aaa"]
    merges = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "a"), ("aa", "a")]
    vocab = {token: i for i, token in enumerate(letters)}
    texts = ["", "a", "abc", "abcabc", "bc", "aaaa", "aaaaaaa", "cab ba", "ax", "xa", "xx", "axxb", "é", "aéb狐c", "x", " ",
             "ab" * 30, "abcxaab"]  # fmt: skip
    for unk, fuse in itertools.product((None, "<unk>", "<absent>"), (False, True)):
        yield models.BPE(vocab=vocab, merges=merges, unk_token=unk, fuse_unk=fuse), texts
    yield models.BPE(vocab=vocab, merges=merges[::-1]), texts
    yield models.BPE(vocab=vocab, merges=merges, ignore_merges=True, unk_token="<unk>"), texts
    more = {**vocab, **{f"<0x{i:02X}>": len(vocab) + i for i in range(256)}}
    few = {token: i for token, i in more.items() if token != "<0xC3>"}
    few = {token: i for i, token in enumerate(few)}
    for table, unk in itertools.product((more, few), (None, "<unk>", "<absent>")):
        yield models.BPE(vocab=table, merges=merges, unk_token=unk, byte_fallback=True, fuse_unk=True), texts
        yield models.BPE(vocab=table, merges=merges, unk_token=unk, byte_fallback=True), texts
    prefixed = {token: i for i, token in enumerate(["<unk>", "a", "b", "##a", "##b", "ab", "##ab", "aab"])}
    yield models.BPE(vocab=prefixed, merges=[("a", "##b"), ("##a", "##b"), ("a", "##ab")], unk_token="<unk>",
                     continuing_subword_prefix="##"), texts  # fmt: skip
    ended = {token: i for i, token in enumerate(["<unk>", "a", "b", "a</w>", "b</w>", "ab</w>", "aab</w>"])}
    yield models.BPE(vocab=ended, merges=[("a", "b</w>"), ("a", "ab</w>")], unk_token="<unk>",
                     end_of_word_suffix="</w>"), texts  # fmt: skip


def added_kinds():
    texts = ["<m>", "a<m>b", "a <m> b", "  <m>  ", "<m><m>", "x<M>y", "x<mm>y", "<m", "ab<m>ab", "WORD", "aWORDb", "a WORD b", "WORDWORD",
             "word", "a  WORD  <m>", "<m>WORD<m>", "é<m>é", "_WORD_", "<s>a</s>", ""]  # fmt: skip
    for single, left, right, normalized in itertools.product((False, True), repeat=4):
        flags = {"single_word": single, "lstrip": left, "rstrip": right, "normalized": normalized}
        yield [AddedToken("<m>", **flags), AddedToken("<mm>", **flags), AddedToken("WORD", **flags)], texts
    yield [AddedToken("<m>", normalized=True), AddedToken("<m>x", normalized=False), AddedToken("a", normalized=False)], texts
    yield [AddedToken("ab", normalized=True), AddedToken("AB", normalized=True), AddedToken("b", normalized=False)], texts


def decoded(kind):
    cases = []
    for tokens in TOKEN_LISTS:
        try:
            cases.append([tokens, kind.decode(tokens)])
        except BaseException as error:  # Strip panics on an empty token
            if isinstance(error, KeyboardInterrupt):
                raise
    return cases


def outcome(tokenizer, text):
    try:
        return tokenizer.encode(text, add_special_tokens=False).ids
    except Exception:  # it raises a plain Exception
        return None


def with_cases(tokenizer, texts):
    return {"json": tokenizer.to_str(), "cases": [[text, outcome(tokenizer, text)] for text in texts]}


def tokenizers():
    for model, texts in bpe_kinds():
        yield with_cases(Tokenizer(model), texts)
    letters = sorted(set("abcdefghijklmnopqrstuvwxyzWORDM<>/ é_"))
    for added, texts in added_kinds():
        t = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
        t.normalizer = normalizers.Lowercase()
        t.add_tokens(added)
        t.add_special_tokens(["<s>", "</s>"])
        yield with_cases(t, texts)


def main():
    out = {
        "normalizer": [{"json": component(kind, "normalizer"), "cases": [[t, kind.normalize_str(t)] for t in TEXTS]}
                       for kind in normalizer_kinds()],
        "pre_tokenizer": [{"json": component(kind, "pre_tokenizer"),
                           "cases": [[t, [piece for piece, _ in kind.pre_tokenize_str(t)]] for t in TEXTS]}
                          for kind in pre_tokenizer_kinds()],
        "decoder": [{"json": component(kind, "decoder"), "cases": decoded(kind)} for kind in decoder_kinds()],
        "post_processor": [post_processor(kind) for kind in post_processor_kinds()],
        "tokenizer": list(tokenizers()),
    }  # fmt: skip
    path = Path(__file__).parent / "components" / "components.json"
    path.parent.mkdir(exist_ok=True)
    lines = []
    for name, entries in out.items():
        rows = ",\n".join("  " + json.dumps(entry, ensure_ascii=True) for entry in entries)
        lines.append(f'"{name}": [\n{rows}\n]')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(path, {name: len(entries) for name, entries in out.items()}, path.stat().st_size)


if __name__ == "__main__":
    main()
