//! Files made to break a GGUF reader: the public record of flaws in others, one named test per entry, and what bounds them
//! all: truncation at every byte, and an allocator that counts.
//!
//! Entries of that record which this reader cannot decide alone, and where they belong:
//!
//! | entry | what it attacks | place |
//! |---|---|---|
//! | GHSA-g4cc-763q-h9h6 | a vocabulary smaller than the special token ids | tokenizer |
//! | CVE-2025-52566 | more tokens from a text than a 32-bit count holds | tokenizer |
//! | llama.cpp #25969, #26511 | byte tokens `<0x-1>`, `<0xGG>`, `<0x>` | tokenizer |
//! | llama.cpp #25821, #26051 | `block_count` 0, 513, 2^31, 2^32 - 1 | model binding |
//! | llama.cpp #26892, #27166, #24976, #24142, #25014, CVE-2025-15514 | counts and arrays of vision and audio projectors | not read here: no such models |
//! | CVE-2024-8063 | a division by a hyperparameter of another type | types: below; zero: model binding |
//! | mllama `intermediate_layers_indices` | indices taken from metadata | model binding; no such key is read |
//! | llama.cpp #14788, #7816, #11764 | NaN and zero rows while quantizing | quantization |
//! | CVE-2024-28224, -37032, -39719, -39722, -45436, -12886, CVE-2025-44779, -51471, -63389, CVE-2026-42248, -5530 | servers, registries, archives, updaters | a file reader has none of these |
//! | lmstudio-ai #2289 | fixes shipped late | a matter of releases |

#[path = "common/raw_gguf.rs"]
mod raw_gguf;

use oribi::dtype::TABLE;
use oribi::gguf::{Gguf, Metadata, Value};
use oribi::{Error, ErrorKind};
use raw_gguf::{Raw, id};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Seek, SeekFrom, Write};

/// Counts what the current thread holds, and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is ending has no counters any more, and nothing to measure.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is handed to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` held at once, beyond those held before.
fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let result = work();
    (result, usize::try_from(PEAK.with(Cell::get) - before).unwrap())
}

/// What an input of `n` bytes may make the reader hold: the copy of the input, tables of it, and the text of an error.
fn allowed_bytes(n: usize) -> usize {
    10 * n + 4096
}

/// Opens bytes and uses everything that the reader offers, within the bound on memory.
fn open(bytes: &[u8]) -> Result<Gguf, Error> {
    let (result, peak) = peak_bytes(|| Gguf::from_bytes(bytes));
    assert!(peak <= allowed_bytes(bytes.len()), "{} bytes of input took {peak} bytes: {result:?}", bytes.len());
    if let Ok(gguf) = &result {
        walk(gguf, bytes.len());
    }
    result
}

fn walk(gguf: &Gguf, input_bytes: usize) {
    for (key, value) in gguf.metadata().iter() {
        let ((), peak) = peak_bytes(|| access_every_way(gguf.metadata(), key));
        assert!(peak <= 24 * input_bytes + 4096, "{key}: {peak} bytes");
        let _ = format!("{value} {value:?}");
    }
    for tensor in gguf.tensors() {
        assert_eq!(gguf.tensor_data(tensor).unwrap().len() as u64, tensor.n_bytes());
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
        assert!(tensor.n_elems() > 0);
        gguf.release(tensor);
    }
}

/// Reads a key as every type: each gives a value or an error.
fn access_every_way(metadata: &Metadata, key: &str) {
    macro_rules! read {
        ($($name:ident)*) => { $( if let Err(e) = metadata.$name(key) {
            assert!(matches!(e.kind(), ErrorKind::WrongType | ErrorKind::InvalidFile), "{e}");
        } )* };
    }
    read!(u32 i32 u64 i64 f32 f64 bool str u32s i32s u64s i64s f32s f64s bools strings byte_strings array);
    read!(opt_u32 opt_str opt_f32s opt_strings opt_array);
}

#[track_caller]
fn refused(bytes: &[u8], kind: ErrorKind) -> String {
    match open(bytes) {
        Err(e) if e.kind() == kind => e.to_string(),
        other => panic!("expected {kind:?}, got {other:?}"),
    }
}

