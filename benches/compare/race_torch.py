"""The race of sweeps/race.toml in PyTorch, three ways. See README.md.

    python race_torch.py {lab,tuned,shared} [--full] [--steps N] [--threads N] [--compile]
    python race_torch.py --check
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim import AdamW
from torch.utils.data import DataLoader, Dataset

import race_data as race


class Selector(nn.Module):
    """The pointer selector, with the parameter names of the lab's checkpoints."""

    def __init__(self, dim, dropout=race.DROPOUT, attention_dropout=race.ATTENTION_DROPOUT):
        super().__init__()
        h = race.HIDDEN
        self.input_proj = nn.Linear(dim, h, bias=False)
        self.cross_attn_layers = nn.ModuleList([nn.MultiheadAttention(h, 1, dropout=attention_dropout, batch_first=True)])
        self.attn_norms = nn.ModuleList([nn.LayerNorm(h)])
        self.query_proj = nn.Linear(h, h, bias=False)
        self.cand_proj = nn.Linear(h, h, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query, candidates, labels):
        """Logits [B, S, K] of queries [B, d] with candidates [B, K, d], teacher-forced by labels [B, S]."""
        query = self.input_proj(query).unsqueeze(1)
        candidates = self.input_proj(candidates)
        attended, _ = self.cross_attn_layers[0](query, candidates, candidates)
        query = self.attn_norms[0](attended + query)
        query = F.normalize(self.query_proj(self.dropout(query)), dim=-1)
        candidates = F.normalize(self.cand_proj(self.dropout(candidates)), dim=-1)
        selected = torch.zeros(candidates.shape[:2], dtype=torch.bool)
        logits = []
        for step in range(labels.shape[1]):
            scores = (query @ candidates.transpose(1, 2)).squeeze(1) / race.TEMPERATURE
            logits.append(scores.masked_fill(selected, race.ALREADY_CHOSEN))
            selected = selected.scatter(1, labels[:, step : step + 1], True)
        return torch.stack(logits, dim=1)


def set_frozen(model, frozen):
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not (frozen and name in race.BACKBONE)
    return [p for p in model.parameters() if p.requires_grad]


def save(folder, phase, epoch, model, optimizer, beta, metrics):
    torch.save(
        {
            "epoch": epoch,
            "phase": phase,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "kl_beta": beta,
            "metrics": metrics,
        },
        Path(folder) / f"{phase}_epoch{epoch + 1}.pt",
    )


def grpo_loss(new, reference, advantages, beta):
    """The loss and what the lab logs of it; all [T]."""
    ratio = torch.exp(new - reference)
    clipped = torch.clamp(ratio, 1 - race.CLIP, 1 + race.CLIP)
    ppo = -torch.min(ratio * advantages, clipped * advantages).mean()
    kl = (ratio - 1 - (new - reference)).mean()
    return ppo + beta * kl, ppo, kl, ratio.mean()


class Stepper:
    """Counts and times training steps; ends an epoch after `limit` steps.

    The first step of an epoch is counted as it is, the others stand for all that follow.
    """

    def __init__(self, limit=None):
        self.limit = limit
        self.first, self.rest = race.Clock(), race.Clock()
        self.steps = self.done = 0
        self.extra_wall = self.extra_cpu = 0.0

    def __call__(self, items):
        count = len(items)
        limit = min(self.limit or count, count)
        self.rest.wall = self.rest.cpu = 0.0
        for i, item in enumerate(items):
            if i == limit:
                break
            if i == 1:
                self.rest.start()
            yield item
        if limit > 1:
            self.rest.stop()
            more = (count - 1) / (limit - 1) - 1
            self.extra_wall += more * self.rest.wall
            self.extra_cpu += more * self.rest.cpu
        self.done += limit
        self.steps += count


# --- lab -------------------------------------------------------------------------------------------------------------


class Groups(Dataset):
    def __init__(self, data, groups):
        self.embeddings = torch.from_numpy(data.embeddings)
        self.groups = groups

    def __len__(self):
        return len(self.groups)

    def __getitem__(self, i):
        g = self.groups[i]
        return {
            "query_id": g.query,
            "query": self.embeddings[g.query],
            "candidates": self.embeddings[g.pool],
            "labels": torch.from_numpy(g.labels),
            "raw": torch.tensor(g.raw, dtype=torch.float32),
            "normalized": torch.tensor(g.normalized, dtype=torch.float32),
        }


