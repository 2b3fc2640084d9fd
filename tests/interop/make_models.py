#!/usr/bin/env python3
"""Writes tiny random models with real layouts, one folder each, for every family that ram reads.

    make_models.py FOLDER

Every family comes in both spellings of config.json: the hub's, which mlx_lm reads correctly, and that
of transformers 5, which it may misread. Two models of one `twin` have the same weights and differ
only in spelling (and in how experts are stored): the hub's one says what the other must compute.
Values depend only on the twin's seed and the tensor's name. Needs only numpy.

LOGIT_MODELS are for tests of the forward pass: every family with every setting that changes its
forward pass, in the hub's spelling.
"""

import dataclasses
import json
import sys
import zlib
from pathlib import Path

import numpy as np

HUB, V5 = "hub", "transformers5"
VOCABULARY = 320


@dataclasses.dataclass(frozen=True)
class Model:
    """One folder. Sizes let every group size divide the rows, unless a model says otherwise."""

    name: str
    family: str
    twin: str
    spelling: str = HUB
    dtype: str = "bfloat16"
    tied: bool = False
    shards: int = 1
    index: bool = True
    packed: bool = False  # experts in one tensor, as transformers 5 may save them
    hidden: int = 128
    intermediate: int = 256
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    experts: int = 6
    expert_width: int = 128
    shared_width: int = 256
    dense_layers: tuple = ()
    biases: bool = False  # llama's attention_bias and mlp_bias
    mlp_biases: bool | None = None  # mlp_bias, if it differs
    renormalised: bool | None = None  # norm_topk_prob; None: the family's usual
    rope_theta: float = 500000.0
    rope_scaling: tuple = ()  # items of the dict, in the hub's spelling
    sliding_window: int | None = None
    settings: tuple = ()  # items of config.json that no other field has
    spread: float = 0.06  # of the weights: the standard deviation of the commonest rows

    @property
    def has_mlp_biases(self):
        return self.biases if self.mlp_biases is None else self.mlp_biases

    @property
    def moe(self):
        return self.family in ("qwen2_moe", "qwen3_moe", "mixtral")


LLAMA3 = (
    ("rope_type", "llama3"),
    ("factor", 8.0),
    ("low_freq_factor", 1.0),
    ("high_freq_factor", 4.0),
    ("original_max_position_embeddings", 64),
)
YARN = (("rope_type", "yarn"), ("factor", 4.0), ("original_max_position_embeddings", 128))


def pair(family, shards=1, index=True, packed=False, **options):
    """The two spellings of one model; transformers 5's in one file."""
    hub = Model(f"{family}-hub", family, family, shards=shards, index=index, **options)
    return [hub, Model(f"{family}-v5", family, family, V5, packed=packed, **options)]


MODELS = [
    *pair("llama", shards=2),
    *pair("mistral", dtype="float16", rope_theta=1000000.0),
    *pair("qwen2", tied=True, dtype="float16", rope_theta=250000.0),
    *pair("qwen3", tied=True, head_dim=64, rope_scaling=YARN),
    *pair("qwen3_moe", shards=3, dense_layers=(1,), head_dim=64, packed=True),
    *pair("qwen2_moe", shards=3, index=False, rope_theta=300000.0),
    *pair("mixtral", shards=2, expert_width=256, packed=True, rope_theta=200000.0),
    # Properties that no pair has: scaled positions, biases everywhere, float32, rows that few groups divide.
    Model("llama-llama3", "llama", "llama3", tied=True, rope_scaling=LLAMA3),
    Model("llama-llama3-v5", "llama", "llama3", V5, tied=True, rope_scaling=LLAMA3),
    Model("llama-odd", "llama", "odd", dtype="float32", hidden=96, intermediate=172, heads=3,
          kv_heads=1, biases=True),
]  # fmt: skip

LINEAR = (("rope_type", "linear"), ("factor", 2.5))
YARN_FULL = (*YARN, ("beta_fast", 16.0), ("beta_slow", 2.0), ("mscale", 1.2),
             ("mscale_all_dim", 0.4), ("truncate", False))  # fmt: skip
# Shorter than the text that the checks run.
WINDOW = 7


def computing(name, family, **options):
    """A model whose logits spread by 1 to 2, so that a difference of 1e-4 means something."""
    return Model(name, family, name, spread=0.1, **options)


