"""Compiles the CUDA kernels of kernels/cuda/modules.list with NVRTC, for no GPU in particular, and judges what ptxas says of each:
no spills, no stack beyond what a kernel is allowed, registers within its limit. Run by scripts/test-kernels-cuda.

    cuda-compile.py TOOLS [--arch sm_80,...] [--only MODULE,...] [--direct MODULE,...] [--table FILE] [--write]

TOOLS is the folder that scripts/setup installed the packages of NVRTC, ptxas and zstandard in. Each module is compiled once, to PTX for
compute_80, which ptxas then compiles for every architecture: half the time of compiling it for each. That is what the modules of
--direct (`all`: every one) are besides, as a program does on its GPU. The PTX has to be that of kernels/cuda/builtin.ptx.zst, which
is part of the library; --write makes that file.
"""

import argparse
import ctypes
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zstandard

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels" / "cuda"
ARCHITECTURES = ["sm_80", "sm_89", "sm_90", "sm_120"]
KV_TYPES = ["f16", "q8_0", "q4_0"]
BUILTIN = KERNELS / "builtin.ptx.zst"
# The version of PTX that the oldest driver takes: CUDA 12.0's. ptxas refuses what was not in it yet.
PTX_VERSION = "8.0"

# Registers a thread: with 256 threads a block 128 leave room for two blocks on an SM, 80 for three. What has many sums for each
# operand that it loads has an SM to itself.
LIMITS = [
    (r"oribi_matmul_.*_(32|64|prompt)", 216),
    (r"oribi_matmul_.*", 128),
    (r"oribi_attend_split_.*_4", 80),
    (r"oribi_attend_split_.*_32", 240),
    (r"oribi_attend_(split|fused|prompt)_.*", 128),
    (r"oribi_top", 128),
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
        """Whether it compiled, the log, and PTX where that was asked for."""
        program = ctypes.c_void_p()
        text = file.read_bytes()
        status = self.library.nvrtcCreateProgram(ctypes.byref(program), text, file.name.encode(), 0, None, None)
        if status != 0:
            return False, f"nvrtcCreateProgram: status {status}", b""
        array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        status = self.library.nvrtcCompileProgram(program, len(options), array)
        size = ctypes.c_size_t()
        self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.library.nvrtcGetProgramLog(program, log)
        ptx = b""
        if status == 0 and self.library.nvrtcGetPTXSize(program, ctypes.byref(size)) == 0:
            buffer = ctypes.create_string_buffer(size.value)
            self.library.nvrtcGetPTX(program, buffer)
            ptx = buffer.value
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return status == 0, log.value.decode(), ptx


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
            name = file.removesuffix(".cu") + (f"-{value}" if value else "")
            options = [f"-D{macro}={value}"] if value else []
            yield name, file, options, [entry.replace("@", value or "") for entry in entries]


def portable(ptx):
    """PTX for every driver that the library runs with: without the compiler's comments, and without a hint that is newer."""
    unwanted = re.compile(r'//|\s*\.pragma "used_bytes_mask')
    lines = [line for line in ptx.decode().splitlines() if line and not unwanted.match(line)]
    return "\n".join(re.sub(r"^\.version .*", f".version {PTX_VERSION}", line) for line in lines) + "\n"


def read_builtin():
    """{module: PTX} of the file that is part of the library; the lines that begin a module are src/backend/cuda/builtin.rs's, too."""
    if not BUILTIN.exists():
        return {}
    with zstandard.open(BUILTIN, "rt") as file:
        parts = re.split(r"^// module (.*)\n", file.read(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def write_builtin(texts):
    text = "".join(f"// module {name}\n{texts[name]}" for name in sorted(texts))
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=24, enable_ldm=True, write_checksum=True)
    BUILTIN.write_bytes(zstandard.ZstdCompressor(compression_params=parameters).compress(text.encode()))
    print(f"wrote {BUILTIN.name}: {len(texts)} modules, {len(text)} bytes in {BUILTIN.stat().st_size}")


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


def judge(name, entries, architecture, log):
    """Failures and usage of a module that compiled."""
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


def compile_one(job):
    """Failures, usage and PTX of a module: through PTX for all architectures, or directly for one."""
    (library, ptxas), (name, file, options, entries), architectures, direct = job
    nvrtc = Nvrtc(library)
    flags = ["--std=c++20", "-default-device", "--fmad=false", f"-I{KERNELS}", f"-I{KERNELS / 'nvrtc'}"] + options
    if direct:
        target = [f"--gpu-architecture={architectures[0]}", "--ptxas-options=-v"]
        ok, log, _ = nvrtc.compile(KERNELS / file, flags + target)
        if not ok:
            return [f"{name} for {architectures[0]} does not compile:\n{log}"], {}, None
        return *judge(name, entries, architectures[0], log), None
    ok, log, ptx = nvrtc.compile(KERNELS / file, flags + ["--gpu-architecture=compute_80"])
    if not ok or re.search(r"\bwarning\b", log):
        return [f"{name} does not compile without a warning:\n{log}"], {}, None
    ptx = portable(ptx)
    failures, usage = [], {}
    with tempfile.NamedTemporaryFile(suffix=".ptx") as file:
        file.write(ptx.encode())
        file.flush()
        for architecture in architectures:
            command = [ptxas, "-v", f"-arch={architecture}", file.name, "-o", "/dev/null"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                failures.append(f"{name} from PTX for {architecture}:\n{done.stderr}")
                continue
            more, of_module = judge(name, entries, architecture, done.stderr + done.stdout)
            failures += [f"from PTX: {failure}" for failure in more]
            usage.update(of_module)
    return failures, usage, (name, ptx)


def found(tools, pattern):
    """The file of the packages that matches."""
    files = sorted(Path(tools).glob(f"**/{pattern}"))
    if not files:
        sys.exit(f"cuda-compile: no {pattern} in {tools}; scripts/setup --tests installs it")
    return str(files[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tools")
    parser.add_argument("--arch", default=",".join(ARCHITECTURES))
    parser.add_argument("--only", default="")
    parser.add_argument("--direct", default="")
    parser.add_argument("--table")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    programs = found(args.tools, "libnvrtc.so.*"), found(args.tools, "cuda_nvcc/bin/ptxas")
    only, direct = args.only.split(","), args.direct.split(",")
    architectures = args.arch.split(",")
    jobs = []
    for module in modules():
        if args.only and module[0] not in only:
            continue
        jobs.append((programs, module, architectures, False))
        if args.direct == "all" or module[0] in direct:
            jobs += [(programs, module, [architecture], True) for architecture in architectures]
    # The longest first, so that the processes end together.
    jobs.sort(key=lambda job: not job[1][1].startswith(("attend_split", "attend_fused")))
    start = time.monotonic()
    n_failed, usage, texts = 0, {}, {}
    builtin = read_builtin()
    with multiprocessing.Pool() as pool:
        for failures, of_module, ptx in pool.imap_unordered(compile_one, jobs):
            if ptx:
                texts[ptx[0]] = ptx[1]
                if not args.write and builtin.pop(ptx[0], None) != ptx[1]:
                    failures.append(f"{ptx[0]}: {BUILTIN.name} holds other code; make cuda-builtin makes it anew")
            for kernel, numbers in of_module.items():
                usage[kernel] = max(usage.get(kernel, numbers), numbers)
            n_failed += bool(failures)
            for failure in failures:
                print(f"FAILED: {failure}")
    if not args.write and not args.only and builtin:
        print(f"FAILED: {BUILTIN.name} holds modules that are not in modules.list: {sorted(builtin)}")
        n_failed += 1
    if args.write and n_failed == 0:
        write_builtin(texts)
    if args.table:
        lines = ["kernel " + " ".join(architectures)]
        for kernel in sorted({kernel for kernel, _ in usage}):
            cells = [usage.get((kernel, architecture)) for architecture in architectures]
            lines.append(kernel + " " + " ".join("-" if c is None else f"{c[0]}+{c[2]}" for c in cells))
        Path(args.table).write_text("\n".join(lines) + "\n")
    version = Nvrtc(programs[0]).version()
    print(f"NVRTC {version}: {len(usage)} kernels and architectures in {time.monotonic() - start:.0f} s")
    print(f"{len(jobs) - n_failed} passed, {n_failed} failed")
    return n_failed != 0 or not jobs


if __name__ == "__main__":
    sys.exit(main())
