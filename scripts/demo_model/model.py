"""The Qwen3-MoE architecture in plain PyTorch, small enough to train on a CPU."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Shape:
    vocab: int = 1536
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 8
    top_k: int = 2
    expert_width: int = 128
    rope_theta: float = 10000.0
    eps: float = 1e-6


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rope_tables(length, shape):
    """cos and sin for the half-split rotation: element i turns with element i + head_dim/2."""
    inverse = 1.0 / shape.rope_theta ** (torch.arange(0, shape.head_dim, 2).float()
                                         / shape.head_dim)
    angles = torch.outer(torch.arange(length).float(), inverse)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.q_proj = nn.Linear(s.hidden, s.heads * s.head_dim, bias=False)
        self.k_proj = nn.Linear(s.hidden, s.kv_heads * s.head_dim, bias=False)
        self.v_proj = nn.Linear(s.hidden, s.kv_heads * s.head_dim, bias=False)
        self.o_proj = nn.Linear(s.heads * s.head_dim, s.hidden, bias=False)
        self.q_norm = Norm(s.head_dim, s.eps)
        self.k_norm = Norm(s.head_dim, s.eps)

    def forward(self, x, cos, sin):
        s = self.s
        b, t, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(b, t, s.heads, s.head_dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(b, t, s.kv_heads, s.head_dim)).transpose(1, 2)
        v = self.v_proj(x).view(b, t, s.kv_heads, s.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        groups = s.heads // s.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(b, t, -1))


class Experts(nn.Module):
    """Top-k experts; each sees only its own tokens, gathered by sorting on the expert."""

    def __init__(self, s):
        super().__init__()
        self.s = s
        self.gate = nn.Linear(s.hidden, s.experts, bias=False)
        self.gate_up = nn.Parameter(torch.empty(s.experts, 2 * s.expert_width, s.hidden))
        self.down = nn.Parameter(torch.empty(s.experts, s.hidden, s.expert_width))
        self.balance = None   # the load-balancing loss of the last training step
        self.load = None      # the share of the choices that went to each expert

    def forward(self, x):
        s = self.s
        flat = x.reshape(-1, s.hidden)
        share = F.softmax(F.linear(flat.float(), self.gate.weight.float()), dim=-1)
        weight, chosen = share.topk(s.top_k, dim=-1)
        weight = weight / weight.sum(-1, keepdim=True)
        counts = torch.bincount(chosen.reshape(-1), minlength=s.experts)
        if self.training:
            # As in Switch Transformers: 1 if the load is even, otherwise more.
            self.load = counts.float() / counts.sum()
            self.balance = s.experts * (self.load * share.mean(0)).sum()
        order = chosen.reshape(-1).argsort(stable=True)
        token = order // s.top_k
        pieces = flat[token].split(counts.tolist())
        outs = []
        # unbind, not indexing: the backward of an index would fill a whole zero tensor each time.
        for piece, gate_up, down in zip(pieces, self.gate_up.unbind(), self.down.unbind()):
            gate, up = F.linear(piece, gate_up).chunk(2, dim=-1)
            outs.append(F.linear(F.silu(gate) * up, down))
        out = torch.cat(outs) * weight.reshape(-1)[order].unsqueeze(1).to(flat.dtype)
        # Undo the sort, so that the top_k results of one token are adjacent.
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return out[back].view(-1, s.top_k, s.hidden).sum(1).view_as(x)


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.input_layernorm = Norm(s.hidden, s.eps)
        self.self_attn = Attention(s)
        self.post_attention_layernorm = Norm(s.hidden, s.eps)
        self.mlp = Experts(s)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    def __init__(self, s=Shape()):
        super().__init__()
        self.s = s
        self.embed_tokens = nn.Embedding(s.vocab, s.hidden)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.norm = Norm(s.hidden, s.eps)
        self.lm_head = nn.Linear(s.hidden, s.vocab, bias=False)
        cos, sin = rope_tables(2048, s)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                # Matrices that write to the residual stream start smaller.
                out = "o_proj" in name or "down" in name
                fan = p.shape[-1] ** -0.5
                nn.init.normal_(p, std=fan / (2 * s.layers) ** 0.5 if out else fan)
        nn.init.normal_(self.embed_tokens.weight, std=0.5)
        nn.init.normal_(self.lm_head.weight, std=0.02)

    def forward(self, tokens):
        t = tokens.shape[1]
        x = self.embed_tokens(tokens)
        cos, sin = self.cos[:t], self.sin[:t]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.lm_head(self.norm(x))

    def balance(self):
        return sum(layer.mlp.balance for layer in self.layers) / len(self.layers)


def hub_tensors(model):
    """The weights under the hub's names, one tensor per expert."""
    out = {}
    for name, p in model.state_dict().items():
        if name.startswith("lm_head"):
            out[name] = p
        elif name.endswith("mlp.gate_up"):
            for i, both in enumerate(p):
                base = f"model.{name[:-len('gate_up')]}experts.{i}."
                out[base + "gate_proj.weight"], out[base + "up_proj.weight"] = both.chunk(2)
        elif name.endswith("mlp.down"):
            for i, down in enumerate(p):
                out[f"model.{name[:-len('down')]}experts.{i}.down_proj.weight"] = down
        else:
            out["model." + name] = p
    return out


def from_hub(tensors, shape):
    """A model from tensors with hub names: the inverse of hub_tensors."""
    model = Model(shape)
    state = {}
    for name in model.state_dict():
        base = f"model.{name.rsplit('.', 1)[0]}.experts."
        if name.endswith("mlp.gate_up"):
            state[name] = torch.stack([torch.cat((tensors[f"{base}{i}.gate_proj.weight"],
                                                  tensors[f"{base}{i}.up_proj.weight"]))
                                       for i in range(shape.experts)])
        elif name.endswith("mlp.down"):
            state[name] = torch.stack([tensors[f"{base}{i}.down_proj.weight"]
                                       for i in range(shape.experts)])
        else:
            state[name] = tensors[name if name.startswith("lm_head") else "model." + name]
    model.load_state_dict({k: v.float() for k, v in state.items()})
    return model.eval()
