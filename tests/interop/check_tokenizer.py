"""Ids and texts of ram tokenize must equal those of Hugging Face `tokenizers`.

Tokenizers: the bundled model's, every kind of tests/vectors/tokenizer trained here, and real ones
beside the clone if they exist. Texts: generated in many scripts, every code point, odd whitespace,
broken UTF-8; and files beside the clone.
"""

import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import support
from tokenizers import Tokenizer

sys.path.insert(0, str(support.ROOT / "tests" / "vectors" / "tokenizer"))
import make_vectors  # noqa: E402

SHARED = support.ROOT.parent / "shared" / "data"
SCRIPTS = [(0x20, 0x7F), (0x9, 0xE), (0xA0, 0x250), (0x250, 0x370), (0x300, 0x370), (0x370, 0x530),
           (0x590, 0x700), (0x900, 0xE80), (0x1000, 0x1200), (0x1E00, 0x2070), (0x2000, 0x2070),
           (0x2070, 0x2C00), (0x2E80, 0x3400), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xF900, 0xFB50),
           (0xFE00, 0x10000), (0x1D400, 0x1D800), (0x1F300, 0x1FB00), (0x20000, 0x20100)]  # fmt: skip
ODD = [" ", "  ", "\n", "\t", " \n", "\r\n", "\u3000", "\u00a0", "'s", "'LL", "'ſ", "123456", "...", "<s>",
       "</s>", " <s> ", "<|endoftext|>", "<|im_start|>", "<mask>", "WORD", "<norm>", "▁", "<0x41>", "e\u0301",
       "\u200d", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\u2126", "\x00"]  # fmt: skip
# Kinds that together use every property of characters; all code points take seconds each.
PROPERTIES = {"o200k", "qwen", "words", "digits", "whitespace", "bert-like", "prefix", "strip", "llama2"}
SURROGATES = range(0xD800, 0xE000)
# Planes 4 to 13 have no characters and 15 and 16 only private ones: a sixteenth of these is enough.
EVERY = [chr(c) for c in range(0x110000) if c not in SURROGATES and (c < 0x40000 or c % 16 == 0 or c >> 16 == 14)]


def mixed(rng, size):
    """Short runs of one script each, with unusual characters between them."""
    out = []
    while sum(map(len, out)) < size:
        low, high = rng.choice(SCRIPTS)
        out.append("".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 9))))
        if rng.random() < 0.3:
            out.append(rng.choice(ODD))
    return "".join(out)


def generated():
    """Bytes of texts; broken UTF-8 among them."""
    rng = random.Random(20)
    texts = [mixed(rng, 100_000), "".join(rng.choice(EVERY) for _ in range(50_000))]
    # Each code point alone, between letters, spaces, and its neighbours.
    texts += ["".join(EVERY), " ".join(EVERY), "a".join(EVERY)]
    texts += [" " * 100_000 + "x", "a" * 100_000, "\n \n" * 30_000, "한글" * 20_000, "\u0301\u0315" * 2_000, "-=" * 30_000]
    texts += [mixed(rng, 200) for _ in range(2)]
    broken = [bytes(rng.randrange(256) for _ in range(50_000))]
    return [text.encode() for text in texts] + broken


def files():
    """Real text and code beside the clone: megabytes."""
    found = [SHARED / name for name in ("eval/wiki.test.raw", "text/wiki.txt", "text/code.txt", "text/c4_sample.jsonl")]
    for path in found:
        if not path.exists():
            print(f"skipped: interop: {path} does not exist")
    return [path.read_bytes()[:200_000] for path in found if path.exists()]


def real_folders():
    groups = [[support.ROOT / "models" / "demo"], sorted(SHARED.glob("tokenizers/*")), sorted(SHARED.glob("models/*"))]
    if not groups[1]:
        print(f"skipped: interop: {SHARED / 'tokenizers'} does not exist")
    return [folder for group in groups for folder in group if (folder / "tokenizer.json").exists()]


def run(folder, data, *options):
    done = subprocess.run([support.RAM, "tokenize", str(folder), *options], input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{folder} {options}: status {done.returncode}\n{done.stderr.decode()}")
    return done.stdout


def difference(folder, texts):
    """The first difference between ram and tokenizers as a line, or None."""
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for index, data in enumerate(texts):
        text = data.decode(errors="replace")
        for options, special in (((), False), (("--special",), True))[: 2 if index == 0 else 1]:
            # Without offsets, which are not needed here: 40 % less time.
            wanted = theirs.encode_batch_fast([text], add_special_tokens=special)[0].ids
            found = [int(word) for word in run(folder, data, *options).split()]
            if found != wanted:
                at = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b),
                          min(len(found), len(wanted)))  # fmt: skip
                return f"{text[:60]!r}...: id {at}: ram {found[at:at + 5]}, tokenizers {wanted[at:at + 5]}"
        decoded = run(folder, " ".join(map(str, found)).encode(), "--decode").decode()
        if decoded != theirs.decode(found, skip_special_tokens=False):
            return f"decoded {text[:60]!r}..."
    return None


class TokenizerIds(unittest.TestCase):
    def compare(self, cases):
        """`cases` are pairs of a folder and its texts; they take minutes, so each processor gets a process."""
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            compared = [(folder, pool.submit(difference, folder, texts)) for folder, texts in cases]
            for folder, result in compared:
                with self.subTest(tokenizer=folder.name):
                    self.assertIsNone(result.result())

    def test_real_tokenizers(self):
        texts = generated() + files()
        distinct = {(folder / "tokenizer.json").read_bytes(): folder for folder in real_folders()}
        self.compare([(folder, texts) for folder in distinct.values()])

    def test_tokenizers_of_every_kind_trained_here(self):
        rng = random.Random(5)
        corpus = make_vectors.CORPUS + [mixed(rng, 2_000) for _ in range(10)]
        texts = ["\n".join(make_vectors.TEXTS), mixed(rng, 20_000), "".join(rng.choice(EVERY) for _ in range(20_000))]
        texts = [text.encode() for text in texts] + [bytes(rng.randrange(256) for _ in range(20_000))]
        every = " ".join(EVERY).encode()
        with tempfile.TemporaryDirectory(prefix="ram-tokenizer-") as scratch:
            cases = []
            for name, kind in make_vectors.kinds().items():
                folder = Path(scratch) / name
                folder.mkdir()
                make_vectors.build(kind, corpus, 500).save(str(folder / "tokenizer.json"))
                cases.append((folder, texts + ([every] if name in PROPERTIES else [])))
            self.compare(cases)

    def test_merges_as_strings_and_as_pairs_are_the_same(self):
        with tempfile.TemporaryDirectory(prefix="ram-tokenizer-") as scratch:
            document = json.loads((support.ROOT / "models/demo/tokenizer.json").read_text())
            merges = document["model"]["merges"]
            document["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m for m in merges]
            (Path(scratch) / "tokenizer.json").write_text(json.dumps(document))
            self.compare([(Path(scratch), generated()[:2])])
