#!/usr/bin/env python3
"""Trains tiny tokenizers of every kind and writes the ids that Hugging Face `tokenizers` gives for some texts.

    make_vectors.py        # rewrites the files beside it: <kind>.json, patterns/patterns.json

The trainer chooses among equally frequent pairs at random: every run gives other tokenizers.
Needs tokenizers. Nothing is fetched: the text to train on is written below. A file has the keys
"tokenizer" (tokenizer.json's text) and "cases": [{"text", "ids", "special", "decoded", "plain"}], with
the ids without and with special tokens, and the text of the latter with and without special tokens.
tests/interop/check_tokenizer.py trains the same kinds and compares them on far more text.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog; the dog didn't mind, and it's fine. We'll see!",
    "def main(argc, argv):\n    return 0  # nothing here\n\n\tfor (int i = 0; i < 10; ++i) { x[i] += 1; }",
    "In 1984 there were 1234567 people, 3.14 pies and 42 more. A week has 7 days, 24 hours each.",
    "Größe, naïve café, Ünïcödé; ÆSIR, ǅ, ﬁ and ½ of it. Ça va? El niño comió piñas, ¿verdad?",
    "Быстрая лиса прыгает через ленивую собаку. Η γρήγορη αλεπού πηδά πάνω από τον σκύλο.",
    "素早い茶色の狐は怠けた犬を飛び越える。ひらがなとカタカナ。快速的棕色狐狸跳过懒狗。빠른 갈색 여우가 넘는다.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول. השועל החום המהיר קופץ. तेज़ भूरी लोमड़ी कूदती है।",
    "\u0e2a\u0e38\u0e19\u0e31\u0e02\u0e08\u0e34\u0e49\u0e07\u0e08\u0e2d\u0e01 \U0001f600 \U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
]
TEXTS = [
    "", " ", "  two  spaces  ", "\n", " \n\n \t x\r\n", "Hello world", " hello", "The dog's 12345 days, we'LL",
    "don'T 'S it's 'ſ K'RE", "naïve cafe\u0301 e\u0301\u0323 \u1e9b\u0323 ﬁ ½ Å \u212b", "x=1;\n\n\treturn  x\n",
    "İstanbul ẞ ΑΣ ǅ", "素早い狐。ひらがな 123 カタカナ〇", "빠른 갈색 \u1112\u1161\u11ab", "тест ТЕСТ", "हिन्दी ٣٤٥ ไทย",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f600\U0001f600 \u2764\ufe0f", "a\u00a0b\u3000c\u2028d\u0085e\u180ef\u200bg\ufeffh",
    "<s>a</s> <s> b <mask> c <mask>d WORD words WORD <norm> x <NORM>", "▁a ▁▁ b▁", "<0x41> <unk>",
    "\x00\x01\x7f\x9f", "\ufffd \U00010ffff \u0378", "\U0001f6dc \U0001fae8 \U00031350 \u0cf3 \U00011f02",
    "\u1c89 \u1c8a \U00010d50 \U00010d70", "!?!...---((([[[$$$```~~~", "1 22 333 4444 55555 ²³¹ Ⅷ ½", "a" * 70, " " * 70,
    "\u0301\u0301 \u0315\u0300\u05ae\u0300", "_under_score CamelCase snake_case", "\r\r\n\n \r \n",
]  # fmt: skip
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = GPT4.replace("{1,3}", "")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# One of every construct; their splits are in patterns/patterns.json.
PATTERNS = [
    r"a{2,3}+", r"a{2}?b", r"a{2,3}?", r"(?i)ab|cd", r"x(?i)ab|cd", r"(?i:ss|K)", r"^a|b$", r"(?m:.)b", r"a{,2}", "a{x", "a}",
    "[]a]", "[a-]", "[-a]", r"[a\-z]", r"\bfoo\b", r"\Ba", r"\A.", r".\z", r".\Z", r"\R", r"[^\S\n]+", r"\w+", r"\W+", r"[\w]+",
    r"[^\W_]+", r"\h+", r"\H+", "[[:^space:]]+", "[[:upper:]]+", "[[:digit:]]+", "[[:punct:]]+", r"\p{Punct}+", "[[:word:]]+",
    r"\p{Han}+", r"\p{Hiragana}+", r"\p{^L}+", r"\P{L}+", r"\p{Uppercase_Letter}", "[a-z&&[^aeiou]]+", "[^a-z&&[^aeiou]]+", r"(a)\1",
    r"(?<x>a)\k<x>", "(?>a+)b", "a*+b", "(?<=a)b", "(?<!a)b", "(?=b)a|b", r"\x61|\x{62}|\u0063", r"\t|\n|\v|\f|\r", "a**", "(a|b)*?c",
    "(?#note)a", r"\p{L}\p{M}*", r"\s+$", r"\s+(?!\S)", r"\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$))", r"[\u4e00-\u9fa5]+", "|a", "(?i)[a-c]+",
    r"[\b]", r"[\101-\103]", r"\p{Cn}+", r"\p{Sc}", "(?i:'s|'t)", "[[a-c][x-z]]+", "[^[a-c]x]+", "[^]]+", "(?i:[k-s])+",
]  # fmt: skip
PATTERN_TEXTS = [
    "aaab aaaab ab AB abAB cd CD xcd xAB ss SS ſs K k a\nb\nab\n", "foo foo-bar xfoo foo_ foo", "漢字ひらがなカタカナ한국어 e\u0301",
    "1234567 12.5 1,000 ²³ Ⅷ ٣٤٥ €$+", "\t\v\f\r\n \u3000 \u00a0\u2028 x \r\n\r\n", "a{x a} a{,} ]a[-a-] aacbcc\x07\x08",
    "\u0378\U00031350\U0001f6dc\u0cf3 don'T 'S 'ſ [x] _-_",
]
SENTENCEPIECE = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])  # fmt: skip
BEHAVIORS = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")


def byte_level(**options):
    return pre.ByteLevel(**{"add_prefix_space": False, "use_regex": False, **options})


def regex(pattern, behavior="isolated", invert=False):
    return pre.Split(Regex(pattern), behavior, invert)


def begin(token="<s>"):
    return lambda t: processors.TemplateProcessing(f"{token} $A", None, [(token, t.token_to_id(token))])


def begin_and_end(t):
    ids = [("<s>", t.token_to_id("<s>")), ("</s>", t.token_to_id("</s>"))]
    return processors.TemplateProcessing("<s> $A </s>", "$A $B", ids)


def roberta(t):
    return processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))


def kinds():
    """name -> the parts of the tokenizer; see build()."""
    sp = {"model": {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}, "bytes": True,
          "decoder": SENTENCEPIECE, "post": begin()}
    both = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    out = {
        "gpt2": {"pre": byte_level(use_regex=True), "post": lambda t: processors.ByteLevel()},
        "gpt2-prefix-space": {"pre": byte_level(use_regex=True, add_prefix_space=True), "post": roberta},
        "llama3": {"pre": pre.Sequence([regex(GPT4), byte_level()]), "model": {"ignore_merges": True},
                   "post": begin()},
        "qwen": {"norm": normalizers.NFC(), "pre": pre.Sequence([regex(QWEN), byte_level()])},
        "o200k": {"pre": pre.Sequence([regex(O200K), byte_level()])},
        "deepseek": {"pre": pre.Sequence([regex(r"\p{N}{1,3}"), regex("[一-龥぀-ゟ゠-ヿ]+"), regex(DEEPSEEK),
                                          byte_level()])},
        "nested-brackets": {"pre": pre.Sequence([regex(r" ?[^(\s|[.,!?…。，、।۔،])]+"), byte_level()])},
        "words": {"pre": pre.Sequence([regex(r"\b\w+\b|[[:punct:]]+|\h{2}|[^\W\d_]&&[a-z]|[\S&&[^a-m]]|(?m:.)$"),
                                       byte_level()])},
        "digits": {"pre": pre.Sequence([pre.Digits(True), byte_level(use_regex=True)])},
        "byte-level-normalizer": {"norm": normalizers.ByteLevel(), "pre": regex("Ġ+", "merged_with_next")},
        "llama2": {**sp, "norm": both},
        "gemma": {**sp, "norm": normalizers.Replace(" ", "▁"), "pre": pre.Split(" ", "merged_with_previous"),
                  "decoder": decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])},
        "whitespace": {"pre": pre.Whitespace(), "norm": normalizers.NFKD(), "decoder": None,
                       "model": {"unk_token": "<unk>"}},
        "bert-like": {"pre": pre.BertPreTokenizer(), "decoder": None, "model": {"unk_token": "<unk>", "fuse_unk": True},
                      "norm": normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(),
                                                    normalizers.StripAccents()])},
        "suffix": {"pre": pre.Sequence([pre.WhitespaceSplit(), pre.Punctuation("isolated")]),
                   "norm": normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                                 normalizers.Lowercase()]),
                   "model": {"end_of_word_suffix": "</w>", "unk_token": "<unk>"}, "decoder": decoders.BPEDecoder("</w>"),
                   "post": roberta},
        "prefix": {"pre": pre.Sequence([pre.CharDelimiterSplit(" "), pre.Digits(False)]), "decoder": None,
                   "norm": normalizers.NFKC(), "model": {"continuing_subword_prefix": "##", "unk_token": "<unk>"}},
        "strip": {"pre": pre.FixedLength(4), "decoder": decoders.Fuse(), "model": {"unk_token": "<unk>"},
                  "norm": normalizers.Sequence([normalizers.Nmt(), normalizers.Strip(True, True)]),
                  "post": begin_and_end},
    }  # fmt: skip
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            out[f"metaspace-{scheme}-{'cut' if cut else 'whole'}"] = {
                **sp, "pre": pre.Metaspace("▁", scheme, cut), "decoder": decoders.Metaspace("▁", scheme, cut)}  # fmt: skip
    for behavior in BEHAVIORS:
        for invert in (False, True):
            pattern = regex(r"\s|[aeiou]+|(?=x)", behavior, invert)
            out[f"split-{behavior.replace('_', '-')}{'-inverted' if invert else ''}"] = {
                "pre": pre.Sequence([pattern, byte_level()])}  # fmt: skip
    return out


def build(kind, corpus, size):
    """A trained tokenizer with added tokens of every sort."""
    options = {"unk_token": None, **kind.get("model", {})}
    prefix, suffix = options.get("continuing_subword_prefix"), options.get("end_of_word_suffix")
    t = Tokenizer(models.BPE(**{k: v for k, v in options.items() if v is not None}))
    t.normalizer, t.pre_tokenizer = kind.get("norm"), kind.get("pre")
    special = ["<unk>", "<s>", "</s>"] + ([f"<0x{i:02X}>" for i in range(256)] if kind.get("bytes") else [])
    affixes = {k: v for k, v in (("continuing_subword_prefix", prefix), ("end_of_word_suffix", suffix)) if v}
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=size + len(special), special_tokens=special,
                                                      limit_alphabet=size // 2, show_progress=False, **affixes))
    if kind.get("bytes"):
        # Bytes are tokens only of the model: written out in a text, they are text.
        document = json.loads(t.to_str())
        document["added_tokens"] = document["added_tokens"][:3]
        t = Tokenizer.from_str(json.dumps(document))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    t.add_tokens([AddedToken("WORD", single_word=True), AddedToken("<norm>", normalized=True, rstrip=True),
                  AddedToken("\n\n\n", normalized=False)])  # fmt: skip
    t.decoder = kind.get("decoder", decoders.ByteLevel())
    if kind.get("post"):
        t.post_processor = kind["post"](t)
    return t


def case(t, text):
    special = t.encode(text).ids
    return {"text": text, "ids": t.encode(text, add_special_tokens=False).ids, "special": special,
            "decoded": t.decode(special, skip_special_tokens=False), "plain": t.decode(special)}  # fmt: skip


def pieces(pattern, text):
    return [piece for piece, _ in regex(pattern).pre_tokenize_str(text)]


def main():
    folder = Path(__file__).parent
    for name, kind in kinds().items():
        t = build(kind, CORPUS, 160)
        document = {"tokenizer": t.to_str(), "cases": [case(t, text) for text in TEXTS]}
        text = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
        (folder / f"{name}.json").write_text(text + "\n")
    cases = [{"pattern": p, "text": t, "pieces": pieces(p, t)} for p in PATTERNS for t in PATTERN_TEXTS]
    (folder / "patterns").mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in cases)
    (folder / "patterns" / "patterns.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
