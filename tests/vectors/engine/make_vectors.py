#!/usr/bin/env python3
"""Writes logits.safetensors: the logits of tiny models of every family, computed by transformers in float32.

Run it with torch, transformers, mlx, safetensors and numpy installed:  python3 make_vectors.py [OUT]
(made with transformers 5.23.0, torch 2.15.0, mlx 0.32.4)

The file has, for each model, "<model>.ids" (int32) and "<model>.logits" (float32 [ids, vocabulary]).
Its metadata has "models", a JSON object: model -> config (config.json), dtype, tensors (name -> shape)
and quantized ("4:32": all matrices; or null). The weights are not in it: weight() below makes them
from the names, using only integers, so that a test can make the same ones.
"""

import json
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS = 64, 32, 2, 4, 2
INTERMEDIATE, EXPERTS, EXPERT_WIDTH = 64, 4, 32
LENGTH, WINDOW = 12, 4
MASK = (1 << 64) - 1

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "factor": 2.0}
LATER = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}

# name -> family, entries of config.json besides the sizes, storage, format
MODELS = {
    "llama": ("llama", {"attention_bias": True, "mlp_bias": True, "rope_scaling": LLAMA3}, "F32", None),
    "llama-quantized": ("llama", {"rope_scaling": LINEAR}, "BF16", "4:32"),
    "mistral": ("mistral", {"sliding_window": WINDOW}, "F16", None),
    "qwen2": ("qwen2", {"tie_word_embeddings": True, **LATER}, "BF16", None),
    "qwen2-quantized": ("qwen2", {"tie_word_embeddings": True}, "F16", "6:32"),
    "qwen3": ("qwen3", {"head_dim": 16, "rope_scaling": YARN}, "BF16", None),
    "qwen3-tied": ("qwen3", {"head_dim": 8, "tie_word_embeddings": True}, "BF16", None),
    "qwen3_moe": ("qwen3_moe", {"head_dim": 16, "mlp_only_layers": [0], "norm_topk_prob": True}, "BF16", None),
    "qwen3_moe-unnormalised": ("qwen3_moe", {"head_dim": 8, "norm_topk_prob": False}, "BF16", None),
    "qwen2_moe": ("qwen2_moe", {"norm_topk_prob": False}, "BF16", None),
    "mixtral": ("mixtral", {"sliding_window": WINDOW}, "BF16", None),
    "mixtral-quantized": ("mixtral", {"sliding_window": None}, "BF16", "8:32"),
}  # fmt: skip
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3",
           "qwen3_moe": "Qwen3Moe", "qwen2_moe": "Qwen2Moe", "mixtral": "Mixtral"}  # fmt: skip
TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def stream(text, count):
    """Bytes of splitmix64, started from the FNV-1a hash of the text."""
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    out = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out.append((z ^ (z >> 31)) >> 56)
    return np.array(out, dtype=np.int32)


def weight(model, name, shape):
    """Multiples of powers of two that all three dtypes represent exactly."""
    values = stream(f"{model}/{name}", int(np.prod(shape))).reshape(shape)
    if name.endswith("norm.weight"):
        return (1 + (values % 64 - 32) / 128).astype(np.float32)
    return ((values - 128) / (512 if name.endswith(".bias") else 256)).astype(np.float32)


def config_of(family, settings, dtype):
    config = {
        "architectures": [CLASSES[family] + "ForCausalLM"], "model_type": family,
        "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "intermediate_size": INTERMEDIATE,
        "vocab_size": VOCABULARY, "hidden_act": "silu", "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": None,
        "tie_word_embeddings": False, "torch_dtype": TORCH[dtype],
    }  # fmt: skip
    if family.endswith("moe") or family == "mixtral":
        key = "num_local_experts" if family == "mixtral" else "num_experts"
        config.update({key: EXPERTS, "num_experts_per_tok": 2})
    if family.endswith("moe"):
        config.update({"moe_intermediate_size": EXPERT_WIDTH, "decoder_sparse_step": 1,
                       "mlp_only_layers": []})  # fmt: skip
    if family == "qwen2_moe":
        config["shared_expert_intermediate_size"] = INTERMEDIATE
    return {**config, **settings}


