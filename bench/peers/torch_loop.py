"""A PyTorch port of firesteel's training loop on its tiny policy: sampling with a cache of keys and values, and
GRPO updates with AdamW. The same weights, prompts, rollouts and minibatches as firesteel's side."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F


class Policy(torch.nn.Module):
    """RMSNorm, RoPE, SwiGLU; weights under their names in firesteel's safetensors."""

    def __init__(self, weights, s):
        super().__init__()
        self.s = s
        self.weights = torch.nn.ParameterDict(
            {name.replace(".", "/"): torch.nn.Parameter(w) for name, w in weights.items()}
        )
        half = s["D"] // 2
        rates = s["ropeTheta"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(s["L"], dtype=torch.float64)[:, None] * rates
        self.cos, self.sin = angles.cos().float(), angles.sin().float()

    def w(self, name):
        return self.weights[f"{name}.weight".replace(".", "/")]

    def rotate(self, x, begin):
        """x [B, heads, T, D], whose first token stands at `begin`."""
        end = begin + x.shape[2]
        cos, sin = self.cos[begin:end], self.sin[begin:end]
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self, ids, cache=None, begin=0):
        """Hidden states [B, T, W] after ids [B, T]; keys and values are kept in `cache`, layer by layer."""
        s = self.s
        count, length = ids.shape
        x = F.embedding(ids, self.w("model.embed_tokens"))
        for i in range(s["layers"]):
            layer = f"model.layers.{i}"
            h = F.rms_norm(x, (s["W"],), self.w(f"{layer}.input_layernorm"), s["eps"])
            q, k, v = (
                F.linear(h, self.w(f"{layer}.self_attn.{part}_proj"))
                .view(count, length, -1, s["D"])
                .transpose(1, 2)
                for part in "qkv"
            )
            q, k = self.rotate(q, begin), self.rotate(k, begin)
            if cache is not None:
                keys, values = cache[i]
                keys[:, :, begin : begin + length] = k
                values[:, :, begin : begin + length] = v
                k, v = keys[:, :, : begin + length], values[:, :, : begin + length]
            out = F.scaled_dot_product_attention(q, k, v, is_causal=begin == 0)
            x = x + F.linear(out.transpose(1, 2).reshape(count, length, -1), self.w(f"{layer}.self_attn.o_proj"))
            h = F.rms_norm(x, (s["W"],), self.w(f"{layer}.post_attention_layernorm"), s["eps"])
            gate, up = F.linear(h, self.w(f"{layer}.mlp.gate_proj")), F.linear(h, self.w(f"{layer}.mlp.up_proj"))
            x = x + F.linear(F.silu(gate) * up, self.w(f"{layer}.mlp.down_proj"))
        return F.rms_norm(x, (s["W"],), self.w("model.norm"), s["eps"])

    def logits(self, hidden):
        return F.linear(hidden, self.w("lm_head"))


@torch.no_grad()
def generate(policy, prompts, s, greedy=False):
    """prompts [P, T]; returns ids and log-probs [P * G, new], padded with the end token."""
    group, new = s["G"], s["new"]
    count, length = prompts.shape
    shape = (count, s["heads"], length, s["D"])
    cache = [(torch.empty(shape), torch.empty(shape)) for _ in range(s["layers"])]
    hidden = policy(prompts, cache)[:, -1]
    # The prompt is read once for its whole group.
    longer = (count * group, s["heads"], length + new, s["D"])
    spread = []
    for keys, values in cache:
        pair = torch.empty(longer), torch.empty(longer)
        for wide, narrow in zip(pair, (keys, values)):
            wide[:, :, :length] = narrow.repeat_interleave(group, 0)
        spread.append(pair)
    hidden = hidden.repeat_interleave(group, 0)
    ids = torch.full((count * group, new), s["end"])
    log_probs = torch.zeros(count * group, new)
    live = torch.arange(count * group)
    for t in range(new):
        scores = policy.logits(hidden).log_softmax(-1)
        token = scores.argmax(-1) if greedy else torch.multinomial(scores.exp(), 1)[:, 0]
        ids[live, t] = token
        log_probs[live, t] = scores.gather(1, token[:, None])[:, 0]
        going = token != s["end"]
        if t + 1 == new or not going.any():
            break
        if not going.all():  # rows that have ended leave the batch
            live, token = live[going], token[going]
            spread = [(k[going], v[going]) for k, v in spread]
        hidden = policy(token[:, None], spread, length + t)[:, 0]
    return ids, log_probs


def log_probs_of(policy, rows, s):
    """Of the last `new` tokens of rows [R, T + new]."""
    new = s["new"]
    hidden = policy(rows[:, :-1])[:, -new:]
    return policy.logits(hidden).log_softmax(-1).gather(2, rows[:, -new:, None])[..., 0]


def update(policy, optimizer, t, s):
    """GRPO over minibatches with the old log-probs fixed; mean over rows of means over tokens."""
    with torch.no_grad():
        old = log_probs_of(policy, t["rows"], s)
    norms = []
    for part in t["order"].split(s["minibatch"]):
        mask = t["mask"][part]
        ratio = torch.exp(log_probs_of(policy, t["rows"][part], s) - old[part])
        advantage = t["advantage"][part, None]
        losses = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        loss = ((losses * mask).sum(1) / mask.sum(1)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0))
        optimizer.step()
        loss.item()
    return norms


def prepare(task, device, threads, sizes, arrays, tensor):
    torch.set_num_threads(threads)
    t = {name: tensor(array.copy(), kind, device) for name, (array, kind) in arrays.items()}
    shared = ("prompts", "rows", "order", "mask", "advantage")
    policy = Policy({name: w for name, w in t.items() if name not in shared}, sizes)

    def found(**values):
        return lambda: {name: value.reshape(-1).double().tolist() for name, value in values.items()}

    if task == "training-step generate":
        ids, _ = generate(policy, t["prompts"], sizes, greedy=True)
        return SimpleNamespace(call=lambda: generate(policy, t["prompts"], sizes), values=found(ids=ids))
    settings = {"lr": 2e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0, "fused": True}
    optimizer = torch.optim.AdamW(policy.parameters(), **settings)
    norms = torch.stack(update(policy, optimizer, t, sizes))
    return SimpleNamespace(
        call=lambda: update(policy, optimizer, t, sizes), values=found(gradNorm=norms)
    )
