"""PyTorch at firesteel's work: eager, torch.compile, and what TRL and Liger make of it."""

import math
import os
import shutil
from types import SimpleNamespace

import torch
import torch._functorch.config as functorch_config
import torch.nn.functional as F
import torch_loop

VALUES = 1000


# Each takes a case's tensors and sizes and returns named results; those with a gradient, a pair of what
# it flows from and what it flows to.


def log_prob(t, s):
    return t["logits"].float().log_softmax(-1).gather(1, t["targets"][:, None])[:, 0]


def selective_log_softmax(t, s):
    """TRL's, which goes through the rows of a batch one by one to hold less at a time."""
    logits = t["logits"].view(8, -1, t["logits"].shape[1])
    index = t["targets"].view(8, -1)
    if logits.dtype == torch.float32:
        chosen = logits.gather(-1, index[..., None])[..., 0]
        return (chosen - torch.stack([row.logsumexp(-1) for row in logits])).view(-1)
    rows = [
        F.log_softmax(row, -1).gather(-1, i[:, None])[:, 0] for row, i in zip(logits, index)
    ]
    return torch.cat(rows)


def linear_log_prob(t, s):
    logits = (t["hidden"] @ t["weight"].T).float()
    return logits.log_softmax(-1).gather(1, t["targets"][:, None])[:, 0]


def group_norm(t, s):
    x = t["values"].view(s["G"], -1)
    return ((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-4)).view(-1)


def surrogate(t, s):
    shape = (s["R"], -1)
    ratio = torch.exp(t["logProb"] - t["oldLogProb"]).view(shape)
    advantage = t["advantage"][:, None]
    loss = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
    return (loss * t["mask"].view(shape)).sum()


def kl(t, s):
    d = t["refLogProb"] - t["logProb"]
    value = torch.exp(d) - d - 1
    value.view(s["R"], -1).sum(1)
    return value


def dpo(t, s):
    score = t["score"].view(-1, 2)
    return -F.logsigmoid(0.1 * (score[:, 0] - score[:, 1])).sum()


def divergence(t, s):
    student, teacher = (t[name].float().log_softmax(-1) for name in ("student", "teacher"))
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)


def flow_step(t, s):
    sigma, dt, level = 0.8, -0.1, 0.7
    std = level * math.sqrt(sigma / (1 - sigma))
    x = t["x"] * (1 + std**2 / (2 * sigma) * dt)
    mean = x + t["v"] * (1 + std**2 * (1 - sigma) / (2 * sigma)) * dt
    scale = std * math.sqrt(-dt)
    drawn = mean + scale * t["noise"]
    logs = -((drawn - mean) ** 2) / (2 * scale**2) - math.log(scale * math.sqrt(2 * math.pi))
    logs.mean(1)
    return mean


def attention(t, s):
    def heads(x):
        return x.view(s["R"], s["L"], -1, s["D"]).transpose(1, 2)

    q, k, v = (heads(t[name]) for name in "qkv")
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out.transpose(1, 2).reshape(s["R"] * s["L"], -1, s["D"])


def rms_norm(t, s):
    return F.rms_norm(t["x"], (s["W"],), t["weight"], 1e-6)


def matmul(t, s):
    return t["a"] @ t["b"]


def head(t, s):
    return t["a"] @ t["b"].T


def forward(function, output):
    return SimpleNamespace(function=function, output=output, inputs=(), outputs=(), above=None, again=True)


def backward(function, inputs, outputs, above=None, again=False, output=None):
    """`again`: the forward call belongs to what is timed."""
    return SimpleNamespace(
        function=function, inputs=inputs, outputs=outputs, above=above, again=again, output=output
    )


TASKS = {
    "log-prob forward": forward(log_prob, "logProb"),
    "log-prob backward in place": backward(log_prob, ["logits"], ["dLogits"], "dLogProb"),
    "linear-log-prob forward": forward(linear_log_prob, "logProb"),
    "linear-log-prob forward and backward": backward(
        linear_log_prob, ["hidden", "weight"], ["dHidden", "dWeight"], "dLogProb", True, "logProb"
    ),
    "matmul square": forward(matmul, "product"),
    "matmul head": forward(head, "product"),
    "group-norm": forward(group_norm, "advantage"),
    "group-norm small": forward(group_norm, "advantage"),
    "surrogate": backward(surrogate, ["logProb"], ["dLogProb"], again=True),
    "surrogate small": backward(surrogate, ["logProb"], ["dLogProb"], again=True),
    "kl": forward(kl, "kl"),
    "group-loss dpo": backward(dpo, ["score"], ["dScore"], again=True),
    "divergence forward": forward(divergence, "divergence"),
    "divergence backward in place": backward(divergence, ["student"], ["gradient"], "dDivergence"),
    "flow-step": forward(flow_step, "mean"),
    "attention forward": forward(attention, "out"),
    "attention backward": backward(attention, ["q", "k", "v"], ["dQ", "dK", "dV"], "dOut"),
    "rms-norm forward": forward(rms_norm, "y"),
    "rms-norm backward": backward(rms_norm, ["x", "weight"], ["dX", "dWeight"], "dY"),
}
# Compiling takes some seconds a function: those where fusing is what there is to gain.
COMPILED = ["log-prob forward", "log-prob backward in place", "surrogate", "rms-norm forward"]
COMPILED_CUDA = [*COMPILED, "linear-log-prob forward", "linear-log-prob forward and backward"]
SELECTIVE = {"log-prob forward": forward(selective_log_softmax, "logProb")}


