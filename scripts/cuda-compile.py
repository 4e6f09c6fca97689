"""Compiles the CUDA kernels of kernels/cuda/modules.list with NVRTC, for no GPU in particular, and judges what ptxas says of each:
no spills, no stack beyond what a kernel is allowed, registers within its limit. Run by scripts/test-kernels-cuda.

    cuda-compile.py LIBNVRTC [--arch sm_80,...] [--only MODULE,...] [--table FILE]
"""

import argparse
import ctypes
import multiprocessing
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels" / "cuda"
ARCHITECTURES = ["sm_80", "sm_89", "sm_90", "sm_120"]
KV_TYPES = ["f16", "q8_0", "q4_0"]

# Registers a thread: with 256 threads a block 128 leave room for two blocks on an SM, 80 for three, 64 for four.
LIMITS = [
    (r"oribi_matmul_.*_8(_.*)?", 96),
    (r"oribi_matmul_.*", 128),
    (r"oribi_attend_split_.*_4", 64),
    (r"oribi_attend_split_.*_8", 80),
    (r"oribi_attend_split_.*", 128),
    (r"oribi_.*", 80),
]
# Bytes of stack: the reduction of large angles in float64 keeps a table there.
STACKS = {"oribi_rope_table": 64}


class Nvrtc:
    """The functions of the library that are needed."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)

    def version(self):
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def compile(self, file, options):
        """Whether it compiled, and the log."""
        program = ctypes.c_void_p()
        text = file.read_bytes()
        status = self.library.nvrtcCreateProgram(ctypes.byref(program), text, file.name.encode(), 0, None, None)
        if status != 0:
            return False, f"nvrtcCreateProgram: status {status}"
        array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        status = self.library.nvrtcCompileProgram(program, len(options), array)
        size = ctypes.c_size_t()
        self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.library.nvrtcGetProgramLog(program, log)
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return status == 0, log.value.decode()


def weight_formats():
    """The names in cpu/packed.h's table, and the floats."""
    text = (KERNELS.parent / "cpu" / "packed.h").read_text()
    return ["f32", "f16", "bf16"] + re.findall(r"^  X\((\w+), ORIBI_", text, re.MULTILINE)


def modules():
    """(name, file, options, entries) of every module."""
    for line in (KERNELS / "modules.list").read_text().splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        file, variants, entries = words[0], words[1], words[2:]
        values = {"-": [None], "format": weight_formats(), "kv": KV_TYPES}[variants]
        macro = {"-": "", "format": "ORIBI_FORMAT", "kv": "ORIBI_KV"}[variants]
        for value in values:
            name = file.removesuffix(".cu") + (f"_{value}" if value else "")
            options = [f"-D{macro}={value}"] if value else []
            yield name, file, options, [entry.replace("@", value or "") for entry in entries]


def usage_of(log):
    """{kernel: (registers, stack bytes, spill bytes)} from what ptxas -v printed."""
    usage, kernel, stack, spills = {}, None, 0, 0
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            kernel, stack, spills = match[1], 0, 0
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, spills = int(match[1]), int(match[2]) + int(match[3])
        elif match := re.search(r"Used (\d+) registers", line):
            cumulative = re.search(r"(\d+) bytes cumulative stack", line)
            usage[kernel] = (int(match[1]), int(cumulative[1]) if cumulative else stack, spills)
    return usage


def limit_of(kernel):
    return next(limit for pattern, limit in LIMITS if re.fullmatch(pattern, kernel))


def compile_one(job):
    """Failures and usage of a module for an architecture."""
    library, name, file, options, entries, architecture = job
    common = ["--std=c++20", "-default-device", "--fmad=false", f"-I{KERNELS}", f"-I{KERNELS / 'nvrtc'}"]
    flags = common + [f"--gpu-architecture={architecture}", "--ptxas-options=-v"] + options
    ok, log = Nvrtc(library).compile(KERNELS / file, flags)
    if not ok:
        return [f"{name} for {architecture} does not compile:\n{log}"], {}
    usage = usage_of(log)
    failures = [f"{name} for {architecture}: warning:\n{log}"] if re.search(r"\bwarning\b", log) else []
    if sorted(usage) != sorted(entries):
        failures.append(f"{name} for {architecture} holds {sorted(usage)}, modules.list says {sorted(entries)}")
    for kernel, (registers, stack, spills) in usage.items():
        if spills > 0:
            failures.append(f"{kernel} for {architecture}: {spills} bytes of spills")
        if stack > STACKS.get(kernel, 0):
            failures.append(f"{kernel} for {architecture}: {stack} bytes of stack")
        if registers > limit_of(kernel):
            failures.append(f"{kernel} for {architecture}: {registers} registers, the limit is {limit_of(kernel)}")
    return failures, {(kernel, architecture): numbers for kernel, numbers in usage.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--arch", default=",".join(ARCHITECTURES))
    parser.add_argument("--only", default="")
    parser.add_argument("--table")
    args = parser.parse_args()
    only = [name for name in args.only.split(",") if name]
    chosen = [module for module in modules() if not only or module[0] in only]
    jobs = [(args.library, *module, architecture) for module in chosen for architecture in args.arch.split(",")]
    # The longest first, so that the processes end together.
    jobs.sort(key=lambda job: not job[2].startswith("attend_split"))
    start = time.monotonic()
    n_failed, usage = 0, {}
    with multiprocessing.Pool() as pool:
        for failures, of_module in pool.imap_unordered(compile_one, jobs):
            usage.update(of_module)
            n_failed += bool(failures)
            for failure in failures:
                print(f"FAILED: {failure}")
    if args.table:
        lines = ["kernel " + " ".join(args.arch.split(","))]
        for kernel in sorted({kernel for kernel, _ in usage}):
            cells = [usage.get((kernel, architecture)) for architecture in args.arch.split(",")]
            lines.append(kernel + " " + " ".join("-" if c is None else f"{c[0]}+{c[2]}" for c in cells))
        Path(args.table).write_text("\n".join(lines) + "\n")
    print(f"NVRTC {Nvrtc(args.library).version()}: {len(usage)} kernels in {time.monotonic() - start:.0f} s")
    print(f"{len(jobs) - n_failed} passed, {n_failed} failed")
    return n_failed != 0 or not jobs


if __name__ == "__main__":
    sys.exit(main())