#[track_caller]
fn invalid(raw: &Raw) -> String {
    refused(&raw.bytes(), ErrorKind::InvalidFile)
}

#[test]
fn the_sample_is_sound_in_every_version() {
    for version in 1..=3 {
        let gguf = open(&Raw::sample(version).bytes()).unwrap();
        assert_eq!(gguf.version(), version);
        assert_eq!(gguf.tensors().len(), 2);
        assert_eq!(gguf.metadata().u32("test.block_count").unwrap(), 3);
        assert_eq!(gguf.metadata().byte_strings("tokenizer.ggml.tokens").unwrap()[2], b"\xff\xfe");
        let error = gguf.metadata().strings("tokenizer.ggml.tokens").unwrap_err();
        assert!(error.to_string().contains("string 2 is not UTF-8"), "{error}");
        assert_eq!(gguf.metadata().f32s("tokenizer.ggml.scores").unwrap(), [1.0, 2.0]);
        assert_eq!(gguf.tensor_data(gguf.tensor("b.weight").unwrap()).unwrap()[33], 33);
    }
}

// ---- llama.cpp and ggml ----

#[test]
fn cve_2024_21802_n_dims_over_four() {
    for n_dims in [5, 255, u32::MAX] {
        let raw = Raw::new(3).tensor_claiming("a", n_dims, &[1, 1, 1, 1, 1], 0, 0).data(&[0; 64]);
        let text = invalid(&raw);
        assert!(text.contains(&format!("`a`: {n_dims} dimensions")), "{text}");
    }
}

#[test]
fn cve_2024_21825_string_array_count_that_wraps() {
    for count in [1 << 61, (1 << 61) + 1, u64::MAX] {
        invalid(&Raw::new(3).array("a", id::STR, count, &[0; 64]));
    }
}

#[test]
fn cve_2024_21836_n_tensors_that_wraps() {
    for n_tensors in [1 << 60, 1 << 63, u64::MAX] {
        invalid(&Raw { n_tensors: Some(n_tensors), ..Raw::sample(3) });
    }
}

#[test]
fn cve_2024_23496_string_length_that_wraps() {
    let len = u64::MAX.to_le_bytes();
    invalid(&Raw::new(3).entry("a", id::STR, &len));
    invalid(&Raw::new(3).array("a", id::STR, 1, &len));
    invalid(&Raw { entries: vec![len.to_vec()], n_entries: Some(1), ..Raw::new(3) }.data(&[0; 64]));
    invalid(&Raw { tensors: vec![len.to_vec()], n_tensors: Some(1), ..Raw::new(3) }.data(&[0; 64]));
}

#[test]
fn cve_2024_23605_n_kv_that_wraps() {
    for n_entries in [1 << 60, 1 << 63, u64::MAX] {
        invalid(&Raw { n_entries: Some(n_entries), ..Raw::sample(3) });
    }
}

#[test]
fn cve_2024_32878_failure_at_every_entry() {
    let sound = Raw::sample(3);
    for i in 0..sound.entries.len() {
        let mut raw = sound.clone();
        raw.entries[i] = [raw.string(b"bad"), 77u32.to_le_bytes().to_vec()].concat();
        let text = invalid(&raw);
        assert!(text.contains("metadata key `bad`: value type 77"), "{text}");
    }
}

#[test]
fn cve_2024_41130_tensor_without_a_name() {
    invalid(&Raw::new(3).tensor("", &[8], 0, 0).data(&[0; 32]));
    let text = invalid(&Raw::new(3).tensor("a\0b", &[8], 0, 0).data(&[0; 32]));
    assert!(text.contains("NUL"), "{text}");
    invalid(&Raw::new(3).entry("", id::U32, &[0; 4]));
}

