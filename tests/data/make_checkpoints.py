#!/usr/bin/env python3
"""Makes the tiny checkpoints of tests/convert.rs with random weights, and what is expected of their conversion.

    pip install torch transformers safetensors sentencepiece tokenizers gguf
    python3 tests/data/make_checkpoints.py LLAMA_CPP

LLAMA_CPP is a source tree of llama.cpp, whose converter is the reference. For every checkpoint NAME there come out

    checkpoints/NAME/       the files that a Hugging Face repository has
    checkpoints/NAME.json   tokens: the ids of a text; logits: of `transformers` in float32 at some positions of some tokens;
                            tensors, metadata: of the reference converter, tensors as SHA-256 for each output type

The vocabularies are trained on eval-en.txt. The reference recognises a byte-level vocabulary by a hash of ids, which tiny ones cannot
have; it is told the name.
"""

import hashlib
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
import tokenizers
import torch
from safetensors.torch import save_file
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, LlamaTokenizerFast
from transformers import Qwen2Config, Qwen2ForCausalLM

HERE = Path(__file__).parent
OUT = HERE / "checkpoints"
N_VOCAB = 336
TEXT = "In the beginning God's 12 345 waters: déjà vu,  日本\n\tand THEY'LL  \n say <|im_end|> yes 🙂"
POSITIONS = [0, 5, 11, 23]
TYPES = ["f32", "f16", "bf16", "q8_0"]

# The patterns of Llama 3 and Qwen2, as their tokenizer.json has them.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def sentencepiece_model(folder, **options):
    """A SentencePiece model of the BPE kind, as Llama 2 and Gemma have it."""
    with tempfile.TemporaryDirectory() as temp:
        prefix = str(Path(temp) / "m")
        sentencepiece.SentencePieceTrainer.train(
            input=str(HERE / "eval-en.txt"), model_prefix=prefix, model_type="bpe", character_coverage=1.0,
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, num_threads=1,
            minloglevel=2, **options,
        )
        model = sentencepiece_model_pb2.ModelProto.FromString(Path(prefix + ".model").read_bytes())
        # Without the paths of the machine that trained it.
        model.trainer_spec.input[:] = ["eval-en.txt"]
        model.trainer_spec.model_prefix = "m"
        (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def byte_level(folder, pattern, n_vocab, special, *, nfc, ignore_merges, bos):
    """A byte-level vocabulary in tokenizer.json."""
    t = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=ignore_merges))
    if nfc:
        t.normalizer = tokenizers.normalizers.NFC()
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated", False)
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, level])
    t.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=n_vocab, initial_alphabet=alphabet, show_progress=False)
    t.train([str(HERE / "eval-en.txt")], trainer)
    t.add_special_tokens(special)
    post = tokenizers.processors.ByteLevel(trim_offsets=False)
    if bos:
        template = tokenizers.processors.TemplateProcessing(f"{bos} $A", f"{bos} $A {bos}:1 $B:1", [(bos, t.token_to_id(bos))])
        post = tokenizers.processors.Sequence([post, template])
    t.post_processor = post
    t.save(str(folder / "tokenizer.json"))
    return t


def randomize(model, dtype):
    """Weights that keep activations near one, norms and biases that are seen when they are missing."""
    torch.manual_seed(1)
    for name, p in model.named_parameters():
        if name.endswith("norm.weight"):
            mean = 0.0 if "Gemma3" in type(model).__name__ else 1.0
            p.data = mean + 0.2 * torch.randn_like(p)
        elif name.endswith(".bias"):
            p.data = 0.5 * torch.randn_like(p)
        else:
            p.data = torch.randn_like(p) / p.shape[-1] ** 0.5
        p.data = p.data.to(dtype).float()
    return model.eval()