class Lab:
    """As the lab's script does it: candidates repeated for every trajectory, plain AdamW, `.item()` after each step."""

    def __init__(self, data, weights, folder, dropout=True, shuffle=True, limit=None):
        self.model = Selector(data.embeddings.shape[1], *(() if dropout else (0.0, 0.0)))
        self.model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})

        def one(batch):
            return batch[0]

        self.train_loader = DataLoader(Groups(data, data.train), batch_size=1, shuffle=shuffle, collate_fn=one)
        self.ordered_loader = DataLoader(Groups(data, data.train), batch_size=1, collate_fn=one)
        self.val_loader = DataLoader(Groups(data, data.validation), batch_size=1, collate_fn=one)
        self.folder = folder
        self.stepper = Stepper(limit)
        self.losses, self.val_losses = [], []

    @staticmethod
    def logits(model, batch, labels):
        """One forward pass over all trajectories, each with its own copy of the query and of the 64 candidates."""
        count = len(labels)
        query = batch["query"].unsqueeze(0).expand(count, -1)
        candidates = batch["candidates"].unsqueeze(0).expand(count, -1, -1).reshape(count, *batch["candidates"].shape)
        return model(query, candidates, labels)

    def rce_loss(self, batch, tau):
        labels = batch["labels"]
        logits = self.logits(self.model, batch, labels)
        weights = F.softmax(batch["raw"] / tau, dim=-1)
        entropy = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none")
        return (weights * entropy.reshape(labels.shape).sum(dim=-1)).sum()

    def log_probs(self, model, batch, labels):
        logits = self.logits(model, batch, labels)
        return F.log_softmax(logits, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).sum(dim=-1)

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        total = sum(self.rce_loss(batch, 1.0).item() for batch in self.val_loader)
        self.model.train()
        self.val_losses.append(total / len(self.val_loader))
        return self.val_losses[-1]

    def rce(self, epochs=race.RCE_EPOCHS):
        optimizer = AdamW(self.model.parameters(), lr=race.RCE_LR, weight_decay=race.WEIGHT_DECAY)
        self.model.train()
        count = len(self.train_loader)
        for epoch in range(epochs):
            total = 0.0
            for i, batch in enumerate(self.stepper(self.train_loader)):
                optimizer.zero_grad()
                loss = self.rce_loss(batch, race.tau(epoch * count + i, epochs * count))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), race.GRAD_CLIP)
                optimizer.step()
                total += loss.item()
                self.losses.append(loss.item())
            metrics = {"rce_loss": total / count, "val_loss": self.validate()}
            save(self.folder, "rce", epoch, self.model, optimizer, None, metrics)

    @torch.no_grad()
    def reference(self):
        """Log-probabilities of all trajectories under a frozen copy, once before GRPO."""
        frozen = copy.deepcopy(self.model).eval()
        return {b["query_id"]: self.log_probs(frozen, b, b["labels"]) for b in self.ordered_loader}

    def grpo(self, beta, rate, frozen, epochs):
        reference = self.reference()
        optimizer = AdamW(set_frozen(self.model, frozen), lr=rate, weight_decay=race.WEIGHT_DECAY)
        self.model.train()
        for epoch in range(epochs):
            top = race.TOP_K[min(epoch, 1)]
            sums = dict.fromkeys(("loss", "ppo", "kl", "ratio", "mean", "std", "max"), 0.0)
            for batch in self.stepper(self.train_loader):
                rewards = batch["normalized"]
                kept = torch.argsort(rewards, descending=True, stable=True)[:top]
                labels, rewards = batch["labels"][kept], rewards[kept]
                old = reference[batch["query_id"]][kept]
                optimizer.zero_grad()
                new = self.log_probs(self.model, batch, labels)
                advantages = ((rewards - rewards.mean()) / rewards.std().clamp(min=0.1)).clamp(-5, 5)
                loss, ppo, kl, ratio = grpo_loss(new, old, advantages, beta)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), race.GRAD_CLIP)
                optimizer.step()
                logged = (loss, ppo, kl, ratio, advantages.mean(), advantages.std(), advantages.abs().max())
                for name, value in zip(sums, logged):
                    sums[name] += value.item()
                self.losses.append(loss.item())
            metrics = {name: value / len(self.train_loader) for name, value in sums.items()}
            metrics["val_loss"] = self.validate()
            save(self.folder, "grpo", epoch, self.model, optimizer, beta, metrics)