#[test]
fn cve_2025_53630_sum_of_tensor_sizes_that_wraps() {
    // Each size fits 63 bits, their sum wraps 64.
    let dims = [(1 << 61) - 8, 1];
    let mut raw = Raw::new(3);
    let mut offset = 0u64;
    for i in 0..3 {
        raw = raw.tensor(&format!("t{i}"), &dims, 0, offset);
        offset = offset.wrapping_add((dims[0] * 4).next_multiple_of(32));
    }
    invalid(&raw.data(&[0; 64]));
}

#[test]
fn cve_2026_27940_n_tensors_times_any_overhead_wraps() {
    for bytes_each in [8, 24, 25, 33, 48, 96, 104, 112, 336, 368] {
        for extra in [0, 1, 2] {
            invalid(&Raw { n_tensors: Some(u64::MAX / bytes_each + extra), ..Raw::sample(3) });
        }
    }
}

#[test]
fn cve_2026_33298_shape_products_that_wrap_in_every_format() {
    for row in TABLE {
        let block = row.block_len as u64;
        let shapes: [&[u64]; 5] = [
            &[(i64::MAX as u64 / block) * block, 2],
            &[block << 32, 1 << 32],
            &[block, (u64::MAX / block).saturating_add(1)],
            &[block, 1 << 32, 1 << 32, 1 << 32],
            &[(1 << 62) / block * block],
        ];
        for shape in shapes {
            let raw = Raw::new(3).tensor("t", shape, row.id, 0).data(&[0; 512]);
            match open(&raw.bytes()) {
                Err(e) if matches!(e.kind(), ErrorKind::InvalidFile | ErrorKind::Truncated) => {}
                other => panic!("{} {shape:?}: {other:?}", row.name),
            }
        }
    }
}

#[test]
fn llama_cpp_19856_unknown_type_ids() {
    for type_id in [44, 1 << 31, u32::MAX] {
        let raw = Raw::new(3).tensor("t", &[32], type_id, 0).data(&[0; 128]);
        let text = refused(&raw.bytes(), ErrorKind::Unsupported);
        assert!(text.contains(&format!("`t`: type id {type_id} ")), "{text}");
        invalid(&Raw::new(3).entry("a", type_id, &[0; 64]));
        invalid(&Raw::new(3).array("a", type_id, 1, &[0; 64]));
    }
    // Ids that ggml removed.
    for type_id in [4, 5, 31, 32, 33, 36, 37, 38] {
        refused(&Raw::new(3).tensor("t", &[32], type_id, 0).data(&[0; 128]).bytes(), ErrorKind::Unsupported);
    }
}

#[test]
fn llama_cpp_19003_cve_2026_52131_lengths_past_the_file_allocate_nothing() {
    for version in 1..=3 {
        let raw = Raw::new(version);
        let empty = raw.clone().entry("a", id::STR, &raw.count(0)).bytes();
        let bytes = raw.clone().entry("a", id::STR, &raw.count(empty.len() as u64 + 1)).bytes();
        let text = refused(&bytes, ErrorKind::Truncated);
        assert!(text.contains(&format!("the file has {} bytes", bytes.len())), "{text}");
        for gib in [1 << 30, 0xffff_ffff] {
            let mut bytes = raw.clone().entry("a", id::STR, &raw.count(gib)).bytes();
            bytes.resize(100, 0);
            refused(&bytes, ErrorKind::InvalidFile);
        }
    }
}

/// The file is sparse: it takes no room on the disk.
#[test]
fn cve_2025_49847_token_longer_than_2_gib() {
    let len = (1u64 << 31) + 5;
    for (n, kind) in [(len, ErrorKind::InvalidFile), (1 << 29, ErrorKind::Truncated)] {
        let mut file = tempfile::tempfile().unwrap();
        let raw = Raw::new(3).array("tokenizer.ggml.tokens", id::STR, 1, &n.to_le_bytes());
        file.write_all(&raw.bytes()).unwrap();
        let promised = raw.bytes().len() as u64 + len;
        file.set_len(if kind == ErrorKind::Truncated { 1 << 20 } else { promised }).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let file_bytes = file.metadata().unwrap().len();
        let (result, peak) = peak_bytes(|| Gguf::open_range(file, 0, file_bytes));
        assert_eq!(result.unwrap_err().kind(), kind);
        assert!(peak < 16384, "{peak}");
    }
}

