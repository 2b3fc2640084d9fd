"""The texts, the tokenizer trained on them, and the training tokens.

    python data.py --work /tmp/demo-train
"""

import argparse
import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from documents import documents
from world import SEPARATOR, World, make_questions

TRAIN_SEED, HELDOUT_SEED, QUESTION_SEED = 1, 2, 3


def text_of(world, seed, size):
    """Documents of one seed, each after a separator, until there are `size` characters."""
    parts, length = [], 0
    for document in documents(world, seed):
        parts.append(SEPARATOR + document)
        length += len(parts[-1])
        if length >= size:
            return parts


def train_tokenizer(parts, vocab):
    """A byte-level BPE like GPT-2's; the separator is token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=[SEPARATOR],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator((p[len(SEPARATOR):] for p in parts), trainer)
    if tokenizer.get_vocab_size() != vocab:
        raise SystemExit(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, not {vocab}")
    return tokenizer


def encode(tokenizer, parts, chunk=20000):
    """All tokens as one array; the separators in the text become token 0."""
    out = []
    for i in range(0, len(parts), chunk):
        for encoding in tokenizer.encode_batch(parts[i:i + chunk]):
            out.append(np.array(encoding.ids, dtype=np.uint16))
    return np.concatenate(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/demo-train"))
    parser.add_argument("--megabytes", type=float, default=80.0)
    parser.add_argument("--heldout-kilobytes", type=float, default=250.0)
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--vocab", type=int, default=1536)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    world = World()

    parts = text_of(world, TRAIN_SEED, args.megabytes * 1e6)
    tokenizer = train_tokenizer(parts[:60000], args.vocab)
    tokenizer.save(str(args.work / "tokenizer.json"))
    tokens = encode(tokenizer, parts)
    np.save(args.work / "train.npy", tokens)

    heldout = text_of(world, HELDOUT_SEED, args.heldout_kilobytes * 1e3)
    (args.work / "heldout.txt").write_bytes("".join(heldout).encode())
    heldout_tokens = encode(tokenizer, heldout)
    np.save(args.work / "heldout.npy", heldout_tokens)
    # The tokens must be the same for the whole text and for single documents.
    assert tokenizer.encode("".join(heldout)).ids == heldout_tokens.tolist()

    with open(args.work / "questions.jsonl", "w", encoding="utf-8", newline="\n") as f:
        for row in make_questions(world, QUESTION_SEED, args.questions):
            f.write(json.dumps(row) + "\n")
    print(f"{len(tokens)} training tokens in {len(parts)} documents, "
          f"{len(heldout_tokens)} held-out tokens in {len(heldout)}")


if __name__ == "__main__":
    main()