# --- tuned and shared ------------------------------------------------------------------------------------------------


class Prepared:
    """Everything about the groups that is known before training, as tensors."""

    def __init__(self, data):
        self.embeddings = torch.from_numpy(data.embeddings)
        self.train = Walk(self.embeddings, data.train, race.TOP_K)
        self.validation = Walk(self.embeddings, data.validation, ())


class Walk:
    def __init__(self, embeddings, groups, tops):
        self.count = len(groups)
        self.queries = torch.tensor([g.query for g in groups])
        self.pools = torch.from_numpy(np.stack([g.pool for g in groups]))
        self.raw = [torch.tensor(g.raw, dtype=torch.float32) for g in groups]
        labels, chosen, present = map(torch.from_numpy, race.padded(groups))
        self.labels, self.chosen, self.present = labels, chosen, present
        self.weights = torch.from_numpy(race.fill([race.softmax(g.raw) for g in groups], labels.shape[1]))
        self.all = [(labels[i, : len(g.raw)], chosen[i, : len(g.raw)]) for i, g in enumerate(groups)]
        self.kept = {top: [self.keep(i, g, top) for i, g in enumerate(groups)] for top in tops}

    def keep(self, i, group, top):
        kept, advantages = group.kept(top)
        kept = torch.from_numpy(kept.copy())
        return self.labels[i][kept], self.chosen[i][kept], kept, torch.tensor(advantages, dtype=torch.float32)


def log_probs(z, labels, chosen):
    """Log-probabilities [T] of all trajectories from one score vector z [K]."""
    masked = torch.where(chosen, race.ALREADY_CHOSEN, z)
    entropy = F.cross_entropy(masked.flatten(0, 1), labels.flatten(), reduction="none")
    return -entropy.view(labels.shape).sum(-1)