def tensor(array, dtype, device):
    data = torch.from_numpy(array.view("<i2") if dtype == "bf16" else array)
    data = data.view(torch.bfloat16) if dtype == "bf16" else data
    data = data.long() if dtype == "i32" else data  # torch's own type of indices
    return data.to(device)


def first(value):
    return value.detach().reshape(-1)[:VALUES].double().cpu().tolist()


def made(call, values, device):
    call.sync = torch.cuda.synchronize if device == "cuda" else lambda: None
    return SimpleNamespace(call=call, values=values)


def prepare_task(task, compiled, device, sizes, arrays, copies):
    # Whatever may be changed in turn is; a compiled function sees tensors of the same kind each time.
    tensors = [
        {name: tensor(array.copy(), kind, device) for name, (array, kind) in arrays.items()}
        for _ in range(copies)
    ]
    leaves = [[t[name].requires_grad_() for name in task.inputs] for t in tensors]
    function = torch.compile(task.function, dynamic=False) if compiled else task.function
    index = 0

    def once(t, leaf, value):
        if not leaf:
            with torch.no_grad():
                return {task.output: function(t, sizes)}
        value = function(t, sizes) if value is None else value
        above = None if task.above is None else t[task.above]
        gradients = torch.autograd.grad(value, leaf, above, retain_graph=not task.again)
        named = dict(zip(task.outputs, gradients))
        return named if task.output is None else {**named, task.output: value}

    # Where the gradient alone is timed, the values that it starts from are kept.
    kept = [None if task.again else function(t, sizes) for t in tensors]

    def call():
        nonlocal index
        i, index = index % copies, index + 1
        once(tensors[i], leaves[i], kept[i])

    # firesteel's names of what it compares; a peer may make more.
    return made(call, lambda: {n: first(v) for n, v in once(tensors[0], leaves[0], kept[0]).items()}, device)


def prepare_adamw(device, arrays, copies):
    steppers = []
    for _ in range(copies):
        t = {name: tensor(array.copy(), kind, device) for name, (array, kind) in arrays.items()}
        t["param"].grad = t["grad"]
        settings = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1, "fused": True}
        optimizer = torch.optim.AdamW([t["param"]], **settings)
        step = torch.tensor(9.0, device=device)
        optimizer.state[t["param"]] = {"step": step, "exp_avg": t["m"], "exp_avg_sq": t["v"]}
        steppers.append((t["param"], optimizer))
    index = 0

    def call():
        nonlocal index
        steppers[index % copies][1].step()
        index += 1

    def values():
        call()
        return {"param": first(steppers[0][0])}

    return made(call, values, device)


def peer(compiled=False, tasks=TASKS):
    def prepare(task, dtype, device, threads, sizes, arrays, copies):
        torch.set_num_threads(threads)
        wanted = tasks.get(task)
        if compiled and task not in (COMPILED_CUDA if device == "cuda" else COMPILED):
            return None
        if task == "adamw" and not compiled and tasks is TASKS:
            return prepare_adamw(device, arrays, copies)
        if task.startswith("training-step") and not compiled and tasks is TASKS and device == "cpu":
            return torch_loop.prepare(task, device, threads, sizes, arrays, tensor)
        if wanted is None:
            return None
        return prepare_task(wanted, compiled, device, sizes, arrays, copies)

    return prepare


def liger():
    """Liger's Triton kernels need a card."""
    from liger_kernel.ops.grpo_loss import fused_selective_log_softmax

    def of_rows(t, s):
        # It takes the logits of prompt and answer and leaves out those after the last token.
        logits = t["logits"][None]
        return fused_selective_log_softmax(logits, t["targets"][None, :-1], 1.0)[0]

    return {"log-prob forward": forward(of_rows, "logProb")}


def open_peers():
    version = torch.__version__.split("+")[0]
    peers = {f"PyTorch {version}": peer(), "TRL selective_log_softmax": peer(tasks=SELECTIVE)}
    missing = []
    functorch_config.donated_buffer = False  # gradients are taken more than once of a value
    if torch.cuda.is_available() or shutil.which(os.environ.get("CXX", "g++")):
        peers["torch.compile"] = peer(compiled=True)
    else:
        missing.append({"name": "torch.compile", "reason": "no C++ compiler"})
    try:
        tasks = liger()
        if not torch.cuda.is_available():
            missing.append({"name": "Liger", "reason": "its kernels need a card"})
        else:
            peers["Liger"] = peer(tasks=tasks)
    except ImportError:
        missing.append({"name": "Liger", "reason": "pip install liger-kernel, for cards only"})
    return peers, missing
