"""Time per member and training step in PyTorch, for the widths of `benches/step.rs`: one member (`alone`, the loop of
`race_torch.py tuned`: nothing read back, fused AdamW), and G of them stacked in one program (`stacked`: batched matrix products
over a leading member axis, autograd, one fused AdamW over stacked parameters, a norm clip per member).

    python3 step_torch.py --device cuda|cpu [--widths 1,8,64,256] [--steps 64]

Data are made in memory; K = 64, d = 512, h = 256, 12 trajectories of 2, GRPO without the figures. Prints a Markdown table.
"""

import argparse
import time

import torch
import torch.nn.functional as F

K, D, H, T, S = 64, 512, 256, 12, 2
TEMPERATURE, DROPOUT = 0.1, 0.1
BACKBONE = ("input_proj", "query_proj", "cand_proj")


def parameters(members, frozen, device):
    shapes = {
        "input_proj": (H, D), "query_proj": (H, H), "cand_proj": (H, H),
        "wq": (H, H), "wk": (H, H), "wv": (H, H), "wo": (H, H),
        "bq": (1, H), "bv": (1, H), "bo": (1, H), "norm_weight": (1, H), "norm_bias": (1, H),
    }
    made = {}
    for name, shape in shapes.items():
        fixed = frozen and name in BACKBONE
        one = torch.randn(1 if fixed else members, *shape, device=device) * (0.5 / shape[1] ** 0.5)
        made[name] = one.requires_grad_(not fixed)
    return made


def linear(x, w):
    return x @ w.transpose(1, 2)


def loss(p, query, pool, labels, advantages, reference, beta):
    """`query` [1, 1, d], `pool` [1, K, d], `labels` [T, S]; advantages and reference [1, T], beta [G, 1]."""
    x, c = linear(query, p["input_proj"]), linear(pool, p["input_proj"])
    q = linear(x, p["wq"]) + p["bq"]
    attention = torch.softmax((q @ p["wk"]) @ c.transpose(1, 2) / H ** 0.5, dim=2)
    attention = F.dropout(attention, DROPOUT)
    out = linear(attention @ c, p["wv"]) + p["bv"] * attention.sum(2, keepdim=True)
    x = linear(out, p["wo"]) + p["bo"] + x
    x = F.layer_norm(x, (H,)) * p["norm_weight"] + p["norm_bias"]
    z = F.normalize(linear(F.dropout(x, DROPOUT), p["query_proj"]), dim=2)
    keys = F.normalize(linear(F.dropout(c, DROPOUT), p["cand_proj"]), dim=2)
    scores = (z @ keys.transpose(1, 2) / TEMPERATURE).squeeze(1)  # [G, K]
    total = 0
    logits = scores.unsqueeze(1).expand(-1, T, -1)
    for s in range(S):
        log_probs = torch.log_softmax(logits, dim=2)
        label = labels[:, s].view(1, T, 1).expand(len(scores), -1, -1)
        total = total + log_probs.gather(2, label).squeeze(2)
        logits = logits.scatter(2, label, -100.0)
    log_ratio = total - reference
    ratio = log_ratio.exp()
    ppo = -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean(1)
    kl = (ratio - 1 - log_ratio).mean(1)
    return (ppo + beta.squeeze(1) * kl).sum()


def measure(members, frozen, steps, device):
    p = parameters(members, frozen, device)
    trained = [value for value in p.values() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0.01, fused=True)
    table = torch.randn(3000, D, device=device)
    picks = torch.randint(0, 3000, (steps, K + 1), device=device)
    labels = torch.stack([torch.randperm(K)[:S] for _ in range(T)]).to(device)
    advantages, reference = torch.randn(1, T, device=device), torch.full((1, T), -8.0, device=device)
    beta = torch.linspace(0.1, 0.2, members, device=device).unsqueeze(1)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    best = float("inf")
    for _ in range(4):
        wait()
        began = time.perf_counter()
        for step in range(steps):
            rows = table[picks[step]]
            optimizer.zero_grad(set_to_none=True)
            loss(p, rows[:1].unsqueeze(0), rows[1:].unsqueeze(0), labels, advantages, reference, beta).backward()
            squares = sum(value.grad.flatten(1).square().sum(1) for value in trained)
            factor = (1.0 / (squares.sqrt() + 1e-6)).clamp(max=1.0).view(-1, 1, 1)
            for value in trained:
                value.grad.mul_(factor)
            optimizer.step()
        wait()
        best = min(best, time.perf_counter() - began)
    return best / steps / members


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--widths", default="1,8,64,256")
    parser.add_argument("--steps", type=int, default=64)
    arguments = parser.parse_args()
    print(f"PyTorch {torch.__version__} on {arguments.device}, TF32 {'on' if torch.backends.cuda.matmul.allow_tf32 else 'off'}\n")
    print("| frozen | members | us per member and step |\n|---|---:|---:|")
    for name, frozen in [("backbone", True), ("nothing", False)]:
        for width in map(int, arguments.widths.split(",")):
            print(f"| {name} | {width} | {measure(width, frozen, arguments.steps, arguments.device) * 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
