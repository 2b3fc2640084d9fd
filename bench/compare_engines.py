#!/usr/bin/env python3
"""Prefill and decoding of one model by ram, transformers and llama.cpp, taking turns in one run.

    python3 bench/compare_engines.py FOLDER [--bench build/release/bench/ram_engine_bench] [--ram build/release/ram]
        [--rounds 3] [--make dense|moe --layers 6] [--without ENGINE]

FOLDER is a source folder in bf16; --make writes one there first: random weights in the shapes of a Qwen3 of hidden
width 2048. Needs torch, transformers and numpy; llama.cpp takes part (dense models only) if llama-cpp-python and
gguf are installed. Each figure is the best of the rounds, and so are both sides of a ratio. The median of the rounds'
own ratios is printed beside it: if the two differ much, the machine had other work. Prefill is two rows of 2048
tokens, one after the other in llama.cpp, with the logits of all tokens: if only the last token's are requested,
llama.cpp also omits the last layer's feed-forward for all other tokens. Errors are those of the logits of 256 random
ids against transformers in float32.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

LENGTH, ROWS, DECODED = 2048, 2, 48


def make(folder, kind, layers):
    torch.manual_seed(1)
    shape = dict(vocab_size=8192, hidden_size=2048, num_hidden_layers=layers, num_attention_heads=16,
                 num_key_value_heads=4, head_dim=128, max_position_embeddings=4096, tie_word_embeddings=False,
                 bos_token_id=0, eos_token_id=1)
    if kind == "dense":
        config = AutoConfig.for_model("qwen3", intermediate_size=6144, **shape)
    else:
        config = AutoConfig.for_model("qwen3_moe", intermediate_size=6144, moe_intermediate_size=768, num_experts=32,
                                      num_experts_per_tok=8, norm_topk_prob=True, **shape)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


class Transformers:
    def __init__(self, folder, dtype):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    @torch.no_grad()
    def prefill(self, ids):
        start = time.perf_counter()
        self.model(torch.tensor(ids))
        return len(ids) * len(ids[0]) / (time.perf_counter() - start)

    @torch.no_grad()
    def logits(self, ids):
        return self.model(torch.tensor([ids])).logits[0].float().numpy().astype(np.float64)


def write_gguf(folder, path):
    """llama.cpp's file of a dense Qwen3: matrices unchanged, vectors as float32, no tokenizer."""
    import gguf
    from safetensors import safe_open

    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(str(path), "qwen3")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = config.get("rope_parameters") or {}
    writer.add_rope_freq_base(rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["num_hidden_layers"])
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():
                name = names.get_name(key, try_suffixes=(".weight",))
                value = tensors.get_tensor(key)
                if value.dim() == 1:
                    writer.add_tensor(name, value.float().numpy())
                else:
                    raw = value.view(torch.uint8).numpy()
                    writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    def __init__(self, path, threads):
        import llama_cpp as api

        self.api = api
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = LENGTH + DECODED + 8, LENGTH, 512
        params.n_threads = params.n_threads_batch = threads
        self.context = api.llama_init_from_model(self.model, params)
        assert self.model and self.context, "llama.cpp does not take the file"

    def feed(self, ids, first):
        batch = self.api.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, first + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = 1
        assert self.api.llama_decode(self.context, batch) == 0
        self.api.llama_batch_free(batch)
        self.api.llama_synchronize(self.context)

    def forget(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def prefill(self, ids):
        start = time.perf_counter()
        for row in ids:
            self.forget()
            self.feed(row, 0)
        return len(ids) * len(ids[0]) / (time.perf_counter() - start)

    def decode(self):
        self.forget()
        self.feed(list(range(2, 66)), 0)
        start = time.perf_counter()
        for i in range(DECODED):
            self.feed([2 + i], 64 + i)
        return DECODED / (time.perf_counter() - start)


class Ram:
    """A process for each figure: it loads, warms up and measures."""

    def __init__(self, bench, ram, folder, precision):
        self.bench, self.ram, self.folder, self.precision = bench, ram, folder, precision

    def run(self, name):
        environment = dict(os.environ, RAM_BENCH_MODEL=str(self.folder), RAM_BENCH_PRECISION=self.precision)
        command = [self.bench, f"--benchmark_filter=^{name}$", "--benchmark_format=json", "--benchmark_min_time=0.01"]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        return json.loads(run.stdout)["benchmarks"][0]["tokens/s"]

    def prefill(self, _):
        return self.run("model_prefill")

    def decode(self):
        return self.run("model_decode")

    def logits(self, ids):
        from safetensors.numpy import load_file

        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "ids.json").write_text(json.dumps([ids]))
            subprocess.run([self.ram, "logits", self.folder, "--ids", Path(folder) / "ids.json", "-o",
                            Path(folder) / "out.safetensors", "--precision", self.precision, "--quiet"], check=True,
                           stdout=subprocess.DEVNULL)
            return load_file(Path(folder) / "out.safetensors")["logits"][0].astype(np.float64)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def errors(engines):
    ids = [int(i) for i in np.random.RandomState(2).randint(2, 4096, 256)]
    truth = engines["transformers f32"].logits(ids)
    print(f"\nlogits of {len(ids)} ids against transformers f32, whose spread (standard deviation) is {truth.std():.2f}")
    reference = log_softmax(truth)
    for name, engine in engines.items():
        if name == "transformers f32" or not hasattr(engine, "logits"):
            continue
        found = engine.logits(ids)
        kl = (np.exp(reference) * (reference - log_softmax(found))).sum(-1)
        print(f"  {name:18} largest difference {abs(found - truth).max():.2e}, mean KL {kl.mean():.2e} nats")