class Tuned:
    """A group is computed once per step; fused optimizer; nothing is read back within an epoch."""

    def __init__(self, data, weights, folder, dropout=True, shuffle=True, limit=None, query_side=False, compiled=False):
        self.data = data
        self.model = Selector(data.embeddings.shape[1])
        self.load({name: torch.from_numpy(value) for name, value in weights.items()})
        self.p, self.p_attention = (race.DROPOUT, race.ATTENTION_DROPOUT) if dropout else (0.0, 0.0)
        self.shuffle, self.query_side, self.folder = shuffle, query_side, folder
        self.stepper = Stepper(limit)
        self.losses, self.val_losses = [], []
        self.table = None
        self.loss_of_rce, self.loss_of_grpo = self.rce_loss, self.grpo_loss
        if compiled:
            self.loss_of_rce = torch.compile(self.rce_loss, dynamic=False)
            self.loss_of_grpo = torch.compile(self.grpo_loss, dynamic=False)

    def load(self, state):
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(state[name])

    def scores(self, query, candidates, dropping):
        """Scores [.., K] of projected queries [.., h] and candidates [.., K, h]."""
        model, attention, h = self.model, self.model.cross_attn_layers[0], race.HIDDEN
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        q = F.linear(query, weight[:h], bias[:h]) * h**-0.5
        if self.query_side:
            # q . (W_k c + b) = (W_k^T q) . c + a constant, and sum a (W_v c + b) = W_v (sum a c) + b sum a.
            a = (candidates @ (q @ weight[h : 2 * h]).unsqueeze(-1)).squeeze(-1).softmax(-1)
            a = F.dropout(a, self.p_attention, dropping)
            context = (a.unsqueeze(-2) @ candidates).squeeze(-2)
            value = F.linear(context, weight[2 * h :]) + bias[2 * h :] * a.sum(-1, keepdim=True)
        else:
            keys, values = F.linear(candidates, weight[h:], bias[h:]).chunk(2, dim=-1)
            a = (keys @ q.unsqueeze(-1)).squeeze(-1).softmax(-1)
            a = F.dropout(a, self.p_attention, dropping)
            value = (a.unsqueeze(-2) @ values).squeeze(-2)
        query = model.attn_norms[0](attention.out_proj(value) + query)
        query = F.dropout(query, self.p, dropping)
        candidates = F.dropout(candidates, self.p, dropping)
        qn = F.normalize(model.query_proj(query), dim=-1)
        cn = F.normalize(model.cand_proj(candidates), dim=-1)
        return (cn @ qn.unsqueeze(-1)).squeeze(-1) / race.TEMPERATURE

    def group_scores(self, query, candidates):
        if self.table is None:
            projected = self.model.input_proj(torch.cat((query.unsqueeze(0), candidates)))
            query, candidates = projected[0], projected[1:]
        return self.scores(query, candidates, True)

    def inputs(self, i):
        source, walk = self.data.embeddings if self.table is None else self.table, self.data.train
        return source[walk.queries[i]], source[walk.pools[i]]

    @torch.no_grad()
    def all_log_probs(self, walk):
        """Log-probabilities [n, T] in evaluation mode, every embedding projected once."""
        table = self.model.input_proj(self.data.embeddings) if self.table is None else self.table
        z = self.scores(table[walk.queries], table[walk.pools], False)
        masked = torch.where(walk.chosen, race.ALREADY_CHOSEN, z[:, None, None, :])
        return F.log_softmax(masked, -1).gather(-1, walk.labels.unsqueeze(-1)).squeeze(-1).sum(-1)

    def validate(self):
        walk = self.data.validation
        loss = -(walk.weights * self.all_log_probs(walk)).sum(-1).mean()
        self.val_losses.append(loss.item())
        return loss.item()

    def order(self):
        count = self.data.train.count
        return (torch.randperm(count) if self.shuffle else torch.arange(count)).tolist()

    def rce_loss(self, query, candidates, labels, chosen, weights):
        return -(weights * log_probs(self.group_scores(query, candidates), labels, chosen)).sum()

    def grpo_loss(self, query, candidates, labels, chosen, old, advantages, beta):
        return grpo_loss(log_probs(self.group_scores(query, candidates), labels, chosen), old, advantages, beta)

    def optimizer(self, parameters, rate):
        return AdamW(parameters, lr=rate, weight_decay=race.WEIGHT_DECAY, fused=True)

    def rce(self, epochs=race.RCE_EPOCHS):
        parameters = set_frozen(self.model, False)
        optimizer = self.optimizer(parameters, race.RCE_LR)
        walk = self.data.train
        for epoch in range(epochs):
            losses = []
            for step, i in enumerate(self.stepper(self.order())):
                weights = F.softmax(walk.raw[i] / race.tau(epoch * walk.count + step, epochs * walk.count), dim=-1)
                loss = self.loss_of_rce(*self.inputs(i), *walk.all[i], weights)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, race.GRAD_CLIP, foreach=True)
                optimizer.step()
                losses.append(loss.detach())
            losses = torch.stack(losses)
            self.losses += losses.tolist()
            metrics = {"rce_loss": losses.mean().item(), "val_loss": self.validate()}
            save(self.folder, "rce", epoch, self.model, optimizer, None, metrics)

    def grpo(self, beta, rate, frozen, epochs, reference=None, each_epoch=lambda epoch: None):
        walk = self.data.train
        parameters = set_frozen(self.model, frozen)
        optimizer = self.optimizer(parameters, rate)
        if frozen and self.query_side:
            with torch.no_grad():
                self.table = self.model.input_proj(self.data.embeddings)
        reference = self.all_log_probs(walk) if reference is None else reference
        weight = torch.tensor(beta)  # a tensor, so that a compiled loss serves all of them
        for epoch in range(epochs):
            kept = walk.kept[race.TOP_K[min(epoch, 1)]]
            logged = []
            for i in self.stepper(self.order()):
                labels, chosen, which, advantages = kept[i]
                figures = self.loss_of_grpo(*self.inputs(i), labels, chosen, reference[i][which], advantages, weight)
                optimizer.zero_grad(set_to_none=True)
                figures[0].backward()
                nn.utils.clip_grad_norm_(parameters, race.GRAD_CLIP, foreach=True)
                optimizer.step()
                logged.append(torch.stack(figures).detach())
            logged = torch.stack(logged)
            self.losses += logged[:, 0].tolist()
            metrics = dict(zip(("loss", "ppo", "kl", "ratio"), logged.mean(0).tolist()), val_loss=self.validate())
            save(self.folder, "grpo", epoch, self.model, optimizer, beta, metrics)
        self.table = None


