#!/usr/bin/env python3
"""Training steps in which dropout zeroes whole vectors, and one whose LayerNorm sees a constant, by PyTorch.

    python make_zeroed.py > zeroed.json        (torch from PyPI; a minute)

The model, the losses and the optimizer are torch's own operators (`F.normalize`, `MultiheadAttention`, `LayerNorm`, autograd,
`AdamW`). The dropout factors are those that `sweep` draws, computed here from the ChaCha8 stream's definition; seeds are
searched so that the first step zeroes what the case is about, and every other vector keeps two units or more (the cosine
does not depend on the size of a single one: its gradient is rounding noise).
"""

import json
import struct
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(20261128)
torch.set_num_threads(1)
DIM, HIDDEN, POOL, LENGTH, RATE = 6, 4, 4, 2, 0.5
ROWS = 9
QUERY, CANDIDATES = 8, [3, 0, 5, 2]
POINTERS = [[0, 1], [2, 0], [3, 2], [1, 3]]
REWARDS = [1.9, 0.3, 0.0, 1.2]
LR, DECAY, BETA, CLIP = 1e-3, 0.01, 0.15, 0.2
EPOCHS = 2


def chacha8(key):
    """The first block of the ChaCha8 key stream: counter and nonce 0."""
    state = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key)) + [0, 0, 0, 0]
    work = state[:]

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            work[x] = (work[x] + work[y]) & 0xFFFFFFFF
            word = work[z] ^ work[x]
            work[z] = ((word << turn) | (word >> (32 - turn))) & 0xFFFFFFFF

    for _ in range(4):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            quarter(diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(work, state)))


def masks(seed, phase, epoch):
    """Factors of the epoch's only step: of the query [h], of the candidates [K][h]."""
    key = struct.pack("<QIIII", seed, 2, phase, epoch, 0).ljust(32, b"\0")
    draws = struct.unpack(f"<{HIDDEN * (1 + POOL)}H", chacha8(key)[: 2 * HIDDEN * (1 + POOL)])
    factors = [0.0 if draw < 32768 else 2.0 for draw in draws]
    return [factors[at : at + HIDDEN] for at in range(0, len(factors), HIDDEN)]


def alive(vectors):
    return [sum(factor > 0 for factor in vector) for vector in vectors]


CASES = {
    "query": lambda a: a[0] == 0 and min(a[1:]) >= 2,
    "one_candidate": lambda a: a[0] >= 2 and a[1:].count(0) == 1 and all(n == 0 or n >= 2 for n in a[1:]),
    "all_candidates": lambda a: a[0] >= 2 and max(a[1:]) == 0,
}


def seed_of(case, phase):
    for seed in range(1, 10_000_000):
        if CASES[case](alive(masks(seed, phase, 1))) and min(alive(masks(seed, phase, 2))) >= 2:
            return seed
    sys.exit(f"no seed for {case}")


def weights(constant):
    """Parameters by name; `constant`: what LayerNorm sees is the same in every unit."""
    uniform = lambda *shape: (torch.rand(*shape) - 0.5)
    named = {
        "input_proj.weight": uniform(HIDDEN, DIM),
        "query_proj.weight": torch.eye(HIDDEN) + 0.1 * uniform(HIDDEN, HIDDEN),
        "cand_proj.weight": torch.eye(HIDDEN) + 0.1 * uniform(HIDDEN, HIDDEN),
        "cross_attn_layers.0.in_proj_weight": uniform(3 * HIDDEN, HIDDEN),
        "cross_attn_layers.0.in_proj_bias": 0.2 * uniform(3 * HIDDEN),
        "cross_attn_layers.0.out_proj.weight": uniform(HIDDEN, HIDDEN),
        "cross_attn_layers.0.out_proj.bias": 0.2 * uniform(HIDDEN),
        "attn_norms.0.weight": 1 + 0.2 * uniform(HIDDEN),
        "attn_norms.0.bias": 0.2 * uniform(HIDDEN),
    }
    if constant:
        named["cross_attn_layers.0.out_proj.weight"].zero_()
        named["cross_attn_layers.0.out_proj.bias"].fill_(0.25)
    return named


