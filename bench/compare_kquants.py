#!/usr/bin/env python3
"""Compares folders of ours with llama.cpp's K-quants, each at exactly its bits per weight.

    python3 bench/compare_kquants.py MODEL TEXT [--types Q4_K_M,Q5_K_M,Q6_K] [--methods fast,default,best]
                                     [--length 256] [--rows 24] [--into NAME]

MODEL is a source folder. Its matrices are quantized and decoded by llama.cpp's own code (PyPI: libgguf), in the types that
llama.cpp chooses for each tensor, without an importance matrix; the decoded values are scored as float32. Norms, biases
and routers stay float32, as there. Where 256 does not divide a row, llama.cpp's fallback is used. Ours get as many bits per
weight of all tensors. Prints KL(original || compressed) of each, and ours over theirs with the paired 95 % interval.
--into NAME puts the rows into docs/results. Needs libgguf, safetensors and torch.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import libgguf
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from quality import measure  # noqa: E402
from quality.store import ROOT, Results  # noqa: E402

TYPES = libgguf.GGMLQuantizationType
# The type of most tensors, and of values and every third layer's down projections.
RECIPES = {"Q4_K_M": ("Q4_K", "Q6_K"), "Q5_K_M": ("Q5_K", "Q6_K"), "Q6_K": ("Q6_K", "Q6_K")}
FLOATS = (".mlp.gate.weight", ".block_sparse_moe.gate.weight", ".shared_expert_gate.weight")
FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def gets_more_bits(layer, layers):
    """llama.cpp's rule for the layers in which values and down projections have six bits."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def type_of(recipe, name, shape, layers, tied):
    """The type of a tensor; nothing: it stays float32."""
    if len(shape) > 2:
        raise SystemExit(f"{name}: stacked experts, which are not taken apart here")
    if len(shape) != 2 or name.endswith(FLOATS):
        return None
    usual, better = RECIPES[recipe]
    chosen = usual
    layer = re.search(r"\.layers\.(\d+)\.", name)
    if name == "lm_head.weight" or ("embed_tokens" in name and tied):
        chosen = "Q6_K"
    elif layer and re.search(r"\.(v_proj|down_proj|w2)\.weight$", name) and gets_more_bits(int(layer[1]), layers):
        chosen = better
    return chosen if shape[1] % 256 == 0 else FALLBACK[chosen]


def tensors(folder):
    """Names and float32 values."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                yield name, file.get_tensor(name).float().numpy()


def decoded_folder(model, recipe, out):
    """Writes the decoded folder. @return the bits per weight that llama.cpp stores."""
    config = json.loads((model / "config.json").read_text())
    if 8 in (config.get("num_local_experts"), config.get("num_experts")):
        raise SystemExit(f"{model}: llama.cpp has other rules for mixtures of 8 experts, which are not built here")
    layers, tied = config["num_hidden_layers"], config.get("tie_word_embeddings", False)
    out.mkdir()
    for path in model.iterdir():
        if path.is_file() and path.suffix != ".safetensors" and not path.name.endswith(".index.json"):
            shutil.copy(path, out)
    values, stored, weights = {}, 0, 0
    for name, value in tensors(model):
        weights += value.size
        chosen = type_of(recipe, name, value.shape, layers, tied)
        if chosen is None:
            values[name], stored = value, stored + 4 * value.size
            continue
        if value.shape[1] % 32 != 0:
            raise SystemExit(f"{name}: rows of {value.shape[1]} weights, for which llama.cpp falls back to 16 bits: not built here")
        rows = libgguf.quantize_rows(np.ascontiguousarray(value), TYPES[chosen])
        stored += rows.nbytes
        values[name] = libgguf.dequantize_rows(rows, TYPES[chosen], value.shape[1]).reshape(value.shape)
    save_file(values, out / "model.safetensors", metadata={"format": "pt"})
    return 8 * stored / weights


def parse(words):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--types", default=",".join(RECIPES))
    parser.add_argument("--methods", default="fast,default,best", help="ours: " + ", ".join(measure.METHODS))
    parser.add_argument("--length", default="256")
    parser.add_argument("--rows", default="24")
    parser.add_argument("--ram", default="build/release/ram")
    parser.add_argument("--folder", help="keep the folders and the study here")
    parser.add_argument("--into", metavar="NAME", help="put the rows into the CSV files as this experiment")
    parser.add_argument("--text-name", help="with --into: the page's name for the text; default: its file's name")
    parser.add_argument("--note", default="", help="with --into: additional information for readers")
    parser.add_argument("--csv", default=str(ROOT / "docs/results"), help="with --into: the folder of the CSV files")
    parser.set_defaults(table="kquants", bpw="", others="")
    return parser.parse_args(words)


def main(words):
    options = parse(words)
    with tempfile.TemporaryDirectory() as scratch:
        runner = measure.Runner(options.ram, options.folder or scratch)
        runner.folder.mkdir(parents=True, exist_ok=True)
        folders, ours = [], {}
        for recipe in options.types.split(","):
            theirs = runner.folder / recipe
            shutil.rmtree(theirs, ignore_errors=True)
            bits = decoded_folder(Path(options.model), recipe, theirs)
            print(f"{recipe}: {bits:.4f} bits per weight", flush=True)
            folders.append(theirs)
            ours[recipe] = {method: f"{method} at {recipe}" for method in options.methods.split(",")}
            for method, name in ours[recipe].items():
                folders.append(runner.fit(options.model, name, "--bpw", f"{bits:.6f}", *measure.METHODS[method]))
        rows = ["--length", options.length, "--rows", options.rows]
        result = runner.run("compare", options.model, *folders, "--text", options.text, *rows)
        for row in result["models"]:
            if row["name"] in ours:  # the folder of decoded values has float32
                name = next(iter(ours[row["name"]].values()))
                beside = next(other for other in result["models"] if other["name"] == name)
                row["bits_per_weight"], row["bytes"] = beside["bits_per_weight"], beside["bytes"]
    print(measure.ratio_table(result, ours))
    if options.into:
        results = Results(options.csv)
        command = measure.recorded_command(words).replace("scripts/results measure", "bench/compare_kquants.py")
        experiment, folder_rows, ratio_rows = measure.csv_rows(result, ours, options, words, runner.limits)
        results.replace(experiment | {"command": command}, folder_rows, ratio_rows)
        results.write()


if __name__ == "__main__":
    main(sys.argv[1:])