# --- the variants ----------------------------------------------------------------------------------------------------


def sample(full):
    """(beta, rate, frozen, epochs) that are run, and how many points each stands for.

    Without `full` one of each (freeze, epochs), each with another KL_BETA and learning rate.
    """
    kinds = [(frozen, epochs) for frozen in race.FREEZES for epochs in race.EPOCHS]
    if full:
        return [(*run, *kind) for kind in kinds for run in race.RUNS], 1
    return [(*race.RUNS[(5 * i) % 12], *kind) for i, kind in enumerate(kinds)], 12


def how(arguments, times, what):
    parts = [f"{72 // times} of 72 points run, each counts for {times}"] if times > 1 else []
    if arguments.steps:
        parts.append(f"{arguments.steps} steps trained per epoch, the time of all but the first scaled to {what}")
    return "; ".join(parts) or None


def run_lab(arguments):
    points, times = sample(arguments.full)
    wall = cpu = peak = 0.0
    steps = done = 0
    for point in points:
        command = [sys.executable, __file__, "lab", "--point", json.dumps(point), "--threads", str(arguments.threads)]
        command += ["--steps", str(arguments.steps)] if arguments.steps else []
        before, clock = race.cpu_seconds(), race.Clock()
        clock.start()
        child = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        clock.stop()
        result = json.loads(child.stdout)
        point_wall = clock.wall + result["extra_wall"]
        point_cpu = race.cpu_seconds() - before + result["extra_cpu"]
        print(f"{point}: {point_wall:.1f} s, CPU {point_cpu:.1f} s", file=sys.stderr)
        wall, cpu = wall + times * point_wall, cpu + times * point_cpu
        steps, done = steps + times * result["steps"], done + result["done"]
        peak = max(peak, result["peak_mb"])
    return wall, cpu, peak, steps, done, how(arguments, times, "the epoch"), {}


def run_point(arguments):
    """One process of the lab's: its own warm-up, then GRPO."""
    with tempfile.TemporaryDirectory() as folder:
        data = race.load()
        lab = Lab(data, race.fresh_weights(data.embeddings.shape[1]), folder, limit=arguments.steps)
        lab.rce()
        lab.grpo(*json.loads(arguments.point))
        s = lab.stepper
        result = {"extra_wall": s.extra_wall, "extra_cpu": s.extra_cpu, "steps": s.steps, "done": s.done}
    print(json.dumps({**result, "peak_mb": race.peak_mb()}))


def run_tuned(arguments):
    points, times = sample(arguments.full)
    with tempfile.TemporaryDirectory() as folder:
        data = race.load()
        prepared, weights = Prepared(data), race.fresh_weights(data.embeddings.shape[1])
        setup_wall, setup_cpu = race.since_start(), race.cpu_seconds()
        wall = cpu = 0.0
        steps = done = 0
        for point in points:
            clock = race.Clock()
            clock.start()
            tuned = Tuned(prepared, weights, folder, limit=arguments.steps, compiled=arguments.compile)
            tuned.rce()
            tuned.grpo(*point)
            clock.stop()
            s = tuned.stepper
            print(f"{point}: {clock.wall + s.extra_wall:.1f} s", file=sys.stderr)
            wall, cpu = wall + times * (clock.wall + s.extra_wall), cpu + times * (clock.cpu + s.extra_cpu)
            steps, done = steps + times * s.steps, done + s.done
    extra = {"setup_s": setup_wall}
    return setup_wall + wall, setup_cpu + cpu, race.peak_mb(), steps, done, how(arguments, times, "the epoch"), extra


