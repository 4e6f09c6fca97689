"""The rows of the comparison: what is measured, on which model, beside which kind of peer, and the goal."""

from dataclasses import dataclass, replace
from fnmatch import fnmatch

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA = "gemma-3-270m-q4_k_m.gguf"
FIRST_TOKEN_PROMPT = "The capital of France is"


@dataclass(frozen=True)
class Row:
    """One line of the table, for each peer that can take it."""

    name: str
    model: str  # a file in the cache, or synth:PRESET:LEVEL
    measure: str = "speed"  # tokens per second; or `seconds` to the first token, or `bytes` of peak memory, of a process
    n_prompt: int = 0
    n_gen: int = 0
    depth: int = 0
    batch: int = 1
    numerics: str = "native"
    isa: str = ""  # no instruction set above this one, on both sides
    goal: str = ""  # the least ratio wanted and the one aimed at; of seconds and bytes, the greatest

    @property
    def test(self):
        """llama-bench's name of the test."""
        if self.measure != "speed":
            return {"seconds": "load to first token", "bytes": "peak memory"}[self.measure]
        text = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        text += f" x {self.batch}" if self.batch > 1 else ""
        return text + (f" @ d{self.depth}" if self.depth else "")


def all_rows():
    small = Row("smollm2", SMOLLM2)
    rows = [
        replace(small, name="smollm2-prompt-native", n_prompt=512, goal="4 .. 6"),
        replace(small, name="smollm2-prompt-portable", n_prompt=512, numerics="portable", goal="1.5 .. 2.5"),
        replace(small, name="smollm2-generate", n_gen=128, goal="1.3 .. 1.8"),
        replace(small, name="smollm2-generate-2048", n_gen=32, depth=2048, goal="4 .. 8"),
        replace(small, name="smollm2-generate-6000", n_gen=32, depth=6000, goal="8 .. 15"),
        Row("gemma-prompt", GEMMA, n_prompt=512, goal="4 .. 6"),
        Row("gemma-generate", GEMMA, n_gen=128, goal="1.3 .. 1.6"),
    ]
    for level, prompt, generate in [
        ("Q4_0", "4 .. 6", "1.2 .. 1.4"),
        ("Q4_K_M", "3.5 .. 5", "1.5 .. 1.9"),
        ("Q6_K", "4 .. 8", "1.8 .. 2.3"),
        ("Q8_0", "4 .. 5", "1 .. 1.05"),
    ]:
        model, name = f"synth:1b:{level}", f"1b-{level.lower()}"
        rows.append(Row(f"{name}-prompt", model, n_prompt=512, goal=prompt))
        rows.append(Row(f"{name}-generate", model, n_gen=32, goal=generate))
    for batch, goal in [(4, "1.7 .. 2.5"), (16, "1.5 .. 2.5")]:
        # A short context before the first token, since the peer's program for this cannot do without.
        rows.append(Row(f"1b-q4_k_m-batch-{batch}", "synth:1b:Q4_K_M", n_gen=16, depth=16, batch=batch, goal=goal))
    avx2 = replace(small, isa="avx2")
    rows += [
        replace(avx2, name="avx2-smollm2-prompt", n_prompt=512, goal="2 .. 3"),
        replace(avx2, name="avx2-smollm2-generate", n_gen=128, goal="1.8 .. 2.3"),
    ]
    for measure, name, goal in [("seconds", "first-token", "1 .. 0.6"), ("bytes", "memory", "1 .. 0.8")]:
        rows.append(Row(f"{name}-smollm2", SMOLLM2, measure=measure, goal=goal))
        rows.append(Row(f"{name}-gemma", GEMMA, measure=measure, goal=goal))
    return rows


def select(patterns):
    """The rows whose name matches one of the shell patterns, a part of a name being enough; all without patterns."""
    patterns = [p if any(c in p for c in "*?[") else f"*{p}*" for p in patterns]
    return [row for row in all_rows() if not patterns or any(fnmatch(row.name, p) for p in patterns)]
