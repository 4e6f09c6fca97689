"""What is measured: oribi, and its peers. Each measurement is a process of its own, so that no engine's threads, memory or
clock are left over for the next."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import install
from rows import FIRST_TOKEN_PROMPT


class Failed(Exception):
    """An engine could not take a measurement."""


def run(argv, env=None):
    """Standard output of a program, the seconds it took, and the bytes of memory it had at most."""
    began = time.perf_counter()
    environment = {**os.environ, **(env or {})}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                 env=environment)
        stdout = child.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()[-500:]
            raise Failed(f"{Path(str(argv[0])).name} ended with {child.returncode}: {text}")
    return stdout, seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Engine:
    """Something that runs models."""

    name = ""
    version = ""

    def takes(self, row):
        """Whether the row is about this engine."""
        raise NotImplementedError

    def speed(self, row, model):
        """Tokens per second, the median of the repetitions."""
        raise NotImplementedError

    def first_token(self, model):
        """Seconds and bytes of a process that loads the model, reads a few words and prints the next token."""
        raise NotImplementedError


class Oribi(Engine):
    name = "oribi"

    def __init__(self, args):
        self.binary, self.threads, self.repetitions = args.oribi, args.threads, args.repetitions
        self.version = install.output_of([self.binary, "--version"]).strip()

    def takes(self, row):
        return True

    def speed(self, row, model):
        argv = [self.binary, "bench", model, "-p", row.n_prompt, "-n", row.n_gen, "-d", row.depth, "-b", row.batch]
        argv += ["-t", self.threads, "-r", self.repetitions, "--numerics", row.numerics, "--no-limits", "--json"]
        argv += ["--isa", row.isa] if row.isa else []
        return json.loads(run(argv)[0])[0]["tokens_per_second"]["median"]

    def limits(self):
        """What the machine gives now, both in 10^9 a second: bytes of memory, and multiply-adds of its fastest operands."""
        machine = json.loads(run([self.binary, "bench", "--machine", "-t", self.threads, "--json"])[0])[0]
        memory = next(reading["gb_per_second"] for reading in machine["bandwidth"] if reading["level"] == "DRAM")
        return memory, max(peak["gmac_per_second"] for peak in machine["peaks"])

    def first_token(self, model):
        argv = [self.binary, "run", model, "-p", FIRST_TOKEN_PROMPT, "-n", 1, "--temp", 0, "-t", self.threads, "-c", 64, "-b", 64]
        return run(argv)[1:]


class LlamaCpp(Engine):
    """Programs of a llama.cpp that was built on this machine."""

    def __init__(self, args, folder, kind):
        self.folder, self.kind = Path(folder), kind
        self.threads, self.repetitions = args.threads, args.repetitions
        self.name = "llama.cpp" if kind == "native" else "llama.cpp (AVX2)"
        about = args.llama_cpp_version or f"{install.SOURCE[0]} {install.SOURCE[1]}"
        self.version = f"{about}, built here {'for this CPU' if kind == 'native' else 'for AVX2'}"

    def takes(self, row):
        return (self.kind == row.isa or self.kind == "native" and not row.isa) and (row.measure == "speed" or (self.folder / "llama-simple").exists())

    def speed(self, row, model):
        if row.batch > 1:
            return self.batched(row, model)
        argv = [self.folder / "llama-bench", "-m", model, "-p", row.n_prompt, "-n", row.n_gen, "-d", row.depth]
        argv += ["-t", self.threads, "-r", self.repetitions, "-o", "json"]
        return statistics.median(json.loads(run(argv)[0])[0]["samples_ts"])

    def batched(self, row, model):
        positions = row.batch * (row.depth + row.n_gen)
        argv = [self.folder / "llama-batched-bench", "-m", model, "-npp", row.depth, "-ntg", row.n_gen, "-npl", row.batch]
        argv += ["-c", positions + 64 * row.batch, "-t", self.threads, "--output-format", "jsonl"]
        lines = [line for line in run(argv)[0].splitlines() if line.startswith("{")]
        if not lines:
            raise Failed("llama-batched-bench printed no result")
        return json.loads(lines[-1])["speed_tg"]

    def first_token(self, model):
        # llama-simple has no option for threads and would start four; its context is as long as it needs.
        argv = [self.folder / "llama-simple", "-m", model, "-n", 1, FIRST_TOKEN_PROMPT]
        return run(argv, {"OMP_THREAD_LIMIT": str(self.threads)})[1:]


class Wheel(Engine):
    """A peer as its Python wheel carries it: this file again, in the wheel's Python."""

    def __init__(self, args, package, name):
        self.package, self.name = package, name
        self.threads, self.repetitions = args.threads, args.repetitions
        self.python = install.python_with(package)
        self.version = f"{package} {install.WHEELS[package]}"

    def takes(self, row):
        return row.measure == "speed" and row.batch == 1 and not row.isa

    def speed(self, row, model):
        request = {"package": self.package, "model": str(model), "n_prompt": row.n_prompt, "n_gen": row.n_gen,
                   "depth": row.depth, "threads": self.threads, "repetitions": self.repetitions}
        speeds = json.loads(run([self.python, "-B", __file__, json.dumps(request)])[0].splitlines()[-1])
        return statistics.median(speeds)


