"""Runs a policy that firesteel saved, with plain PyTorch: nothing of firesteel is used.

    python examples/run_policy.py DIR "1203=" [--tokens 8]

prints one line of JSON: the prompt's token ids, the logits after its last token, and the greedy completion.
DIR holds config.json, model.safetensors, tokenizer.json and tokenizer_config.json, e.g.
runs/NAME/checkpoint-50/policy.
"""

import argparse
import json
import math
import struct
from pathlib import Path

import torch

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def read_safetensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = bytearray(data[8 + size + begin : 8 + size + end])
        flat = torch.frombuffer(raw, dtype=DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).float()
    return tensors


class Vocabulary:
    """One character a token, as tokenizer.json of a closed vocabulary has it."""

    def __init__(self, folder):
        model = json.loads((folder / "tokenizer.json").read_text())["model"]
        self.ids = model["vocab"]
        self.symbols = {i: symbol for symbol, i in self.ids.items()}
        self.end = self.ids[json.loads((folder / "tokenizer_config.json").read_text())["eos_token"]]

    def encode(self, text):
        return [self.ids[symbol] for symbol in text]

    def decode(self, ids):
        return "".join(self.symbols[i] for i in ids if i != self.end)


class Transformer:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = read_safetensors(folder / "model.safetensors")

    def linear(self, name, x):
        y = x @ self.weights[f"{name}.weight"].T
        bias = self.weights.get(f"{name}.bias")
        return y if bias is None else y + bias

    def norm(self, name, x):
        weight = self.weights.get(f"{name}.weight")
        if weight is None:  # Queries and keys are normalised in some architectures only.
            return x
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.config["rms_norm_eps"]) * weight

    def rotate(self, x):
        """Rotary positions of x [T, heads, d]: the first half of a head turns with the second."""
        half = x.shape[-1] // 2
        rates = self.config["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(x.shape[0], dtype=torch.float64)[:, None] * rates
        cos, sin = angles.cos().float()[:, None], angles.sin().float()[:, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, name, x):
        heads, groups = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        size = self.config["head_dim"]

        def project(part, count):
            y = self.linear(f"{name}.{part}_proj", x).view(len(x), count, size)
            return y if part == "v" else self.rotate(self.norm(f"{name}.{part}_norm", y))

        q, k, v = project("q", heads), project("k", groups), project("v", groups)
        k, v = (y.repeat_interleave(heads // groups, 1) for y in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(size)
        future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        mixed = torch.einsum("hqk,khd->qhd", scores.masked_fill(future, -math.inf).softmax(-1), v)
        return self.linear(f"{name}.o_proj", mixed.reshape(len(x), heads * size))

    def logits(self, ids):
        """[T, V]: what is predicted after each of the ids."""
        x = self.weights["model.embed_tokens.weight"][ids]
        for i in range(self.config["num_hidden_layers"]):
            layer = f"model.layers.{i}"
            x = x + self.attention(f"{layer}.self_attn", self.norm(f"{layer}.input_layernorm", x))
            y = self.norm(f"{layer}.post_attention_layernorm", x)
            gate = torch.nn.functional.silu(self.linear(f"{layer}.mlp.gate_proj", y))
            x = x + self.linear(f"{layer}.mlp.down_proj", gate * self.linear(f"{layer}.mlp.up_proj", y))
        tied = self.config["tie_word_embeddings"]
        return self.linear("model.embed_tokens" if tied else "lm_head", self.norm("model.norm", x))


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("--tokens", type=int, default=8, help="of the completion at most")
    args = parser.parse_args()
    policy, vocabulary = Transformer(args.folder), Vocabulary(args.folder)
    prompt = vocabulary.encode(args.prompt)
    logits = policy.logits(prompt)[-1]
    completion = []
    while len(completion) < args.tokens and vocabulary.end not in completion:
        completion.append(int(policy.logits(prompt + completion)[-1].argmax()))
    found = {"ids": prompt, "logits": logits.tolist(), "completion": vocabulary.decode(completion)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
