#!/usr/bin/env python3
"""Writes nearest.safetensors: a checkpoint that chooses the candidates of highest cosine similarity, nearest first.

    python3 nearest.py [384 [nearest.safetensors]]      the width d of the embeddings, and where to

With a live judge it is what trained selectors are compared to: a point with `init = "nearest.safetensors"`,
`hidden = 2 * d` and no epochs. The input projection is [I; -I], so that the hidden query has mean 0 and the layer norm
only scales it; the attention adds nothing.
"""
import json
import struct
import sys

width = int(sys.argv[1]) if len(sys.argv) > 1 else 384
path = sys.argv[2] if len(sys.argv) > 2 else "nearest.safetensors"
hidden = 2 * width
ONE, MINUS = struct.pack("<f", 1.0), struct.pack("<f", -1.0)


def zeros(*shape):
    count = 1
    for size in shape:
        count *= size
    return list(shape), bytearray(4 * count)


def diagonal(rows, columns, value):
    shape, data = zeros(rows, columns)
    for row in range(rows):
        at = 4 * (row * columns + row % columns)
        data[at:at + 4] = value(row)
    return shape, data


identity = diagonal(hidden, hidden, lambda row: ONE)
tensors = {
    "input_proj.weight": diagonal(hidden, width, lambda row: ONE if row < width else MINUS),
    "cross_attn_layers.0.in_proj_weight": zeros(3 * hidden, hidden),
    "cross_attn_layers.0.in_proj_bias": zeros(3 * hidden),
    "cross_attn_layers.0.out_proj.weight": zeros(hidden, hidden),
    "cross_attn_layers.0.out_proj.bias": zeros(hidden),
    "attn_norms.0.weight": ([hidden], bytearray(ONE * hidden)),
    "attn_norms.0.bias": zeros(hidden),
    "query_proj.weight": identity,
    "cand_proj.weight": identity,
}
header, offset = {}, 0
for name, (shape, data) in tensors.items():
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(data)]}
    offset += len(data)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(path, "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for _, data in tensors.values():
        file.write(data)
