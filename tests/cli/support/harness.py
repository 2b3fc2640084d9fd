"""Drives the program from outside and makes tiny models, with the standard library only.

RAM_PROGRAM names the program. Values are random but depend only on seed and name.
"""

import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.environ.get("RAM_PROGRAM", "")
DTYPE_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
# Far longer than any of these runs takes, even with sanitizers on a busy machine.
TIMEOUT_S = 300


class Ran:
    """The result of a run: status, out, err, seconds."""

    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"status {self.status}\nstdout: {self.out[:2000]}\nstderr: {self.err[:2000]}"


def sanitized():
    """Whether the program is sanitized, and so needs more memory and open files."""
    return b"__asan_init" in pathlib.Path(PROGRAM).read_bytes()


def environment(**changes):
    env = dict(os.environ)
    for name in ("HF_HOME", "HF_HUB_CACHE", "RAM_DEMO_MODEL", "NO_COLOR"):
        env.pop(name, None)
    env["RAM_STUDY"] = "ram.db"  # in the test's folder, not the user's
    env.update(changes)
    return env


def ram(*arguments, cwd=None, env=None, stdout=subprocess.PIPE, **options):
    start = time.monotonic()
    done = subprocess.run([PROGRAM, *map(str, arguments)], cwd=cwd, env=env or environment(),
                          stdout=stdout, stderr=subprocess.PIPE, timeout=TIMEOUT_S, check=False,
                          **options)
    text = (done.stdout or b"").decode()
    return Ran(done.returncode, text, done.stderr.decode(), time.monotonic() - start)


def bf16(value):
    """To nearest, ties to even."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


def random_bytes(name, count, dtype="BF16", seed=1, mean=0.0, deviation=0.08):
    # A block of values, repeated with its first element changed: fast, and no two tensors are equal.
    rng = random.Random(f"{seed} {name}")
    values = [rng.gauss(mean, deviation) for _ in range(min(count, 4096))]
    if dtype == "F32":
        block = struct.pack(f"<{len(values)}f", *values)
    elif dtype == "F16":
        block = struct.pack(f"<{len(values)}e", *values)
    else:
        block = struct.pack(f"<{len(values)}H", *map(bf16, values))
    size = count * DTYPE_BYTES[dtype]
    return (block * (size // len(block) + 1))[:size] if block else b""


def header_bytes(header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def write_safetensors(path, tensors):
    """tensors: name -> (dtype, shape, bytes)"""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    with open(path, "wb") as file:
        file.write(header_bytes(header))
        for _, _, data in tensors.values():
            file.write(data)


def read_safetensors(path):
    """What write_safetensors takes."""
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    values = data[8 + length:]
    return {name: (entry["dtype"], entry["shape"], values[slice(*entry["data_offsets"])])
            for name, entry in header.items() if name != "__metadata__"}


def tiny_tensors(hidden=64, layers=2, intermediate=128, vocab=96, experts=0, dtype="BF16", seed=1):
    shapes = {"model.embed_tokens.weight": [vocab, hidden]}
    for i in range(layers):
        layer = f"model.layers.{i}."
        shapes[layer + "input_layernorm.weight"] = [hidden]
        shapes[layer + "post_attention_layernorm.weight"] = [hidden]
        for projection in "qkvo":
            shapes[layer + f"self_attn.{projection}_proj.weight"] = [hidden, hidden]
        prefixes = [f"mlp.experts.{e}." for e in range(experts)] or ["mlp."]
        if experts:
            shapes[layer + "mlp.gate.weight"] = [experts, hidden]
            for norm in ("q_norm", "k_norm"):
                shapes[layer + f"self_attn.{norm}.weight"] = [hidden // 2]
        for prefix in prefixes:
            shapes[layer + prefix + "gate_proj.weight"] = [intermediate, hidden]
            shapes[layer + prefix + "up_proj.weight"] = [intermediate, hidden]
            shapes[layer + prefix + "down_proj.weight"] = [hidden, intermediate]
    shapes["model.norm.weight"] = [hidden]
    shapes["lm_head.weight"] = [vocab, hidden]
    tensors = {}
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        mean = 1.0 if len(shape) == 1 else 0.0
        tensors[name] = (dtype, shape, random_bytes(name, count, dtype, seed, mean))
    return tensors


def tiny_config(hidden=64, layers=2, intermediate=128, vocab=96, experts=0, dtype="BF16"):
    config = {
        "architectures": ["Qwen3MoeForCausalLM" if experts else "LlamaForCausalLM"],
        "model_type": "qwen3_moe" if experts else "llama",
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": hidden // 2, "intermediate_size": intermediate,
        "vocab_size": vocab, "hidden_act": "silu", "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dtype],
    }
    if experts:
        config |= {"num_experts": experts, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
                   "moe_intermediate_size": intermediate, "mlp_only_layers": [],
                   "norm_topk_prob": True}
    return config


def write_model(folder, tensors=None, config=None, **sizes):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    sized = {k: v for k, v in sizes.items() if k != "seed"}
    (folder / "config.json").write_text(json.dumps(config or tiny_config(**sized)))
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}}}\n')
    write_safetensors(folder / "model.safetensors", tensors or tiny_tensors(**sizes))
    return folder


def files_of(folder):
    """path -> bytes, of every file below a folder"""
    folder = pathlib.Path(folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file()}


def folder_bytes(folder):
    return sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*") if p.is_file())


class ProgramTest(unittest.TestCase):
    """A test with its own folder, in which the program runs."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ram-cli-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def ram(self, *arguments, **options):
        return ram(*arguments, cwd=self.folder, **options)

    def assert_refused(self, ran, status, *parts):
        """Checks for one line of error on stderr that contains `parts`, nothing on stdout, and the status."""
        self.assertEqual(ran.status, status, ran)
        self.assertEqual(ran.out, "", ran)
        self.assertTrue(ran.err.startswith("ram: "), ran)
        self.assertEqual(ran.err.count("\n"), 1, ran)
        for part in parts:
            self.assertIn(part, ran.err)


def main():
    if not PROGRAM:
        print("RAM_PROGRAM does not name the program", file=sys.stderr)
        sys.exit(1)
    unittest.main(verbosity=1)