#[test]
fn llama_cpp_26690_every_array_read_as_every_type() {
    let sizes = [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)];
    for (element_id, element_bytes) in sizes {
        for n in [0u64, 1, 2, 100] {
            let elements = vec![if element_id == 7 { 1 } else { 0xfe }; element_bytes * n as usize];
            let gguf = open(&Raw::new(3).array("a", element_id, n, &elements).bytes()).unwrap();
            let array = gguf.metadata().array("a").unwrap();
            assert_eq!(array.scalars().count() as u64, n);
            assert_eq!(array.get(n as usize), None);
            assert_eq!(array.get(usize::MAX), None);
            if n > 0 {
                assert_eq!(gguf.metadata().f32s("a").is_ok(), matches!(element_id, 6 | 12));
                assert_eq!(gguf.metadata().i64s("a").is_ok(), !matches!(element_id, 6 | 7 | 10 | 12));
                assert!(gguf.metadata().strings("a").is_err());
            }
        }
        // One element more than there are bytes.
        refused(&Raw::new(3).array("a", element_id, 3, &vec![0; element_bytes * 2]).bytes(), ErrorKind::Truncated);
    }
    let strings = open(&Raw::new(3).strings("a", &[b"1", b"2"]).bytes()).unwrap();
    assert_eq!(strings.metadata().f32s("a").unwrap_err().kind(), ErrorKind::WrongType);
    assert_eq!(strings.metadata().array("a").unwrap().get(0), None);
    assert_eq!(strings.metadata().array("a").unwrap().scalars().count(), 0);
}

#[test]
fn llama_cpp_26318_alignment_of_every_wrong_kind() {
    let tensor = |raw: Raw| raw.tensor("t", &[8], 0, 0).data(&[0; 64]);
    let raw = || Raw::new(3);
    for value in [3u32, 1, 7, 24, 33, 1 << 31, u32::MAX] {
        invalid(&tensor(raw().entry("general.alignment", id::U32, &value.to_le_bytes())));
    }
    for value in [1u64 << 32, 1 << 63, u64::MAX] {
        invalid(&tensor(raw().entry("general.alignment", id::U64, &value.to_le_bytes())));
    }
    refused(&tensor(raw().text("general.alignment", "32")).bytes(), ErrorKind::WrongType);
    refused(&tensor(raw().entry("general.alignment", id::I32, &(-32i32).to_le_bytes())).bytes(), ErrorKind::WrongType);
    refused(&tensor(raw().entry("general.alignment", id::F32, &32f32.to_le_bytes())).bytes(), ErrorKind::WrongType);
    refused(&tensor(raw().array("general.alignment", id::U32, 1, &[32, 0, 0, 0])).bytes(), ErrorKind::WrongType);
    // An integer of another width that is a sound alignment.
    assert_eq!(
        open(&tensor(raw().entry("general.alignment", id::U64, &32u64.to_le_bytes())).bytes()).unwrap().alignment(),
        32
    );
}

#[test]
fn llama_cpp_27188_array_length_of_2_to_the_63() {
    for element_id in 0..13 {
        for len in [1 << 63, u64::MAX, 1 << 40] {
            let result = open(&Raw::new(3).array("a", element_id, len, &[0; 64]).bytes());
            assert!(result.is_err(), "{element_id} {len}: {result:?}");
        }
    }
}

#[test]
fn gguf_2026_05_001_zero_dimension_in_each_position() {
    for n_dims in 1..=4 {
        for zero in 0..n_dims {
            let mut dims = vec![32u64; n_dims];
            dims[zero] = 0;
            let text = invalid(&Raw::new(3).tensor("t", &dims, 0, 0).data(&[0; 64]));
            assert!(text.contains(&format!("dimension {zero} of")), "{text}");
        }
    }
}

#[test]
fn mlx_4213_metadata_that_passes_the_end_of_the_file() {
    refused(&Raw::new(3).array("a", id::U32, 1000, &[0; 64]).bytes(), ErrorKind::Truncated);
    refused(&Raw::new(3).array("a", id::STR, 8, &[0; 56]).bytes(), ErrorKind::Truncated);
    refused(&Raw::new(3).entry("a", id::U64, &[0; 7]).bytes(), ErrorKind::Truncated);
}