def save(folder, model, dtype, n_shards=1, change=lambda tensors: tensors):
    tensors = {name: t.to(dtype).contiguous() for name, t in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    tensors = change(tensors)
    if n_shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    names = sorted(tensors)
    weight_map = {}
    for i in range(n_shards):
        file = f"model-{i + 1:05}-of-{n_shards:05}.safetensors"
        part = {name: tensors[name] for name in names[i::n_shards]}
        save_file(part, folder / file, {"format": "pt"})
        weight_map.update({name: file for name in part})
    total = sum(t.nbytes for t in tensors.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def sizes(**more):
    return dict(
        vocab_size=N_VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, **more,
    )


def config_json(folder, model, **more):
    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    write_json(folder / "config.json", config | more)


def logits(model):
    tokens = torch.randint(3, N_VOCAB - 8, (1, POSITIONS[-1] + 1), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        rows = model(tokens).logits[0].float()
    return {
        "tokens": tokens[0].tolist(),
        "positions": POSITIONS,
        "logits": [[float(f"{x:.7g}") for x in rows[p].tolist()] for p in POSITIONS],
    }


def reference(folder, llama_cpp, pre):
    """What llama.cpp's converter makes of a checkpoint."""
    sys.path.insert(0, str(llama_cpp))
    import convert_hf_to_gguf  # noqa: F401 finds the local gguf package
    import gguf
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, TextModel, get_model_architecture

    TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    types = dict(f32="ALL_F32", f16="MOSTLY_F16", bf16="MOSTLY_BF16", q8_0="MOSTLY_Q8_0")
    tensors, metadata = {}, {}
    for name in TYPES:
        with tempfile.TemporaryDirectory() as temp, torch.inference_mode():
            path = Path(temp) / "out.gguf"
            hparams = ModelBase.load_hparams(folder, False)
            cls = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
            cls(folder, gguf.LlamaFileType[types[name]], path).write()
            reader = gguf.GGUFReader(path)
            for t in reader.tensors:
                row = tensors.setdefault(t.name, {"shape": [int(n) for n in t.shape]})
                row[name] = [t.tensor_type.name, hashlib.sha256(t.data.tobytes()).hexdigest()]
            for key, field in reader.fields.items():
                if not key.startswith("GGUF."):
                    metadata.setdefault(key, {})[name] = field.contents()
    for key, values in metadata.items():
        metadata[key] = values["f32"] if len({json.dumps(v) for v in values.values()}) == 1 else values
    return {"tensors": tensors, "metadata": metadata}


def finish(folder, model, ids, llama_cpp, pre=None, **more):
    expected = {"text": TEXT, "ids": ids, **logits(model), **reference(folder, llama_cpp, pre), **more}
    path = OUT / f"{folder.name}.json"
    path.write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")).replace('},"', '},\n"') + "\n", encoding="utf-8")


def fresh(name):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def llama(llama_cpp):
    """Llama 2: SentencePiece, F32, an output head of its own. Also tokenizer.json of the same vocabulary."""
    folder = fresh("llama")
    sp = sentencepiece_model(folder, vocab_size=N_VOCAB, add_dummy_prefix=True, unk_id=0, bos_id=1, eos_id=2)
    fast = LlamaTokenizerFast.from_pretrained(str(folder), legacy=False)
    fast.save_pretrained(folder / "fast")
    for file in (folder / "fast").iterdir():
        if file.name != "tokenizer.json":
            file.unlink()
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "add_bos_token": True, "add_eos_token": False, "chat_template": CHATML,
    })
    write_json(folder / "generation_config.json", {"temperature": 0.6, "top_p": 0.9, "top_k": 40, "eos_token_id": 2})
    model = randomize(LlamaForCausalLM(LlamaConfig(**sizes(rms_norm_eps=1e-5))), torch.float32)
    save(folder, model, torch.float32)
    config_json(folder, model)
    finish(folder, model, [1] + sp.encode(TEXT), llama_cpp)


def llama3(llama_cpp):
    """Llama 3.2: byte-level vocabulary, F16, tied embeddings, rope factors."""
    folder = fresh("llama3")
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"]
    t = byte_level(folder, LLAMA3, N_VOCAB - 4, special, nfc=False, ignore_merges=True, bos=special[0])
    write_json(folder / "tokenizer_config.json", {"bos_token": special[0], "eos_token": special[3]})
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32, "rope_theta": 100.0}
    config = LlamaConfig(**sizes(tie_word_embeddings=True, rope_parameters=rope, bos_token_id=t.token_to_id(special[0]),
                                 eos_token_id=[t.token_to_id(special[1]), t.token_to_id(special[3])]))
    model = randomize(LlamaForCausalLM(config), torch.float16)
    save(folder, model, torch.float16)
    config_json(folder, model)
    finish(folder, model, t.encode(TEXT).ids, llama_cpp, "llama-bpe")