def table(title, figures):
    if not figures:
        return
    print(f"\n{title}, tokens/s: best of {len(next(iter(figures.values())))} rounds; over those before (median of rounds)")
    names = list(figures)
    for i, name in enumerate(names):
        ratios = []
        for other in names[:i]:
            median = statistics.median(a / b for a, b in zip(figures[name], figures[other]))
            ratios.append(f"{max(figures[name]) / max(figures[other]):.2f} ({median:.2f}) x {other}")
        print(f"  {name:18} {max(figures[name]):9.1f}   {', '.join(ratios)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bench", default="build/release/bench/ram_engine_bench")
    parser.add_argument("--ram", default="build/release/ram")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--make", choices=["dense", "moe"])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--without", action="append", default=[], metavar="ENGINE", help="as 'transformers bf16'")
    options = parser.parse_args()
    if options.make:
        make(options.folder, options.make, options.layers)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(threads)
    engines = {"transformers f32": Transformers(options.folder, torch.float32),
               "transformers bf16": Transformers(options.folder, torch.bfloat16)}
    config = json.loads((options.folder / "config.json").read_text())
    try:
        import gguf  # noqa: F401
        import llama_cpp  # noqa: F401

        if config["model_type"] == "qwen3":
            path = options.folder / "model.gguf"
            if not path.exists():
                write_gguf(options.folder, path)
            engines["llama.cpp bf16"] = LlamaCpp(path, threads)
    except ImportError as missing:
        print(f"without llama.cpp: {missing}", file=sys.stderr)
    for precision in ("f32", "bf16"):
        engines[f"ram {precision}"] = Ram(options.bench, options.ram, options.folder, precision)
    errors(engines)
    for name in options.without:
        engines.pop(name, None)
    rows = np.random.RandomState(1).randint(2, config["vocab_size"], (ROWS, LENGTH)).tolist()
    for engine in engines.values():
        engine.prefill([row[:256] for row in rows])  # warm
    prefill = {name: [] for name in engines}
    decode = {name: [] for name, engine in engines.items() if hasattr(engine, "decode")}
    for _ in range(options.rounds):
        for name, engine in engines.items():
            prefill[name].append(engine.prefill(rows))
        for name in decode:
            decode[name].append(engines[name].decode())
    table(f"prefill of {ROWS} rows of {LENGTH}", prefill)
    table("one token at a time", decode)


if __name__ == "__main__":
    main()
