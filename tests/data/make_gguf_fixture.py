#!/usr/bin/env python3
"""Writes gguf-py.gguf with the `gguf` Python package, for tests/gguf_roundtrip.rs.

    pip install gguf numpy && python3 tests/data/make_gguf_fixture.py
"""

from pathlib import Path

import gguf
import numpy as np

writer = gguf.GGUFWriter(Path(__file__).with_name("gguf-py.gguf"), "fixture")
writer.add_custom_alignment(64)
writer.add_uint8("all.u8", 200)
writer.add_int8("all.i8", -100)
writer.add_uint16("all.u16", 60_000)
writer.add_int16("all.i16", -30_000)
writer.add_uint32("all.u32", 4_000_000_000)
writer.add_int32("all.i32", -2_000_000_000)
writer.add_uint64("all.u64", 2**64 - 1)
writer.add_int64("all.i64", -(2**63))
writer.add_float32("all.f32", 1.5)
writer.add_float64("all.f64", 0.1)
writer.add_bool("all.bool", True)
writer.add_string("all.str", "grüße, 世界")
writer.add_array("array.i32", [1, -2, 3])
writer.add_array("array.f32", [0.5, -0.25])
writer.add_array("array.bool", [True, False, True])
writer.add_array("array.str", ["a", "", "ß"])
writer.add_token_list([b"<s>", b"\xff\x80", "ä".encode()])

rng = np.random.default_rng(7)
f32 = rng.standard_normal((3, 5), dtype=np.float32)
writer.add_tensor("f32", f32)
writer.add_tensor("f16", np.arange(6, dtype=np.float16).reshape(1, 2, 3))
writer.add_tensor("i8", np.arange(-3, 4, dtype=np.int8))
q8_0 = gguf.quants.quantize(rng.standard_normal((2, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
writer.add_tensor("q8_0", q8_0, raw_dtype=gguf.GGMLQuantizationType.Q8_0)

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
