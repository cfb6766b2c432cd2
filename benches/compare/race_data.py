"""What the comparison scripts share: the race's data, its grid, fresh weights, measuring.

Nothing here imports torch or jax. numpy and safetensors only.
"""

import json
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RACE = ROOT / "sweeps/data/race"
GOLDEN = ROOT / "tests/golden"

# sweeps/race.toml
BETAS = (0.10, 0.12, 0.15, 0.18)
RATES = (5e-6, 1e-5, 2e-5)
FREEZES = (True, False)
EPOCHS = (1, 2, 3)
RCE_EPOCHS = 2
RCE_LR = 1e-4
# Defaults of the sweep file.
HIDDEN = 256
DROPOUT, ATTENTION_DROPOUT = 0.5, 0.1
TEMPERATURE = 0.1
TOP_K = (3, 5)
CLIP = 0.2
WEIGHT_DECAY, ADAM_BETAS, ADAM_EPS, GRAD_CLIP = 0.01, (0.9, 0.999), 1e-8, 1.0
ALREADY_CHOSEN = -100.0

RUNS = [(beta, rate) for beta in BETAS for rate in RATES]
BACKBONE = ("input_proj.weight", "query_proj.weight", "cand_proj.weight")
ATTENTION = "cross_attn_layers.0."


def tau(step, total):
    """RCE's temperature: 2.0 to 0.5 over all its steps."""
    return 2.0 + (0.5 - 2.0) * step / max(total - 1, 1)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


@dataclass
class Group:
    """One query group: the work of one training step."""

    query: int
    pool: np.ndarray  # [K] global ids
    labels: np.ndarray  # [T, S] local ids
    raw: np.ndarray  # [T] float64
    normalized: np.ndarray  # [T] float64

    def kept(self, k):
        """The top k trajectories by reward, ties in file order, and their advantages."""
        kept = np.argsort(-self.normalized, kind="stable")[:k]
        r = self.normalized[kept]
        std = r.std(ddof=1) if len(r) > 1 else 0.0
        return kept, np.clip((r - r.mean()) / max(std, 0.1), -5, 5)


@dataclass
class Data:
    embeddings: np.ndarray  # [N, d]
    train: list
    validation: list


def load(folder=RACE):
    from safetensors.numpy import load_file

    if not (folder / "rl_data.json").is_file():
        raise SystemExit(f"{folder} has no data: cargo run --release --example make_race")
    entries = json.loads((folder / "rl_data.json").read_text())
    ids = sorted(int(key) for key in entries if key.isdigit())
    groups = [group(i, entries[str(i)]) for i in ids]
    count = int(len(ids) * 0.8)
    embeddings = load_file(folder / "embeddings.safetensors")["embeddings"]
    return Data(embeddings, groups[:count], groups[count:])


def group(query, entry):
    kept = [t for t in entry["pointer_candidates"] if not t["eval_failed"] and t["vqa_eval_mode"] == "vqa"]
    raw = np.clip(np.array([t["vqa_correct"] + t["vqa_acc_score"] for t in kept], np.float64), -5, 5)
    std = raw.std(ddof=1) if len(raw) > 1 else 0.0
    normalized = raw if std <= 1e-12 else np.clip((raw - raw.mean()) / std, -3, 3)
    labels = np.array([t["pointer"] for t in kept], np.int64)
    return Group(query, np.array(entry["candidate_pool_ids"], np.int64), labels, raw, normalized)


def padded(groups, select=None):
    """Labels [n, T, S], what is chosen before each step [n, T, S, K] and who is there [n, T]; short groups are filled up."""
    picks = [np.arange(len(g.raw)) if select is None else g.kept(select)[0] for g in groups]
    most, shots, pool = max(map(len, picks)), groups[0].labels.shape[1], len(groups[0].pool)
    labels = np.zeros((len(groups), most, shots), np.int64)
    chosen = np.zeros((len(groups), most, shots, pool), bool)
    present = np.zeros((len(groups), most), np.float32)
    for i, (g, pick) in enumerate(zip(groups, picks)):
        labels[i, : len(pick)] = g.labels[pick]
        present[i, : len(pick)] = 1
        for t in range(len(pick)):
            for s in range(1, shots):
                chosen[i, t, s:, labels[i, t, s - 1]] = True
    return labels, chosen, present