LOGIT_MODELS = [
    computing("llama", "llama", dtype="float32"),
    computing("llama-biases", "llama", biases=True, mlp_biases=False),
    computing("llama-all-biases", "llama", biases=True, dtype="float16", shards=2),
    computing("llama-tied-llama3", "llama", tied=True, rope_scaling=LLAMA3),
    computing("llama-linear", "llama", rope_scaling=LINEAR, rope_theta=10000.0, dtype="float16"),
    computing("llama-yarn", "llama", rope_scaling=YARN_FULL, rope_theta=10000.0),
    computing("llama-head-dim", "llama", head_dim=48, kv_heads=1, hidden=96, intermediate=160),
    computing("mistral", "mistral", dtype="float16"),
    computing("mistral-window", "mistral", sliding_window=WINDOW),
    computing("qwen2", "qwen2", tied=True, dtype="float16"),
    computing("qwen2-window", "qwen2", sliding_window=WINDOW,
              settings=(("max_window_layers", 1),)),
    computing("qwen3", "qwen3", head_dim=64),
    computing("qwen3-tied-yarn", "qwen3", tied=True, head_dim=64, rope_scaling=YARN),
    computing("qwen3-window", "qwen3", dtype="float32", sliding_window=WINDOW,
              settings=(("layer_types", ["sliding_attention", "full_attention",
                                         "sliding_attention"]),)),
    computing("qwen3_moe", "qwen3_moe", dense_layers=(1,), head_dim=64, shards=3),
    computing("qwen3_moe-unnormalised", "qwen3_moe", renormalised=False, dtype="float16"),
    computing("qwen3_moe-window", "qwen3_moe", sliding_window=WINDOW, renormalised=False),
    computing("qwen2_moe", "qwen2_moe"),
    computing("qwen2_moe-window", "qwen2_moe", dtype="float32", sliding_window=WINDOW),
    computing("mixtral", "mixtral", expert_width=256),
    computing("mixtral-window", "mixtral", expert_width=256, sliding_window=WINDOW, packed=True,
              dtype="float16"),
]  # fmt: skip


def tensors(m: Model):
    """Name -> shape, in the hub's layout (experts apart)."""
    out = {"model.embed_tokens.weight": (VOCABULARY, m.hidden)}
    q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    for i in range(m.layers):
        layer = f"model.layers.{i}."
        attention = layer + "self_attn."
        out[layer + "input_layernorm.weight"] = (m.hidden,)
        out[layer + "post_attention_layernorm.weight"] = (m.hidden,)
        for name, rows, cols in (
            ("q_proj", q, m.hidden),
            ("k_proj", kv, m.hidden),
            ("v_proj", kv, m.hidden),
            ("o_proj", m.hidden, q),
        ):
            out[attention + name + ".weight"] = (rows, cols)
            if m.biases or (m.family.startswith("qwen2") and name != "o_proj"):
                out[attention + name + ".bias"] = (rows,)
        if m.family.startswith("qwen3"):
            out[attention + "q_norm.weight"] = (m.head_dim,)
            out[attention + "k_norm.weight"] = (m.head_dim,)
        out.update(feed_forward(m, i, layer))
    out["model.norm.weight"] = (m.hidden,)
    if not m.tied:
        out["lm_head.weight"] = (VOCABULARY, m.hidden)
    return out


def swiglu(prefix, width, hidden, names=("gate_proj", "up_proj", "down_proj")):
    gate, up, down = (f"{prefix}{name}.weight" for name in names)
    return {gate: (width, hidden), up: (width, hidden), down: (hidden, width)}


def feed_forward(m: Model, index: int, layer: str):
    if not m.moe or index in m.dense_layers:
        out = swiglu(layer + "mlp.", m.intermediate, m.hidden)
        if m.has_mlp_biases:
            out.update({n.replace(".weight", ".bias"): s[:1] for n, s in list(out.items())})
        return out
    if m.family == "mixtral":
        block, names = layer + "block_sparse_moe.", ("w1", "w3", "w2")
    else:
        block, names = layer + "mlp.", ("gate_proj", "up_proj", "down_proj")
    out = {block + "gate.weight": (m.experts, m.hidden)}
    for e in range(m.experts):
        out.update(swiglu(f"{block}experts.{e}.", m.expert_width, m.hidden, names))
    if m.family == "qwen2_moe":
        out.update(swiglu(block + "shared_expert.", m.shared_width, m.hidden))
        out[block + "shared_expert_gate.weight"] = (1, m.hidden)
    return out


def values(m: Model, name: str, shape):
    """Gaussian with rows of different size, a few outliers, and rows that are zero or constant."""
    random = np.random.default_rng(zlib.crc32(f"{m.twin} {name}".encode()))
    v = random.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        return 1 + 0.1 * v if name.endswith("norm.weight") else 0.1 * v
    v *= m.spread * np.exp(0.4 * random.standard_normal((shape[0], 1), dtype=np.float32))
    if shape[0] >= 16:
        v[random.random(shape) < 0.001] *= 12
        v[1] = 0
        v[2] = 0.03
        v[3] = np.abs(v[3])
    return v