def run_shared(arguments):
    with tempfile.TemporaryDirectory() as folder:
        data = race.load()
        prepared, weights = Prepared(data), race.fresh_weights(data.embeddings.shape[1])
        setup = race.since_start()
        tuned = Tuned(prepared, weights, folder, limit=arguments.steps, query_side=True, compiled=arguments.compile)
        tuned.rce()
        start = {name: value.clone() for name, value in tuned.model.state_dict().items()}
        reference = tuned.all_log_probs(prepared.train)
        for frozen in race.FREEZES:
            for number, (beta, rate) in enumerate(race.RUNS):
                tuned.folder = Path(folder) / f"{frozen}-{number}"
                tuned.folder.mkdir()
                tuned.load(start)
                tuned.grpo(beta, rate, frozen, max(race.EPOCHS), reference)
        s = tuned.stepper
        wall, cpu = race.since_start() + s.extra_wall, race.cpu_seconds() + s.extra_cpu
    return wall, cpu, race.peak_mb(), s.steps, s.done, how(arguments, 1, "the epoch"), {"setup_s": setup}


def check():
    from safetensors.numpy import load_file

    result, data, weights = race.Check(), race.load(race.GOLDEN), race.golden_weights()
    prepared, want = Prepared(data), load_file(race.GOLDEN / "forward.safetensors")
    losses = json.loads((race.GOLDEN / "losses.json").read_text())["groups"]
    for i in range(4):
        top5 = losses[i]["grpo"]["top5"]
        kept, advantages = data.train[i].kept(5)
        result.close(f"group {i}: kept", kept, top5["kept"], 0)
        result.close(f"group {i}: advantages", advantages, top5["advantages"], 1e-5)

    with tempfile.TemporaryDirectory() as folder:
        plain = {"dropout": False, "shuffle": False}
        kinds = {
            "lab": lambda: Lab(data, weights, folder, **plain),
            "tuned": lambda: Tuned(prepared, weights, folder, **plain),
            "shared": lambda: Tuned(prepared, weights, folder, query_side=True, **plain),
        }
        for name, make in kinds.items():
            with torch.no_grad():
                selector = make()
                selector.model.eval()
                for i in range(4):
                    if name == "lab":
                        batch = selector.ordered_loader.dataset[i]
                        logits = selector.logits(selector.model, batch, batch["labels"])
                        logp = selector.log_probs(selector.model, batch, batch["labels"])
                    else:
                        labels, chosen = prepared.train.all[i]
                        z = selector.group_scores(*selector.inputs(i))
                        logits = torch.where(chosen, race.ALREADY_CHOSEN, z)
                        logp = log_probs(z, labels, chosen)
                    result.close(f"{name}, group {i}: logits", logits, want[f"g{i}.logits"], 1e-5)
                    result.close(f"{name}, group {i}: log-probabilities", logp, want[f"g{i}.logp"], 1e-5)
            for run in "abc":
                selector = make()
                if run == "a":
                    selector.rce()
                else:
                    config = race.golden_run(run)["config"]
                    selector.grpo(config["kl_beta"], config["grpo_lr"], config["freeze_backbone"], config["grpo_epochs"])
                final = {key: value.numpy() for key, value in selector.model.state_dict().items()}
                result.run(name, run, selector.losses, selector.val_losses, final)
    result.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="?", choices=("lab", "tuned", "shared"), default="shared")
    parser.add_argument("--full", action="store_true", help="run all 72 points instead of one of each (freeze, epochs)")
    parser.add_argument("--steps", type=int, help="train only so many steps per epoch and extrapolate")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--compile", action="store_true", help="torch.compile the loss (tuned and shared)")
    parser.add_argument("--check", action="store_true", help="compare all variants with the golden vectors instead")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.check:
        check()
    if arguments.point:
        run_point(arguments)
        return
    run = {"lab": run_lab, "tuned": run_tuned, "shared": run_shared}[arguments.variant]
    wall, cpu, peak, steps, done, extrapolated, extra = run(arguments)
    race.report(
        variant=f"torch {arguments.variant}" + (" compiled" if arguments.compile else ""),
        wall_s=wall,
        cpu_s=cpu,
        peak_rss_mb=peak,
        steps=steps,
        steps_trained=done,
        extrapolated=extrapolated,
        threads=arguments.threads,
        versions={"python": sys.version.split()[0], "torch": torch.__version__, "numpy": np.__version__},
        **extra,
    )


if __name__ == "__main__":
    main()