def fill(rows, width):
    """Ragged rows as one float32 array [n, width]; zeros where a row has ended."""
    out = np.zeros((len(rows), width), np.float32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def fresh_weights(dim, hidden=HIDDEN, seed=0):
    """Weights by PyTorch's names, with the distributions that the lab's model starts from."""
    rng = np.random.default_rng(seed)

    def uniform(bound, *shape):
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    def near_identity():
        return (np.eye(hidden) + 0.01 * rng.standard_normal((hidden, hidden))).astype(np.float32)

    return {
        "input_proj.weight": uniform((6 / (dim + hidden)) ** 0.5, hidden, dim),
        ATTENTION + "in_proj_weight": uniform((6 / (4 * hidden)) ** 0.5, 3 * hidden, hidden),
        ATTENTION + "in_proj_bias": np.zeros(3 * hidden, np.float32),
        ATTENTION + "out_proj.weight": uniform(hidden**-0.5, hidden, hidden),
        ATTENTION + "out_proj.bias": np.zeros(hidden, np.float32),
        "attn_norms.0.weight": np.ones(hidden, np.float32),
        "attn_norms.0.bias": np.zeros(hidden, np.float32),
        "query_proj.weight": near_identity(),
        "cand_proj.weight": near_identity(),
    }


def golden_weights(name="init"):
    from safetensors.numpy import load_file

    return load_file(GOLDEN / f"{name}.safetensors")


def golden_run(name):
    return json.loads((GOLDEN / "trajectory.json").read_text())["runs"][name]


class Check:
    """Compares with the golden vectors; prints every comparison, remembers the failures."""

    def __init__(self):
        self.failed = 0

    def close(self, what, got, want, limit):
        difference = float(np.max(np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64))))
        good = difference <= limit  # also false for NaN
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {what}: largest difference {difference:.1e} (limit {limit:.0e})")

    def run(self, what, name, losses, val_losses, weights):
        """One of the golden training runs: losses of every step, val_loss of every epoch, final weights."""
        want = golden_run(name)
        self.close(f"{what}, run {name}: losses of {len(losses)} steps", losses, [s["loss"] for s in want["steps"]], 1e-4)
        self.close(f"{what}, run {name}: val_loss", val_losses, [e["val_loss"] for e in want["epochs"]], 1e-4)
        if name in ("a", "c"):
            final = golden_weights(f"final_{name}")
            for parameter, value in final.items():
                got = np.array(weights[parameter])
                if parameter.endswith("in_proj_bias"):
                    # The key bias has no gradient; Adam amplifies what rounding leaves of it.
                    hidden = len(value) // 3
                    got[hidden : 2 * hidden] = value[hidden : 2 * hidden]
                self.close(f"{what}, run {name}: {parameter}", got, value, 2e-5)

    def finish(self):
        print("all within the limits" if not self.failed else f"{self.failed} beyond the limits")
        raise SystemExit(bool(self.failed))


def cpu_seconds():
    """User and system time of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_mb():
    """Largest resident memory so far, of this process or of the largest child."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(usage.ru_maxrss for usage in usages) / 1024


def since_start():
    """Seconds since this process started, so that starting Python and importing count too."""
    ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


class Clock:
    """Wall and CPU seconds between `start` and `stop`, summed."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def start(self):
        self.began = (time.perf_counter(), time.process_time())

    def stop(self):
        self.wall += time.perf_counter() - self.began[0]
        self.cpu += time.process_time() - self.began[1]


def rounded(value):
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return value


def report(**fields):
    """One JSON line."""
    fields["load_before"] = float(Path("/proc/loadavg").read_text().split()[0])
    print(json.dumps(rounded(fields)), flush=True)