def pack_experts(m: Model, arrays):
    """The layout of transformers 5 in memory: gate and up in one tensor, experts stacked."""
    out = dict(arrays)
    own = m.family == "mixtral"
    for i in range(m.layers):
        old = f"model.layers.{i}." + ("block_sparse_moe." if own else "mlp.")
        new = f"model.layers.{i}.mlp."
        if f"{old}gate.weight" not in out:
            continue
        out[new + "gate.weight"] = out.pop(old + "gate.weight")
        gate, up, down = (
            np.stack([out.pop(f"{old}experts.{e}.{n}.weight") for e in range(m.experts)])
            for n in (("w1", "w3", "w2") if own else ("gate_proj", "up_proj", "down_proj"))
        )
        out[new + "experts.gate_up_proj"] = np.concatenate([gate, up], axis=1)
        out[new + "experts.down_proj"] = down
    return out


def config(m: Model):
    names = {
        "llama": "Llama",
        "mistral": "Mistral",
        "qwen2": "Qwen2",
        "qwen3": "Qwen3",
        "qwen3_moe": "Qwen3Moe",
        "qwen2_moe": "Qwen2Moe",
        "mixtral": "Mixtral",
    }
    c = {
        "architectures": [names[m.family] + "ForCausalLM"],
        "model_type": m.family,
        "hidden_size": m.hidden,
        "num_hidden_layers": m.layers,
        "num_attention_heads": m.heads,
        "num_key_value_heads": m.kv_heads,
        "intermediate_size": m.expert_width if m.family == "mixtral" else m.intermediate,
        "vocab_size": VOCABULARY,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": m.tied,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "use_cache": True,
    }
    if m.family == "llama":
        c.update({"attention_bias": m.biases, "mlp_bias": m.has_mlp_biases})
    if m.family.startswith("qwen3"):
        c["attention_bias"] = False
    if not m.family.startswith("qwen2"):
        c["head_dim"] = m.head_dim
    if m.family in ("mistral", "mixtral"):
        c["sliding_window"] = m.sliding_window
    elif m.sliding_window is not None:
        c.update({"sliding_window": m.sliding_window, "use_sliding_window": True})
    if m.moe:
        c["num_experts_per_tok"] = 2
        own = m.family == "mixtral" or m.spelling == V5
        c["num_local_experts" if own else "num_experts"] = m.experts
    if m.moe and m.family != "mixtral":
        c.update({
            "moe_intermediate_size": m.expert_width,
            "decoder_sparse_step": 1,
            "mlp_only_layers": list(m.dense_layers),
            "norm_topk_prob": m.family == "qwen3_moe" if m.renormalised is None else m.renormalised,
        })  # fmt: skip
    if m.family == "qwen2_moe":
        c["shared_expert_intermediate_size"] = m.shared_width
    c.update(m.settings)
    scaling = dict(m.rope_scaling)
    if m.spelling == HUB:
        c.update({"torch_dtype": m.dtype, "rope_theta": m.rope_theta})
        c["rope_scaling"] = scaling or None
    else:
        c["dtype"] = m.dtype
        c["rope_parameters"] = {"rope_type": "default", **scaling, "rope_theta": m.rope_theta}
        c["transformers_version"] = "5.0.0"
    return c


def encode(array, dtype):
    """Bytes in one of the three dtypes; bfloat16 by rounding to nearest, ties to even."""
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(array, dtype={"float16": "<f2", "float32": "<f4"}[dtype]).tobytes()


def write_safetensors(path, arrays, dtype):
    code = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}[dtype]
    header, blobs, end = {"__metadata__": {"format": "pt"}}, [], 0
    for name, array in arrays.items():
        blobs.append(encode(array, dtype))
        begin, end = end, end + len(blobs[-1])
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))
    return end


def write_tokenizer(folder):
    """A byte-level tokenizer without merges: just enough for mlx_lm to load."""
    vocab = {"<s>": 0, "</s>": 1}
    for i in range(VOCABULARY - 2):
        vocab[chr(0x100 + i)] = i + 2
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for t, i in (("<s>", 0), ("</s>", 1))
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
                          "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))


def write_model(folder: Path, m: Model):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(m), indent=2))
    write_tokenizer(folder)
    arrays = {name: values(m, name, shape) for name, shape in tensors(m).items()}
    if m.packed:
        arrays = pack_experts(m, arrays)
    names = list(arrays)
    weight_map, total = {}, 0
    for shard in range(m.shards):
        part = names[len(names) * shard // m.shards : len(names) * (shard + 1) // m.shards]
        file = "model.safetensors"
        if m.shards > 1:
            file = f"model-{shard + 1:05d}-of-{m.shards:05d}.safetensors"
        total += write_safetensors(folder / file, {n: arrays[n] for n in part}, m.dtype)
        weight_map.update(dict.fromkeys(part, file))
    if m.shards > 1 and m.index:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_all(folder: Path, models=tuple(MODELS)):
    for m in models:
        write_model(folder / m.name, m)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write_all(Path(sys.argv[1]), MODELS + LOGIT_MODELS)