def swiglu(prefix, width, bias=False, names=("gate_proj", "up_proj", "down_proj")):
    shapes = ((width, HIDDEN), (width, HIDDEN), (HIDDEN, width))
    out = {f"{prefix}{n}.weight": s for n, s in zip(names, shapes)}
    if bias:
        out.update({f"{prefix}{n}.bias": s[:1] for n, s in zip(names, shapes)})
    return out


def shapes_of(config):
    """Every tensor in the hub's layout."""
    family = config["model_type"]
    head_dim = config.get("head_dim", HIDDEN // HEADS)
    q, kv = HEADS * head_dim, KV_HEADS * head_dim
    out = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            out[f"{layer}{norm}.weight"] = (HIDDEN,)
        attention = {"q_proj": (q, HIDDEN), "k_proj": (kv, HIDDEN), "v_proj": (kv, HIDDEN),
                     "o_proj": (HIDDEN, q)}  # fmt: skip
        for name, shape in attention.items():
            out[f"{layer}self_attn.{name}.weight"] = shape
            biased = family.startswith("qwen2") and name != "o_proj"
            if biased or config.get("attention_bias"):
                out[f"{layer}self_attn.{name}.bias"] = shape[:1]
        if family.startswith("qwen3"):
            for norm in ("q_norm", "k_norm"):
                out[f"{layer}self_attn.{norm}.weight"] = (head_dim,)
        if family == "mixtral":
            block = layer + "block_sparse_moe."
            for e in range(EXPERTS):
                out.update(swiglu(f"{block}experts.{e}.", INTERMEDIATE, names=("w1", "w3", "w2")))
        elif family.endswith("moe") and i not in config["mlp_only_layers"]:
            block = layer + "mlp."
            for e in range(EXPERTS):
                out.update(swiglu(f"{block}experts.{e}.", EXPERT_WIDTH))
        else:
            out.update(swiglu(layer + "mlp.", INTERMEDIATE, config.get("mlp_bias", False)))
            continue
        out[block + "gate.weight"] = (EXPERTS, HIDDEN)
        if family == "qwen2_moe":
            out.update(swiglu(block + "shared_expert.", INTERMEDIATE))
            out[block + "shared_expert_gate.weight"] = (1, HIDDEN)
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = (VOCABULARY, HIDDEN)
    return out


def through(values, dtype, quantized):
    """A matrix encoded by mlx in this format and decoded again."""
    bits, group_size = map(int, quantized.split(":"))
    stored = mx.array(values).astype(getattr(mx, TORCH[dtype]))
    with mx.stream(mx.cpu):
        codes, scales, biases = mx.quantize(stored, group_size, bits)
        scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
        return np.array(mx.dequantize(codes, scales, biases, group_size, bits))


def logits_of(config, arrays, ids):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(config))
        save_file(arrays, folder / "model.safetensors", {"format": "pt"})
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    missing = set(report["missing_keys"]) - {"lm_head.weight"}
    if missing or report["unexpected_keys"]:
        raise SystemExit(f"{config['model_type']}: {report}")
    with torch.no_grad():
        return model.eval()(torch.tensor([ids.tolist()])).logits[0].numpy()


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "logits.safetensors")
    tensors, models = {}, {}
    for name, (family, settings, dtype, quantized) in MODELS.items():
        config = config_of(family, settings, dtype)
        shapes = shapes_of(config)
        arrays = {t: weight(name, t, shape) for t, shape in shapes.items()}
        if quantized:
            for t, values in arrays.items():
                arrays[t] = through(values, dtype, quantized) if values.ndim > 1 else values
        ids = (stream(f"{name}/ids", LENGTH) % VOCABULARY).astype(np.int32)
        logits = logits_of(config, arrays, ids)
        print(f"{name:24} logits spread {logits.std():.2f}, largest {np.abs(logits).max():.1f}")
        tensors[f"{name}.ids"], tensors[f"{name}.logits"] = ids, logits
        models[name] = {"config": config, "dtype": dtype, "quantized": quantized,
                        "tensors": shapes}  # fmt: skip
    save_file(tensors, out, {"models": json.dumps(models, separators=(",", ":"))})
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
