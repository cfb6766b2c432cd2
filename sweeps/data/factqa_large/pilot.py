#!/usr/bin/env python3
"""Which relations can be learned from: right answers of training queries with demonstrations of several kinds.

    make_items.py's environment; serve.py running;  python pilot.py [--port 8792] [--queries 10]

Per relation, with two demonstrations out of a pool of 64 (half nearest, half random): random ones, the nearest, two of the
same relation; and the best of all. What is never right or always right teaches nothing.
"""
import argparse
import collections
import concurrent.futures
import http.client
import json
import random
import re
import string
import threading
from pathlib import Path

from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent


def right(text, answers):
    """Equals an accepted answer or starts with one, as whole words."""
    def plain(text):
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()
    words = plain(text)
    return int(any(words[:len(plain(one))] == plain(one) for one in answers if plain(one)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8792)
    parser.add_argument("--queries", type=int, default=10)
    options = parser.parse_args()
    items = [json.loads(line) for line in open(HERE / "items.jsonl")]
    rows = load_file(HERE / "embeddings.safetensors")["embeddings"].astype("float32")
    support = [item["id"] for item in items if item["split"] == "support"]
    draw = random.Random(0)
    per = collections.defaultdict(list)
    for item in items:
        if item["split"] == "train":
            per[item["relation"]].append(item)
    kept = threading.local()

    def ask(case):
        query, kind, shown = case
        if not hasattr(kept, "connection"):
            kept.connection = http.client.HTTPConnection("127.0.0.1", options.port)
        prompt = "".join(f"Q: {items[one]['question']}\nA: {items[one]['answers'][0]}\n" for one in shown) + f"Q: {query['question']}\nA:"
        kept.connection.request("POST", "/v1/completions", json.dumps({"prompt": prompt, "max_tokens": 8, "stop": ["\n"]}))
        text = json.loads(kept.connection.getresponse().read())["choices"][0]["text"]
        return query, kind, right(text, query["answers"]), text.strip()

    cases = []
    for relation, queries in per.items():
        mine = [one for one in support if items[one]["relation"] == relation]
        for query in draw.sample(queries, min(options.queries, len(queries))):
            near = sorted(support, key=lambda one: -float(rows[one] @ rows[query["id"]]))
            pool = near[:32] + draw.sample(near[32:], 32)
            cases += [(query, "random", draw.sample(pool, 2)) for _ in range(2)]
            cases += [(query, "nearest", near[:2])]
            cases += [(query, "same", draw.sample(mine, 2)) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        said = list(threads.map(ask, cases))
    print(f"{'relation':18}{'random':>8}{'nearest':>8}{'same':>8}{'ever':>8}  wrong answers")
    for relation in sorted(per):
        mine = [one for one in said if one[0]["relation"] == relation]
        share = {kind: [right for _, this, right, _ in mine if this == kind] for kind in ("random", "nearest", "same")}
        ever = collections.defaultdict(int)
        for query, _, right_, _ in mine:
            ever[query["id"]] |= right_
        wrong = [f"{query['question']} {text}" for query, kind, right_, text in mine if kind == "same" and not right_][:3]
        print(f"{relation:18}", *(f"{sum(values) / len(values):7.2f}" for values in [*share.values(), list(ever.values())]), " ", " | ".join(wrong))


if __name__ == "__main__":
    main()
