"""Writes the trained model in the layout of the Hugging Face hub, in BF16.

    python export.py --work /tmp/demo-train --out models/demo
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import Model, Shape, hub_tensors
from world import SEPARATOR

END = 0


def config(s):
    return {
        "architectures": ["Qwen3MoeForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": END,
        "decoder_sparse_step": 1,
        "eos_token_id": END,
        "head_dim": s.head_dim,
        "hidden_act": "silu",
        "hidden_size": s.hidden,
        "initializer_range": 0.02,
        "intermediate_size": 2 * s.hidden,
        "max_position_embeddings": 2048,
        "mlp_only_layers": [],
        "model_type": "qwen3_moe",
        "moe_intermediate_size": s.expert_width,
        "norm_topk_prob": True,
        "num_attention_heads": s.heads,
        "num_experts": s.experts,
        "num_experts_per_tok": s.top_k,
        "num_hidden_layers": s.layers,
        "num_key_value_heads": s.kv_heads,
        "output_router_logits": False,
        "pad_token_id": None,
        "rms_norm_eps": s.eps,
        "rope_scaling": None,
        "rope_theta": s.rope_theta,
        "router_aux_loss_coef": 0.02,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": s.vocab,
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/demo-train"))
    parser.add_argument("--out", type=Path, default=Path("models/demo"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    saved = torch.load(args.work / "checkpoint.pt", weights_only=True)
    shape = Shape()
    model = Model(shape)
    model.load_state_dict(saved["model"])
    # In the order of the layers, each tensor with its own memory.
    tensors = {name: p.to(torch.bfloat16).clone().contiguous()
               for name, p in hub_tensors(model).items()}
    save_file(tensors, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "model.safetensors").chmod(0o644)   # safetensors makes it readable only by its owner
    write_json(args.out / "config.json", config(shape))
    write_json(args.out / "generation_config.json",
               {"_from_model_config": True, "bos_token_id": END, "eos_token_id": END})
    write_json(args.out / "tokenizer_config.json",
               {"add_prefix_space": False, "bos_token": SEPARATOR, "clean_up_tokenization_spaces":
                False, "eos_token": SEPARATOR, "model_max_length": 2048,
                "tokenizer_class": "PreTrainedTokenizerFast"})
    for name in ("tokenizer.json", "heldout.txt", "questions.jsonl"):
        shutil.copyfile(args.work / name, args.out / name)
    size = sum(p.stat().st_size for p in args.out.iterdir())
    print(f"{sum(t.numel() for t in tensors.values())} weights after step {saved['step']}, "
          f"{size} bytes in {args.out}")


if __name__ == "__main__":
    main()