#[test]
fn arrays_of_arrays_are_refused_at_any_depth() {
    let mut value = vec![0; 8];
    for _ in 0..10_000 {
        value = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat();
        value.extend_from_slice(&9u32.to_le_bytes());
    }
    refused(&Raw::new(3).entry("a", id::ARRAY, &value).bytes(), ErrorKind::Unsupported);
    let deep: Vec<u8> = std::iter::repeat_n(value, 5000).flatten().collect();
    refused(&Raw::new(3).entry("a", id::ARRAY, &deep).bytes(), ErrorKind::Unsupported);
}

// ---- ollama ----

#[test]
fn cve_2024_39720_truncation_at_every_byte() {
    for version in 1..=3 {
        let bytes = Raw::sample(version).bytes();
        for n in 0..bytes.len() {
            let error = open(&bytes[..n]).expect_err("a part of a file opened");
            let expected = if n == 0 { ErrorKind::NotGguf } else { ErrorKind::Truncated };
            assert_eq!(error.kind(), expected, "version {version}, {n} bytes: {error}");
        }
        let text = refused(&bytes[..bytes.len() - 1], ErrorKind::Truncated);
        let (there, promised) = (bytes.len() - 1, bytes.len());
        assert!(text.contains(&format!("has {there} bytes, but its header promises {promised}")), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn cve_2024_39721_a_device_is_not_read() {
    for (path, what) in [("/dev/zero", "a device"), ("/dev/null", "a device"), ("/dev", "a directory")] {
        let error = Gguf::open(path.as_ref()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(what) && error.to_string().contains(path), "{error}");
    }
}

/// Opening a FIFO for reading waits for a writer that never comes.
#[cfg(unix)]
#[test]
fn cve_2024_39721_a_fifo_does_not_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = Gguf::open(&path).unwrap_err();
    assert!(error.to_string().contains("a pipe (FIFO)"), "{error}");
}

#[test]
fn cve_2024_8063_a_key_of_every_type_read_as_every_type() {
    let sizes = [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)];
    for (type_id, n_bytes) in sizes {
        let gguf = open(&Raw::new(3).entry("test.block_count", type_id, &[1, 0, 0, 0, 0, 0, 0, 0][..n_bytes]).bytes());
        let gguf = gguf.unwrap();
        let is_integer = !matches!(type_id, 6 | 7 | 12);
        let read = gguf.metadata().u32("test.block_count");
        assert_eq!(read.is_ok(), is_integer, "{type_id}: {read:?}");
        assert_eq!(gguf.metadata().bool("test.block_count").is_ok(), type_id == 7);
    }
    let gguf = open(&Raw::new(3).text("test.block_count", "30").bytes()).unwrap();
    let error = gguf.metadata().u32("test.block_count").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert!(error.to_string().contains("`test.block_count`"), "{error}");
    let error = gguf.metadata().u32("test.other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingKey);
    assert_eq!(gguf.metadata().opt_u32("test.other").unwrap(), None);
}

#[test]
fn integers_that_do_not_fit_are_a_wrong_type() {
    let raw = Raw::new(3)
        .entry("minus", id::I32, &(-1i32).to_le_bytes())
        .entry("big", id::U64, &u64::MAX.to_le_bytes())
        .array("mixed", id::I32, 2, &[5, 0, 0, 0, 255, 255, 255, 255]);
    let gguf = open(&raw.bytes()).unwrap();
    let meta = gguf.metadata();
    for error in [
        meta.u32("minus").unwrap_err(),
        meta.u64("minus").unwrap_err(),
        meta.u32("big").unwrap_err(),
        meta.i64("big").unwrap_err(),
        meta.u32s("mixed").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
    }
    assert_eq!(meta.i32s("mixed").unwrap(), [5, -1]);
    assert_eq!(meta.u64("big").unwrap(), u64::MAX);
}

#[test]
fn cve_2024_12055_cve_2025_0317_alignment_zero_or_odd() {
    for alignment in [0u32, 1, 5, 31] {
        let raw = Raw::new(3).entry("general.alignment", id::U32, &alignment.to_le_bytes());
        let text = invalid(&raw.clone().tensor("t", &[8], 0, 0).data(&[0; 64]));
        assert!(text.contains(&format!("`general.alignment` is {alignment},")), "{text}");
        invalid(&raw);
    }
}

#[test]
fn cve_2025_0312_dims_zero_and_256() {
    invalid(&Raw::new(3).tensor("t", &[0, 256], 0, 0).data(&[0; 64]));
}

#[test]
fn cve_2025_0315_dims_of_2_to_the_50() {
    let raw = Raw::new(3).tensor("t", &[1 << 25, 1 << 25], 0, 0).data(&[0; 64]);
    let text = refused(&raw.bytes(), ErrorKind::Truncated);
    assert!(text.contains(&format!("promises {}", (1u64 << 52) + 96)), "{text}");
}

#[test]
fn cve_2025_1975_empty_arrays() {
    for version in 1..=3 {
        for element_id in (0..13).filter(|&element_id| element_id != id::ARRAY) {
            let gguf = open(&Raw::new(version).array("a", element_id, 0, &[]).bytes()).unwrap();
            let array = gguf.metadata().array("a").unwrap();
            assert!(array.is_empty());
            assert_eq!((array.get(0), array.scalars().next()), (None, None));
            assert!(gguf.metadata().strings("a").unwrap().is_empty());
            assert!(gguf.metadata().f32s("a").unwrap().is_empty());
        }
    }
}

#[test]
fn cve_2025_66959_66960_string_lengths_in_every_version() {
    for version in 1..=3 {
        let raw = Raw::new(version);
        let max = if version == 1 { u64::from(u32::MAX) } else { u64::MAX };
        for len in [1, 2, 63, 1 << 16, 1 << 29, (1 << 31) - 1, 1 << 31, max - 8, max - 1, max] {
            let kinds = [ErrorKind::InvalidFile, ErrorKind::Truncated];
            let claim = raw.count(len);
            for raw in [
                raw.clone().entry("a", id::STR, &claim),
                raw.clone().array("a", id::STR, 1, &claim),
                Raw { entries: vec![claim.clone()], ..raw.clone() },
                Raw { tensors: vec![claim.clone()], ..raw.clone() },
            ] {
                let error = open(&raw.bytes()).unwrap_err();
                assert!(kinds.contains(&error.kind()), "{error}");
            }
        }
    }
}

#[test]
fn cve_2026_7482_tensor_past_the_end_overlapping_or_unaligned() {
    // `t0` takes bytes 0 to 32 of 64 bytes of data.
    let with = |dims: &[u64], offset| Raw::new(3).tensor("t0", &[8], 0, 0).tensor("t1", dims, 0, offset).data(&[0; 64]);
    open(&with(&[8], 32).bytes()).unwrap();
    for offset in [96, 1 << 20, 1 << 40, 1 << 63, u64::MAX - 31] {
        invalid(&with(&[8], offset));
    }
    refused(&with(&[9], 32).bytes(), ErrorKind::Truncated);
    refused(&with(&[8], 64).bytes(), ErrorKind::InvalidFile);
    let text = invalid(&with(&[8], 0));
    assert!(text.contains("overlaps"), "{text}");
    invalid(&Raw::new(3).tensor("t0", &[9], 0, 0).tensor("t1", &[8], 0, 32).data(&[0; 64]));
    for offset in [1, 16, 31, 33] {
        let text = invalid(&with(&[1], offset));
        assert!(text.contains("not a multiple"), "{text}");
    }
    // In any order of the entries.
    open(&Raw::new(3).tensor("t1", &[8], 0, 32).tensor("t0", &[8], 0, 0).data(&[0; 64]).bytes()).unwrap();
    invalid(&Raw::new(3).tensor("t1", &[8], 0, 32).tensor("t0", &[9], 0, 0).data(&[0; 64]));
}

/// A `TensorInfo` of one file must not reach outside another.
#[test]
fn cve_2026_7482_tensor_of_another_file() {
    let large = open(&Raw::new(3).tensor("t", &[1000], 0, 0).data(&[0; 4000]).bytes()).unwrap();
    let small = open(&Raw::new(3).tensor("t", &[8], 0, 0).data(&[0; 32]).bytes()).unwrap();
    let error = small.tensor_data(&large.tensors()[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    small.release(&large.tensors()[0]);
    small.will_need(&large.tensors()[0]);
}

// ---- beyond the record ----

#[test]
fn duplicate_keys_and_tensors_are_refused() {
    let text = invalid(&Raw::new(3).text("a", "1").text("b", "2").text("a", "3"));
    assert!(text.contains("key `a` is there twice"), "{text}");
    let text = invalid(&Raw::new(3).tensor("t", &[8], 0, 0).tensor("t", &[8], 0, 32).data(&[0; 64]));
    assert!(text.contains("tensor `t` is there twice"), "{text}");
}

#[test]
fn text_that_is_not_utf8_is_refused_outside_arrays() {
    let bad = |raw: &Raw| raw.string(b"ab\xff");
    let raw = Raw::new(3);
    invalid(&raw.clone().entry("a", id::STR, &bad(&raw)));
    invalid(&Raw { entries: vec![[bad(&raw), vec![0, 0, 0, 0, 1]].concat()], ..raw.clone() });
    invalid(&Raw { tensors: vec![[bad(&raw), vec![0; 32]].concat()], ..raw.clone() });
    open(&raw.clone().strings("a", &[b"ab\xff"]).bytes()).unwrap();
}

#[test]
fn bools_are_zero_or_one() {
    invalid(&Raw::new(3).entry("a", id::BOOL, &[2]));
    let text = invalid(&Raw::new(3).array("a", id::BOOL, 3, &[0, 1, 255]));
    assert!(text.contains("bool 2 of 3 is 255"), "{text}");
}

#[test]
fn rows_of_broken_blocks_are_refused() {
    for row in TABLE.iter().filter(|row| row.block_len > 1) {
        let text = invalid(&Raw::new(3).tensor("t", &[row.block_len as u64 + 1, 4], row.id, 0).data(&[0; 4096]));
        assert!(text.contains("whole blocks"), "{text}");
    }
}

#[test]
fn a_scalar_tensor_has_one_dimension_of_one() {
    let gguf = open(&Raw::new(3).tensor("t", &[], 0, 0).data(&[0; 4]).bytes()).unwrap();
    assert_eq!(gguf.tensors()[0].shape, [1]);
}

#[test]
fn names_in_errors_are_escaped_and_short() {
    let name = format!("\u{1b}[31m{}", "x".repeat(5000));
    let text = invalid(&Raw::new(3).tensor(&name, &[0], 0, 0).data(&[0; 32]));
    assert!(text.len() < 300 && !text.contains('\u{1b}'), "{text}");
    let long = "x".repeat(65_536);
    assert!(invalid(&Raw::new(3).text(&long, "")).len() < 300);
}

#[test]
fn other_versions_and_byte_orders_are_named() {
    let mut bytes = Raw::sample(3).bytes();
    for (version, what) in
        [(0u32, "version 0 "), (4, "version 4 "), (u32::MAX, "version 4294967295"), (3 << 24, "big-endian (version 3")]
    {
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        let text = refused(&bytes, ErrorKind::UnsupportedVersion);
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn common_mistakes_are_recognised() {
    let safetensors = [&100u64.to_le_bytes()[..], b"{\"__metadata__\":{}"].concat();
    let cases: [(&[u8], &str); 12] = [
        (b"", "empty"),
        (&safetensors, "safetensors"),
        (b"PK\x03\x04\x00\x00\x00", "PyTorch"),
        (b"\x80\x02}q\x00", "PyTorch"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\n  <HTML>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
        (b"tjgg\x03\x00\x00\x00", "before GGUF"),
        (b"\x1f\x8b\x08", "compressed"),
        (b"{\"error\": \"not found\"}", "JSON"),
        (b"FUGG\x00\x00\x00\x03", "reverse byte order"),
        (b"\x00\x01random", "begins with \"\\x00\\x01random\""),
    ];
    for (bytes, what) in cases {
        let text = refused(bytes, ErrorKind::NotGguf);
        assert!(text.contains(what), "{text}");
    }
}

/// Every byte of a sound file, changed in several ways: the reader says yes or no, within its bounds.
#[test]
fn every_byte_changed() {
    for version in 1..=3 {
        let sound = Raw::sample(version).bytes();
        for i in 0..sound.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, sound[i] ^ 1, sound[i].wrapping_add(1)] {
                let mut bytes = sound.clone();
                bytes[i] = value;
                let _ = open(&bytes);
            }
        }
    }
}

/// Inputs with as many of the smallest items as fit, which cost the reader the most memory for each byte.
#[test]
fn many_small_items_stay_within_the_bound() {
    let mut entries = Raw::new(1);
    let mut tensors = Raw::new(1);
    for i in 0..20_000u32 {
        entries = entries.entry(&format!("{i:x}"), id::U8, &[0]);
        tensors = tensors.tensor(&format!("{i:x}"), &[1], 24, u64::from(i) * 32);
    }
    assert_eq!(open(&entries.bytes()).unwrap().metadata().len(), 20_000);
    // Without its data, so that the table of tensors is all there is; then whole.
    refused(&tensors.bytes(), ErrorKind::Truncated);
    assert_eq!(open(&tensors.data(&vec![0; 20_000 * 32]).bytes()).unwrap().tensors().len(), 20_000);
    let strings = open(&Raw::new(1).strings("a", &vec![&b""[..]; 100_000]).bytes()).unwrap();
    assert_eq!(strings.metadata().strings("a").unwrap().len(), 100_000);
    assert!(matches!(strings.metadata().get("a"), Some(Value::Array(a)) if a.len() == 100_000));
}

/// What the fuzzer starts from: the files of `fuzz/corpus/gguf_open`, which this test writes with `ORIBI_BLESS=1`, compares
/// otherwise, and opens together with any other file there (a crash that the fuzzer found is kept by adding it).
#[test]
fn the_fuzz_corpus_is_as_written_here_and_opens_or_not() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/gguf_open");
    if !folder.is_dir() {
        println!("skipped: {} is not part of a packaged crate", folder.display());
        return;
    }
    let quantized = TABLE
        .iter()
        .enumerate()
        .fold(Raw::new(3), |raw, (i, row)| raw.tensor(row.name, &[row.block_len as u64], row.id, i as u64 * 320));
    let aligned = Raw { alignment: 64, ..Raw::new(3) }.entry("general.alignment", id::U32, &[64, 0, 0, 0]);
    let seeds = [
        ("v1", Raw::sample(1)),
        ("v2", Raw::sample(2)),
        ("v3", Raw::sample(3)),
        ("every-format", quantized.data(&vec![1; TABLE.len() * 320])),
        ("aligned-64", aligned.tensor("a", &[8], 0, 0).tensor("b", &[8], 0, 64).data(&[2; 96])),
        ("no-tensors", Raw::new(3).text("general.architecture", "test")),
        ("count-past-the-end", Raw::new(3).array("a", id::STR, 1 << 20, &[0; 64])),
        ("overlap", Raw::new(3).tensor("a", &[16], 0, 0).tensor("b", &[8], 0, 32).data(&[0; 64])),
        ("split", Raw::new(3).entry("split.no", id::U16, &[0, 0]).entry("split.count", id::U16, &[2, 0])),
    ];
    for (name, raw) in seeds {
        let path = folder.join(name);
        if std::env::var_os("ORIBI_BLESS").is_some_and(|v| v == "1") {
            std::fs::write(&path, raw.bytes()).unwrap();
        }
        let committed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(committed == raw.bytes(), "{} differs: run this test with ORIBI_BLESS=1", path.display());
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let _ = open(&std::fs::read(entry.unwrap().path()).unwrap());
    }
}
