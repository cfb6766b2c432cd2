"""The race of sweeps/race.toml as one JAX program. See README.md.

    python race_jax.py [--width W] [--parallel P] [--threads N] [--plain] [--check]
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

WIDTH, PARALLEL = 4, 2

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--plain", action="store_true", help="gradients by jax.grad alone, no outer products left to the optimizer")
parser.add_argument("--width", type=int, default=WIDTH, help="members of one vmapped program (the runs of a freeze setting: 12)")
parser.add_argument("--parallel", type=int, default=PARALLEL, help="such programs that run at the same time")
parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores used")
parser.add_argument("--steps", type=int, help="train only so many steps per epoch (development; nothing is extrapolated)")
parser.add_argument("--check", action="store_true", help="compare with the golden vectors instead")
arguments = parser.parse_args()

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        f"--xla_cpu_multi_thread_eigen={'true' if arguments.threads > 1 else 'false'}",
    ]
)
if arguments.threads < os.cpu_count():
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: arguments.threads]))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import race_data as race  # noqa: E402

jax.config.update("jax_platforms", "cpu")

H = race.HIDDEN
SCALE = H**-0.5
BACKBONE = ("input_proj", "query_proj", "cand_proj")


# --- parameters ------------------------------------------------------------------------------------------------------


def split(weights):
    """PyTorch's parameters under short names, the attention's three projections apart."""
    in_proj, in_bias = weights[race.ATTENTION + "in_proj_weight"], weights[race.ATTENTION + "in_proj_bias"]
    return {
        "input_proj": weights["input_proj.weight"],
        "wq": in_proj[:H],
        "wk": in_proj[H : 2 * H],
        "wv": in_proj[2 * H :],
        "bq": in_bias[:H],
        "bk": in_bias[H : 2 * H],
        "bv": in_bias[2 * H :],
        "wo": weights[race.ATTENTION + "out_proj.weight"],
        "bo": weights[race.ATTENTION + "out_proj.bias"],
        "norm_weight": weights["attn_norms.0.weight"],
        "norm_bias": weights["attn_norms.0.bias"],
        "query_proj": weights["query_proj.weight"],
        "cand_proj": weights["cand_proj.weight"],
    }


def joined(p):
    """The inverse of `split`, of one member."""
    return {
        "input_proj.weight": p["input_proj"],
        race.ATTENTION + "in_proj_weight": np.concatenate([p["wq"], p["wk"], p["wv"]]),
        race.ATTENTION + "in_proj_bias": np.concatenate([p["bq"], p["bk"], p["bv"]]),
        race.ATTENTION + "out_proj.weight": p["wo"],
        race.ATTENTION + "out_proj.bias": p["bo"],
        "attn_norms.0.weight": p["norm_weight"],
        "attn_norms.0.bias": p["norm_bias"],
        "query_proj.weight": p["query_proj"],
        "cand_proj.weight": p["cand_proj"],
    }


# --- the model: G members at once ------------------------------------------------------------------------------------


def matvec(w, x):
    """[G, o, h] x [G, h] or [h] -> [G, o]; also with one matrix [o, h] for all members."""
    return jnp.einsum(("goh" if w.ndim == 3 else "oh") + "," + ("gh" if x.ndim == 2 else "h") + "->go", w, x)


def unit(x):
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-24))


def layer_norm(x, weight, bias):
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight + bias


# What `taps` are added to: the outputs of the linear layers. The gradient of a tap and the layer's input make the
# gradient of its weights, as an outer product that needs no memory of its own.
def scores(p, taps, rows, masks):
    """Scores [G, K] and the inputs of the linear layers.

    `rows` is [1 + K, d] (the query first) and is projected here, or, under a frozen backbone, what that gives:
    (query [h], candidates [K, h], candidates for the scores [K, h]).
    """
    query_mask, candidate_mask, attention_mask = masks

    def tap(name, x):
        return x + taps[name] if name in taps else x

    frozen = isinstance(rows, tuple)
    if frozen:
        x, c, cn = rows
        pool = "kh"
    else:
        # One product for all members, its rows kept whole.
        members = p["input_proj"].shape[0]
        projected = (rows @ p["input_proj"].reshape(members * H, -1).T).reshape(len(rows), members, H)
        projected = tap("input_proj", projected.transpose(1, 0, 2))
        x, c = projected[:, 0], projected[:, 1:]
        pool = "gkh"
    q = (tap("wq", matvec(p["wq"], x)) + p["bq"]) * SCALE
    u = tap("wk", jnp.einsum("goh,go->gh", p["wk"], q))
    a = jax.nn.softmax(jnp.einsum(f"{pool},gh->gk", c, u), axis=-1) * attention_mask
    context = jnp.einsum(f"gk,{pool}->gh", a, c)
    v = tap("wv", matvec(p["wv"], context)) + p["bv"] * a.sum(-1, keepdims=True)
    o = tap("wo", matvec(p["wo"], v)) + p["bo"]
    y = layer_norm(o + x, p["norm_weight"], p["norm_bias"]) * query_mask
    qn = unit(tap("query_proj", matvec(p["query_proj"], y)))
    dropped = None
    if not frozen:
        dropped = c * candidate_mask
        cn = tap("cand_proj", jnp.einsum("gkh,goh->gko", dropped, p["cand_proj"]))
    z = jnp.einsum(f"{pool},gh->gk", cn, qn) / race.TEMPERATURE
    if not frozen:
        z = z * jax.lax.rsqrt(jnp.maximum((cn * cn).sum(-1), 1e-24))
    return z, {"x": x, "q": q, "context": context, "v": v, "y": y, "dropped": dropped}


def frozen_rows(fixed, table, ids, candidate_mask):
    """What a step needs of a frozen backbone; the same for all members. `table` is the projected embeddings."""
    x = table[ids]
    return x[0], x[1:], unit((x[1:] * candidate_mask) @ fixed["cand_proj"].T)


def log_probs(z, chosen, hot):
    """[.., T] from scores [.., K]: what is chosen already [T, S, K], the labels as one-hot [T, S, K]."""
    masked = jnp.where(chosen, race.ALREADY_CHOSEN, z[..., None, None, :])
    picked = (masked * hot).sum(-1)
    return (picked - jax.nn.logsumexp(masked, axis=-1)).sum(-1)


def rce_loss(z, step):
    return -(step["weights"] * log_probs(z, step["chosen"], step["hot"])).sum(-1), ()


def grpo_loss(z, step, beta):
    present, count = step["present"], step["present"].sum()
    log_ratio = log_probs(z, step["chosen"], step["hot"]) - step["reference"]
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - race.CLIP, 1 + race.CLIP)
    ppo = -(jnp.minimum(ratio * step["advantages"], clipped * step["advantages"]) * present).sum(-1) / count
    kl = ((ratio - 1 - log_ratio) * present).sum(-1) / count
    return ppo + beta * kl, (ppo, kl, (ratio * present).sum(-1) / count)


# --- one training step -----------------------------------------------------------------------------------------------

RANK_ONE = ("wq", "wk", "wv", "wo", "query_proj")
SMALL = ("bq", "bv", "bo", "norm_weight", "norm_bias")


def gradients(loss_of, trained, fixed, rows, masks):
    """Losses [G], figures, gradients (arrays, or pairs whose outer product they are), their square norms [G]."""
    members = trained["bq"].shape[0]

    def square(x):
        return (x * x).sum(tuple(range(1, x.ndim)))

    if arguments.plain:

        def total(trained):
            z, _ = scores({**fixed, **trained}, {}, rows, masks)
            losses, figures = loss_of(z)
            return losses.sum(), (losses, figures)

        grads, (losses, figures) = jax.grad(total, has_aux=True)(trained)
        return losses, figures, grads, sum(square(g) for g in grads.values())

    sizes = {name: (members, H) for name in RANK_ONE if name in trained}
    if "input_proj" in trained:
        k = rows.shape[0]
        sizes |= {"input_proj": (members, k, H), "cand_proj": (members, k - 1, H)}
    taps = {name: jnp.zeros(shape) for name, shape in sizes.items()}
    small = {name: trained[name] for name in SMALL}

    def total(small, taps):
        z, inputs = scores({**fixed, **trained, **small}, taps, rows, masks)
        losses, figures = loss_of(z)
        return losses.sum(), (losses, figures, inputs)

    (grads, d), (losses, figures, inputs) = jax.grad(total, argnums=(0, 1), has_aux=True)(small, taps)
    x = jnp.broadcast_to(inputs["x"], (members, H))
    outer = {
        "wq": (d["wq"], x),
        "wk": (inputs["q"], d["wk"]),
        "wv": (d["wv"], inputs["context"]),
        "wo": (d["wo"], inputs["v"]),
    }
    norm = sum(square(g) for g in grads.values())
    if "query_proj" in trained:
        outer["query_proj"] = (d["query_proj"], inputs["y"])
        by_row = d["input_proj"].transpose(1, 0, 2).reshape(len(rows), -1)
        grads["input_proj"] = (by_row.T @ rows).reshape(trained["input_proj"].shape)
        grads["cand_proj"] = jnp.einsum("gko,gkh->goh", d["cand_proj"], inputs["dropped"])
        norm += square(grads["input_proj"]) + square(grads["cand_proj"])
    norm += sum(square(left) * square(right) for left, right in outer.values())
    # The key bias shifts all attention scores alike: no gradient.
    grads["bk"] = jnp.zeros_like(trained["bk"])
    return losses, figures, {**grads, **outer}, norm


def adamw(trained, moments, grads, norm, rate, t):
    """One AdamW step of all members after clipping; `rate` [G], `t` counts from 1."""
    scale = jnp.minimum(1.0, race.GRAD_CLIP / (jnp.sqrt(norm) + 1e-6))
    b1, b2 = race.ADAM_BETAS
    size, root = rate / (1 - b1**t), 1 / jnp.sqrt(1 - b2**t)
    new, new_moments = {}, {}
    for name, p in trained.items():
        g = grads[name]

        def wide(x, p=p):
            return x.reshape(-1, *[1] * (p.ndim - 1))

        if isinstance(g, tuple):
            g = (g[0] * scale[:, None])[:, :, None] * g[1][:, None, :]
        else:
            g = g * wide(scale)
        m, v = moments[name]
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * (g * g)
        new[name] = p * wide(1 - rate * race.WEIGHT_DECAY) - wide(size) * m / (jnp.sqrt(v) * root + race.ADAM_EPS)
        new_moments[name] = (m, v)
    return new, new_moments


def masks_of(bits, pool):
    """Dropout factors of one step from its random words: query [h], candidates [K, h], attention [K]."""
    coins = ((bits[: (pool + 1) * H // 32, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1).reshape(pool + 1, H)
    coins = coins.astype(jnp.float32) / (1 - race.DROPOUT)
    kept = bits[(pool + 1) * H // 32 :] >= jnp.uint32(race.ATTENTION_DROPOUT * 2**32)
    return coins[0], coins[1:], kept.astype(jnp.float32) / (1 - race.ATTENTION_DROPOUT)


def epoch(phase, dropout, state, fixed, table, walk, order, key, done, betas, rates):
    """One epoch: a scan over its steps, in which all members advance together."""
    assert race.DROPOUT == 0.5, "one random bit per unit"
    pool = walk["ids"].shape[1] - 1
    words = (pool + 1) * H // 32 + pool
    bits = jax.random.bits(key, (len(order), words), jnp.uint32) if dropout else jnp.zeros((len(order), 0), jnp.uint32)

    def step(state, inputs):
        (trained, moments), (i, bits, t) = state, inputs
        group = jax.tree.map(lambda x: x[i], walk)
        masks = masks_of(bits, pool) if dropout else (1.0, 1.0, 1.0)
        if "input_proj" in trained:
            rows = table[group["ids"]]
        else:
            rows = frozen_rows(fixed, table, group["ids"], masks[1])
        if phase == "rce":
            tau = 2.0 + (0.5 - 2.0) * (t - 1) / (race.RCE_EPOCHS * len(walk["ids"]) - 1)
            group["weights"] = jax.nn.softmax(jnp.where(group["present"] > 0, group["raw"] / tau, -jnp.inf))
            loss_of = partial(rce_loss, step=group)
        else:
            loss_of = partial(grpo_loss, step=group, beta=betas)
        losses, figures, grads, norm = gradients(loss_of, trained, fixed, rows, masks)
        state = adamw(trained, moments, grads, norm, rates, t)
        return state, (losses, figures, jnp.sqrt(norm))

    steps = done + 1.0 + jnp.arange(len(order), dtype=jnp.float32)
    return jax.lax.scan(step, state, (order, bits, steps))


# --- evaluation mode -------------------------------------------------------------------------------------------------


def eval_candidates(p, walk):
    """Every embedding that `walk` uses is projected once; queries [n, h], candidates [n, K, h] and for the scores."""
    table = walk["rows"] @ p["input_proj"].T
    normed = unit(table @ p["cand_proj"].T)
    ids = walk["local"]
    return table[ids[:, 0]], table[ids[:, 1:]], normed[ids[:, 1:]]


def eval_log_probs(p, candidates, walk):
    """[n, T] of one member."""
    x, c, cn = candidates
    q = (x @ p["wq"].T + p["bq"]) * SCALE
    a = jax.nn.softmax(jnp.einsum("nkh,nh->nk", c, q @ p["wk"]), axis=-1)
    v = jnp.einsum("nk,nkh->nh", a, c) @ p["wv"].T + p["bv"]
    y = layer_norm(v @ p["wo"].T + p["bo"] + x, p["norm_weight"], p["norm_bias"])
    z = jnp.einsum("nkh,nh->nk", cn, unit(y @ p["query_proj"].T)) / race.TEMPERATURE
    return jax.vmap(log_probs)(z, walk["chosen"], walk["hot"])


def validate_trained(trained, walk):
    """Validation losses [G]; every member has its own projections."""

    def one(p):
        return -(walk["weights"] * eval_log_probs(p, eval_candidates(p, walk), walk)).sum(-1).mean()

    return jax.lax.map(one, trained)


def validate_frozen(trained, fixed, candidates, walk):
    def one(p):
        return -(walk["weights"] * eval_log_probs({**fixed, **p}, candidates, walk)).sum(-1).mean()

    return jax.vmap(one)(trained)


# --- data ------------------------------------------------------------------------------------------------------------


def arrays(groups, top=None, width=None):
    """Groups as arrays that a step is cut out of."""
    labels, chosen, present = race.padded(groups, top)
    hot = np.eye(chosen.shape[-1], dtype=np.float32)[labels]
    ids = np.stack([np.concatenate([[g.query], g.pool]) for g in groups]).astype(np.int32)
    walk = {"ids": ids, "chosen": chosen, "hot": hot, "present": present}
    if width is not None and labels.shape[1] < width:
        more = width - labels.shape[1]
        for name in ("chosen", "hot", "present"):
            walk[name] = np.pad(walk[name], [(0, 0), (0, more)] + [(0, 0)] * (walk[name].ndim - 2))
    return walk


def eval_arrays(data, groups):
    walk = arrays(groups)
    used, local = np.unique(walk.pop("ids"), return_inverse=True)
    weights = race.fill([race.softmax(g.raw) for g in groups], walk["chosen"].shape[1])
    del walk["present"]
    return {**walk, "rows": data.embeddings[used], "local": local.reshape(len(groups), -1).astype(np.int32), "weights": weights}


def grpo_arrays(groups, top, reference):
    """The kept trajectories, padded to the same number in every epoch so that one program serves all."""
    walk = arrays(groups, top, max(race.TOP_K))
    kept = [g.kept(top) for g in groups]
    width = walk["present"].shape[1]
    walk["advantages"] = race.fill([advantages for _, advantages in kept], width)
    walk["reference"] = race.fill([reference[i][which] for i, (which, _) in enumerate(kept)], width)
    return walk


# --- the race --------------------------------------------------------------------------------------------------------


class Race:
    def __init__(self, data, weights, folder, dropout=True, shuffle=True):
        self.data, self.start, self.dropout, self.shuffle = data, split(weights), dropout, shuffle
        self.folder = Path(folder)
        self.compile_wall = self.compile_cpu = 0.0
        self.programs, self.times = {}, {}
        self.writer, self.writing = ThreadPoolExecutor(1), []
        self.losses, self.val_losses = [], []
        self.embeddings = jnp.asarray(data.embeddings)
        self.validation = put(eval_arrays(data, data.validation))

    def call(self, name, function, *values, donate=()):
        """Runs a program, compiled at its first use; the time that takes is kept apart."""
        if name not in self.programs:
            wall, cpu = time.perf_counter(), time.process_time()
            self.programs[name] = jax.jit(function, donate_argnums=donate).lower(*values).compile()
            self.compile_wall += time.perf_counter() - wall
            self.compile_cpu += time.process_time() - cpu
        began = time.perf_counter()
        result = jax.block_until_ready(self.programs[name](*values))
        self.times[name] = self.times.get(name, 0.0) + time.perf_counter() - began
        return result

    def order_and_key(self, phase, number):
        """Visiting order and random key of an epoch: the same for all runs, as they have one seed."""
        count, seed = len(self.data.train), [0, phase == "grpo", number]
        order = np.random.default_rng(seed).permutation(count) if self.shuffle else np.arange(count)
        order = jnp.asarray(order[: arguments.steps].astype(np.int32))
        return order, jax.random.key(seed[1] * 1000 + number), jnp.float32(number * count)

    def save(self, phase, number, state, fixed, first):
        """One file of weights and moments per member, written while the next epoch trains."""
        from safetensors.numpy import save_file

        trained, moments = jax.tree.map(np.array, state)
        group = "frozen" if fixed else "all"

        def write():
            for g in range(trained["bq"].shape[0]):
                p = {**{name: np.asarray(value) for name, value in fixed.items()}}
                p |= {name: value[g] for name, value in trained.items()}
                tensors = joined(p)
                for name, (m, v) in moments.items():
                    tensors |= {f"exp_avg.{name}": m[g], f"exp_avg_sq.{name}": v[g]}
                save_file(tensors, self.folder / f"{phase}-{group}-{first + g}-epoch{number}.safetensors")

        self.writing.append(self.writer.submit(write))

    def fresh_state(self, names, members):
        trained = {name: jnp.repeat(jnp.asarray(self.start[name])[None], members, 0) for name in names}
        moments = {name: (jnp.zeros_like(value), jnp.zeros_like(value)) for name, value in trained.items()}
        return trained, moments

    def rce(self):
        state = self.fresh_state(self.start, 1)
        walk = arrays(self.data.train)
        walk["raw"] = race.fill([g.raw for g in self.data.train], walk["present"].shape[1])
        walk = put(walk)
        rates, betas = jnp.full(1, race.RCE_LR), jnp.zeros(1)
        for number in range(race.RCE_EPOCHS):
            values = (state, {}, self.embeddings, walk, *self.order_and_key("rce", number), betas, rates)
            state, (losses, _, _) = self.call("rce", partial(epoch, "rce", self.dropout), *values, donate=(0,))
            self.end_epoch(losses, self.call("validate rce", validate_trained, state[0], self.validation))
            self.save("rce", number + 1, state, {}, 0)
        self.start = {name: np.asarray(value[0]) for name, value in state[0].items()}

    def end_epoch(self, losses, val_losses):
        self.losses.append(np.asarray(losses))
        self.val_losses.append(np.asarray(val_losses))

    def reference(self):
        walk = put(eval_arrays(self.data, self.data.train))

        def function(p, walk):
            return eval_log_probs(p, eval_candidates(p, walk), walk)

        return np.asarray(self.call("reference", function, put(self.start), walk))

    def prepare(self, reference):
        """What all GRPO runs have in common."""
        self.walks = [put(grpo_arrays(self.data.train, top, reference)) for top in race.TOP_K]
        fixed = put({name: self.start[name] for name in BACKBONE})
        table = self.call("table", lambda e, w: e @ w.T, self.embeddings, fixed["input_proj"])
        candidates = self.call("candidates", eval_candidates, fixed, self.validation)
        self.common = {True: (fixed, table, candidates), False: ({}, self.embeddings, None)}

    def compile(self, width):
        """Both kinds of programs at the same time."""
        wall, cpu = time.perf_counter(), time.process_time()

        def one(frozen):
            fixed, table, candidates = self.common[frozen]
            state = self.fresh_state([name for name in self.start if name not in fixed], width)
            betas = jnp.zeros(width)
            inputs = (state, fixed, table, self.walks[0], *self.order_and_key("grpo", 0), betas, betas)
            program = jax.jit(partial(epoch, "grpo", self.dropout), donate_argnums=(0,)).lower(*inputs).compile()
            self.programs[f"grpo frozen={frozen}"] = program
            function, inputs = validate_trained, (state[0], self.validation)
            if frozen:
                function, inputs = validate_frozen, (state[0], fixed, candidates, self.validation)
            self.programs[f"validate frozen={frozen}"] = jax.jit(function).lower(*inputs).compile()

        with ThreadPoolExecutor(arguments.threads) as pool:
            list(pool.map(one, race.FREEZES))
        self.compile_wall += time.perf_counter() - wall
        self.compile_cpu += time.process_time() - cpu

    def grpo(self, frozen, runs, epochs, first=0):
        """Trains runs of one freeze setting together; their final weights."""
        fixed, table, candidates = self.common[frozen]
        state = self.fresh_state([name for name in self.start if name not in fixed], len(runs))
        betas, rates = (jnp.array(values, jnp.float32) for values in zip(*runs))
        for number in range(epochs):
            values = (fixed, table, self.walks[min(number, 1)], *self.order_and_key("grpo", number), betas, rates)
            state, (losses, _, _) = self.call(f"grpo frozen={frozen}", None, state, *values)
            inputs = (state[0], fixed, candidates, self.validation) if frozen else (state[0], self.validation)
            self.end_epoch(losses, self.call(f"validate frozen={frozen}", None, *inputs))
            self.save("grpo", number + 1, state, fixed, first)
        return {name: np.asarray(value) for name, value in state[0].items()}

    def finish(self):
        for written in self.writing:
            written.result()


def put(tree):
    return jax.tree.map(jnp.asarray, tree)


def check():
    from safetensors.numpy import load_file

    result, data, weights = race.Check(), race.load(race.GOLDEN), race.golden_weights()
    want = load_file(race.GOLDEN / "forward.safetensors")
    p = {name: value[None] for name, value in split(weights).items()}
    walk = arrays(data.train)
    for i in range(4):
        labels = want[f"g{i}.labels"]
        count = len(labels)
        rows = jnp.asarray(data.embeddings[walk["ids"][i]])
        table = data.embeddings @ weights["input_proj.weight"].T
        frozen = frozen_rows(split(weights), jnp.asarray(table), walk["ids"][i], 1.0)
        head = {name: value if name not in BACKBONE else value[0] for name, value in p.items()}
        for name, z in (
            ("unfrozen", scores(p, {}, rows, (1.0, 1.0, 1.0))[0]),
            ("frozen", scores(head, {}, frozen, (1.0, 1.0, 1.0))[0]),
        ):
            logits = np.where(walk["chosen"][i, :count], race.ALREADY_CHOSEN, z[0])
            logp = log_probs(z[0], walk["chosen"][i, :count], walk["hot"][i, :count])
            result.close(f"jax {name}, group {i}: logits", logits, want[f"g{i}.logits"], 1e-5)
            result.close(f"jax {name}, group {i}: log-probabilities", logp, want[f"g{i}.logp"], 1e-5)
    with tempfile.TemporaryDirectory() as folder:
        for run in "abc":
            program = Race(data, weights, folder, dropout=False, shuffle=False)
            if run == "a":
                program.rce()
                final = {name: value[None] for name, value in program.start.items()}
            else:
                config = race.golden_run(run)["config"]
                program.prepare(program.reference())
                program.compile(2)
                runs = [(0.5, 1e-4), (config["kl_beta"], config["grpo_lr"])]
                final = program.grpo(config["freeze_backbone"], runs, config["grpo_epochs"])
            program.finish()
            member = 0 if run == "a" else 1
            losses = np.concatenate(program.losses)[:, member]
            last = joined({**program.start, **{name: value[member] for name, value in final.items()}})
            result.run("jax", run, losses, [values[member] for values in program.val_losses], last)
    result.finish()


def main():
    if arguments.check:
        check()
    with tempfile.TemporaryDirectory() as folder:
        data = race.load()
        program = Race(data, race.fresh_weights(data.embeddings.shape[1]), folder)
        setup = race.since_start()
        program.rce()
        program.prepare(program.reference())
        width = arguments.width
        program.compile(width)
        began = time.perf_counter()
        jobs = [(frozen, first) for frozen in race.FREEZES for first in range(0, len(race.RUNS), width)]

        def train(job):
            frozen, first = job
            program.grpo(frozen, race.RUNS[first : first + width], max(race.EPOCHS), first)

        with ThreadPoolExecutor(arguments.parallel) as pool:
            list(pool.map(train, jobs))
        grpo = time.perf_counter() - began
        program.finish()
        steps = sum(losses.size for losses in program.losses)
        checkpoints = len(list(Path(folder).iterdir()))
        wall, cpu = race.since_start(), race.cpu_seconds()
    race.report(
        variant="jax vmap" + (" plain" if arguments.plain else ""),
        wall_s=wall,
        cpu_s=cpu,
        wall_without_compilation_s=wall - program.compile_wall,
        cpu_without_compilation_s=cpu - program.compile_cpu,
        compile_s=program.compile_wall,
        peak_rss_mb=race.peak_mb(),
        steps=steps,
        steps_trained=steps,
        extrapolated=None,
        threads=arguments.threads,
        width=width,
        parallel=arguments.parallel,
        versions={"python": sys.version.split()[0], "jax": jax.__version__, "numpy": np.__version__},
        checkpoints=checkpoints,
        setup_s=setup,
        grpo_s=grpo,
        programs_s=program.times,
        val_loss={"rce": program.val_losses[race.RCE_EPOCHS - 1][0].item()},
    )


if __name__ == "__main__":
    main()