def measure_ik(request):
    """ik_llama.cpp through its ctypes interface: batches of random tokens, as llama-bench does."""
    import random

    from ik_llama_cpp import _ctypes_api as api
    from ik_llama_cpp._internals import IkContext, IkModel, make_batch_range, make_batch_single

    n_positions = request["depth"] + request["n_prompt"] + request["n_gen"]
    model = IkModel(request["model"])
    context = IkContext(model, n_ctx=n_positions + 64, n_threads=request["threads"], flash_attn=True)
    n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model.model))
    chunk = api.llama_n_ubatch(context.ctx)
    draw = random.Random(0)

    def decode(batch):
        status = context.decode(batch)
        api.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError(f"llama_decode: {status}")

    def read(n, first):
        for at in range(0, n, chunk):
            tokens = [draw.randrange(n_vocab) for _ in range(min(chunk, n - at))]
            decode(make_batch_range(tokens, pos_start=first + at, logits_last=at + chunk >= n))

    speeds = []
    for turn in range(request["repetitions"] + 1):
        context.kv_cache_clear()
        read(request["depth"], 0)
        began = time.perf_counter()
        read(request["n_prompt"], request["depth"])
        for i in range(request["n_gen"]):
            decode(make_batch_single(draw.randrange(n_vocab), request["depth"] + request["n_prompt"] + i))
        seconds = time.perf_counter() - began
        if turn > 0:
            speeds.append((request["n_prompt"] + request["n_gen"]) / seconds)
    return speeds


def measure_xllamacpp(request):
    """llama.cpp's server inside a process, by its own timings: a prompt of so many tokens, or greedy generation."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.n_ctx = request["depth"] + request["n_prompt"] + request["n_gen"] + 64
    params.n_parallel, params.n_batch, params.n_ubatch = 1, 512, 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = request["threads"]
    params.verbosity = 0
    server = xllamacpp.Server(params)

    def complete(prompt, n_predict):
        body = {"prompt": prompt, "n_predict": n_predict, "temperature": 0, "top_k": 1, "cache_prompt": False, "ignore_eos": True}
        answer = server.handle_completions(body)
        return (json.loads(answer) if isinstance(answer, str) else answer)["timings"]

    n_before = request["depth"] + request["n_prompt"] or 4
    prompt = [100 + i * 37 % 20000 for i in range(n_before)]
    complete(prompt[:16], 2)
    speeds = []
    for _ in range(request["repetitions"]):
        timings = complete(prompt, max(request["n_gen"], 1))
        if request["n_prompt"] and timings["prompt_n"] != n_before:
            raise RuntimeError(f"the server read {timings['prompt_n']} tokens of {n_before}")
        speeds.append(timings["prompt_per_second" if request["n_prompt"] else "predicted_per_second"])
    return speeds


if __name__ == "__main__":  # in a wheel's Python
    asked = json.loads(sys.argv[1])
    measured = {"ik-llama-cpp-python": measure_ik, "xllamacpp": measure_xllamacpp}[asked["package"]](asked)
    print("\n" + json.dumps(measured))