def qwen2(llama_cpp):
    """Qwen2.5: biases, byte-level vocabulary shorter than the embeddings, BF16 in two files."""
    folder = fresh("qwen2")
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    t = byte_level(folder, QWEN2, N_VOCAB - 10, special, nfc=True, ignore_merges=False, bos=None)
    write_json(folder / "tokenizer_config.json", {
        "add_bos_token": False, "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "chat_template": CHATML,
    })
    config = Qwen2Config(**sizes(rms_norm_eps=1e-6, bos_token_id=t.token_to_id(special[0]),
                                 eos_token_id=t.token_to_id(special[2]), rope_parameters={"rope_type": "default", "rope_theta": 1e6}))
    model = randomize(Qwen2ForCausalLM(config), torch.bfloat16)
    save(folder, model, torch.bfloat16, n_shards=2)
    # As Qwen2.5 was published, before transformers 5.
    config_json(folder, model, rope_theta=1e6)
    c = json.loads((folder / "config.json").read_text())
    del c["rope_parameters"], c["layer_types"]
    write_json(folder / "config.json", c)
    finish(folder, model, t.encode(TEXT).ids, llama_cpp, "qwen2")


def gemma3(llama_cpp):
    """Gemma 3: seven blocks, so that windows of 8 alternate with full attention; BF16; SentencePiece with added tokens."""
    folder = fresh("gemma3")
    turns = ["<start_of_turn>", "<end_of_turn>"]
    sp = sentencepiece_model(
        folder, vocab_size=N_VOCAB - 2, add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        user_defined_symbols=turns + ["\n\n"],
    )
    decoder = {i: {"content": sp.id_to_piece(i), "special": True} for i in range(4)}
    decoder |= {sp.piece_to_id(turn): {"content": turn, "special": True} for turn in turns}
    decoder |= {sp.piece_to_id("\n\n"): {"content": "\n\n", "special": False}, N_VOCAB - 2: {"content": "<image_soft_token>", "special": True}}
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>",
        "add_bos_token": True, "add_eos_token": False, "chat_template": CHATML,
        "added_tokens_decoder": {str(i): t for i, t in sorted(decoder.items())},
    })
    config = Gemma3TextConfig(**(sizes(
        head_dim=16, query_pre_attn_scalar=16, sliding_window=8, rms_norm_eps=1e-6,
        pad_token_id=0, eos_token_id=1, bos_token_id=2,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    ) | dict(num_hidden_layers=7, num_key_value_heads=1, intermediate_size=32)))
    model = randomize(Gemma3ForCausalLM(config), torch.bfloat16)
    save(folder, model, torch.bfloat16)
    config_json(folder, model)
    finish(folder, model, [2] + sp.encode(TEXT), llama_cpp)


def fp8(llama_cpp):
    """A llama of FP8 weights in blocks of 16 x 24 with scales, so that blocks at the edges are cut."""
    folder = fresh("fp8")
    rows, cols = 24, 16
    config = LlamaConfig(**sizes(tie_word_embeddings=True))
    model = randomize(LlamaForCausalLM(config), torch.bfloat16)
    for file in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(OUT / "llama" / file, folder / file)

    def quantize(tensors):
        out = {}
        for name, t in tensors.items():
            if "_proj" not in name:
                out[name] = t
                continue
            w = t.float()
            n, k = -(-w.shape[0] // rows), -(-w.shape[1] // cols)
            scale = torch.empty(n, k)
            q = torch.empty(w.shape, dtype=torch.float8_e4m3fn)
            for i in range(n):
                for j in range(k):
                    at = (slice(i * rows, (i + 1) * rows), slice(j * cols, (j + 1) * cols))
                    scale[i, j] = w[at].abs().max() / 448
                    q[at] = (w[at] / scale[i, j]).to(torch.float8_e4m3fn)
            out[name], out[name + "_scale_inv"] = q, scale
            wide = scale.repeat_interleave(rows, 0)[: w.shape[0]].repeat_interleave(cols, 1)[:, : w.shape[1]]
            model.get_parameter(name).data = q.float() * wide
        return out

    save(folder, model, torch.bfloat16, change=quantize)
    config_json(folder, model, quantization_config={
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [rows, cols],
    })
    sp = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    finish(folder, model, [1] + sp.encode(TEXT), llama_cpp)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    llama_cpp = Path(sys.argv[1]).resolve()
    for make in (llama, llama3, qwen2, gemma3, fp8):
        make(llama_cpp)
    print(sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file()), "bytes")