def scores(p, embeddings, factors):
    """Logits before anything is chosen, [K]."""
    query = F.linear(embeddings[QUERY], p["input_proj.weight"])
    pool = F.linear(embeddings[CANDIDATES], p["input_proj.weight"])
    attended, _ = F.multi_head_attention_forward(
        query[None, None], pool[:, None], pool[:, None], HIDDEN, 1,
        p["cross_attn_layers.0.in_proj_weight"], p["cross_attn_layers.0.in_proj_bias"], None, None, False, 0.0,
        p["cross_attn_layers.0.out_proj.weight"], p["cross_attn_layers.0.out_proj.bias"],
    )
    query = F.layer_norm(attended[0, 0] + query, (HIDDEN,), p["attn_norms.0.weight"], p["attn_norms.0.bias"], 1e-5)
    if factors is not None:
        query, pool = query * factors[0], pool * factors[1:]
    query = F.normalize(F.linear(query, p["query_proj.weight"]), dim=-1, eps=1e-12)
    pool = F.normalize(F.linear(pool, p["cand_proj.weight"]), dim=-1, eps=1e-12)
    return (pool @ query) / 0.1


def log_probs(logits):
    """Of every trajectory, [T]."""
    rows = []
    for pointer in POINTERS:
        left, total = logits, 0.0
        for label in pointer:
            total = total + F.log_softmax(left, dim=-1)[label]
            left = left.masked_fill(torch.arange(POOL) == label, -100.0)
        rows.append(total)
    return torch.stack(rows)


def rce(logp, step):
    tau = 2.0 + (0.5 - 2.0) * step / (EPOCHS - 1)
    return -(F.softmax(torch.tensor(REWARDS) / tau, dim=0) * logp).sum()


def grpo(logp, reference, epoch):
    kept = sorted(range(len(REWARDS)), key=lambda at: -REWARDS[at])[: 3 if epoch == 1 else 5]
    rewards = torch.tensor([REWARDS[at] for at in kept], dtype=torch.float64)
    advantages = ((rewards - rewards.mean()) / rewards.std().clamp(min=0.1)).clamp(-5, 5).float()
    ratio = torch.exp(logp[kept] - reference[kept])
    ppo = -torch.min(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()
    kl = (ratio - 1 - torch.log(ratio)).mean()
    return ppo + BETA * kl


def train(case, phase):
    embeddings = torch.rand(ROWS, DIM) - 0.5
    start = weights(case == "constant")
    if case == "constant":
        embeddings[QUERY] = 0.0
    seed = 0 if case == "constant" else seed_of(case, phase)
    p = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.AdamW(p.values(), lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=DECAY)
    with torch.no_grad():
        reference = log_probs(scores(p, embeddings, None))
    steps = []
    for epoch in range(1, EPOCHS + 1):
        factors = None if case == "constant" else torch.tensor(masks(seed, phase, epoch))
        logp = log_probs(scores(p, embeddings, factors))
        loss = rce(logp, epoch - 1) if phase == 0 else grpo(logp, reference, epoch)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(p.values(), 1.0)
        optimizer.step()
        after = {name: value.detach().flatten().tolist() for name, value in p.items()}
        steps.append({"loss": loss.item(), "grad_norm": norm.item(), "weights": after})
    return {
        "case": case,
        "phase": ["rce", "grpo"][phase],
        "seed": seed,
        "dropout": 0.0 if case == "constant" else RATE,
        "embeddings": embeddings.flatten().tolist(),
        "start": {name: value.flatten().tolist() for name, value in start.items()},
        "steps": steps,
    }


json.dump(
    {
        "torch": torch.__version__,
        "dim": DIM, "hidden": HIDDEN, "length": LENGTH, "query": QUERY, "pool": CANDIDATES, "pointers": POINTERS,
        "rewards": REWARDS, "lr": LR, "weight_decay": DECAY, "kl_beta": BETA,
        "cases": [train(case, phase) for case in [*CASES, "constant"] for phase in (0, 1)],
    },
    sys.stdout,
    separators=(",", ":"),
)
