"""Checks the exported model against other implementations, all in float32.

    python check.py --model models/demo
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from evaluate import load

LIMIT = 1e-3


def with_transformers(folder, ids):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = (folder / "heldout.txt").read_text("utf-8")[:20000]
    assert tokenizer(text)["input_ids"] == Tokenizer.from_file(
        str(folder / "tokenizer.json")).encode(text).ids
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def with_mlx(folder, ids):
    import mlx.core as mx
    from mlx_lm import generate, load as mlx_load
    model, tokenizer = mlx_load(str(folder))
    # mlx multiplies by experts on the CPU only in float32.
    model.set_dtype(mx.float32)
    prompt = "Question: What is 7 plus 5? Answer:"
    print("mlx-lm:", repr(generate(model, tokenizer, prompt=prompt, max_tokens=24)))
    return np.array(model(mx.array([ids]))[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/demo"))
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    ids = tokenizer.encode((args.model / "heldout.txt").read_text("utf-8")).ids[:512]
    with torch.no_grad():
        ours = load(args.model)(torch.tensor([ids]))[0].numpy()
    bad = False
    for name, run in (("transformers", with_transformers), ("mlx-lm", with_mlx)):
        try:
            theirs = run(args.model, ids)
        except ImportError as e:
            print(f"{name}: not installed ({e})")
            continue
        gap = float(np.abs(ours - theirs).max())
        bad |= not gap < LIMIT
        print(f"{name}: largest difference of a logit {gap:.2e} (largest logit "
              f"{np.abs(ours).max():.1f})")
    raise SystemExit(bad)


if __name__ == "__main__":
    main()
