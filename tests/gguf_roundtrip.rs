//! What is written is what is read: any header, any value, split files, and files of the `gguf` Python package. And what
//! a writer leaves behind when something goes wrong: nothing.

mod common;

use oribi::ErrorKind;
use oribi::dtype::{DType, TABLE};
use oribi::gguf::{Gguf, GgufBuilder, RawStr, Value, ValueType};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Union;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Declares a value of every type that owns what it holds, how to make one, to write one, and to compare one.
macro_rules! values {
    ($($one:ident($type:ty) $many:ident;)*) => {
        #[derive(Clone, Debug)]
        enum Owned {
            $( $one($type), $many(Vec<$type>), )*
            Str(String),
            Strs(Vec<Vec<u8>>),
        }

        fn any_value() -> impl Strategy<Value = Owned> {
            Union::new([
                $( any::<$type>().prop_map(Owned::$one).boxed(), vec(any::<$type>(), 0..9).prop_map(Owned::$many).boxed(), )*
                any::<String>().prop_map(Owned::Str).boxed(),
                vec(vec(any::<u8>(), 0..9), 0..9).prop_map(Owned::Strs).boxed(),
            ])
        }

        impl Owned {
            fn set(&self, builder: &mut GgufBuilder, key: &str) {
                match self {
                    $( Owned::$one(v) => builder.set(key, v), Owned::$many(v) => builder.set(key, v), )*
                    Owned::Str(v) => builder.set(key, v),
                    Owned::Strs(v) => builder.set(key, v.iter().map(|s| RawStr(s)).collect::<Vec<_>>()),
                }
                .unwrap();
            }

            fn check(&self, read: Value<'_>) {
                match self {
                    $( Owned::$one(v) => assert_eq!(read, Value::$one(*v)),
                    Owned::$many(v) => {
                        let array = read.as_array().unwrap();
                        assert_eq!((array.element_type(), array.len()), (ValueType::$one, v.len()));
                        assert!(array.scalars().eq(v.iter().map(|&v| Value::$one(v))), "{v:?}");
                        assert!(v.iter().enumerate().all(|(i, &v)| array.get(i) == Some(Value::$one(v))), "{v:?}");
                    } )*
                    Owned::Str(v) => assert_eq!(read, Value::Str(v)),
                    Owned::Strs(v) => {
                        let strings: Vec<&[u8]> = read.as_array().unwrap().byte_strings().map(Result::unwrap).collect();
                        assert_eq!(strings, *v);
                    }
                }
            }
        }
    };
}

values! {
    U8(u8) U8s; I8(i8) I8s; U16(u16) U16s; I16(i16) I16s; U32(u32) U32s; I32(i32) I32s; U64(u64) U64s; I64(i64) I64s;
    F32(f32) F32s; F64(f64) F64s; Bool(bool) Bools;
}

/// A tensor to write: type, shape, and the byte that its data begins with.
type Tensor = (DType, Vec<u64>, u8);

fn any_tensor() -> impl Strategy<Value = Tensor> {
    let shape = (1..4u64, vec(1..4u64, 0..4));
    (0..TABLE.len(), shape, any::<u8>()).prop_map(|(row, (blocks, rest), seed)| {
        let row = &TABLE[row];
        (row.dtype, [vec![blocks * row.block_len as u64], rest].concat(), seed)
    })
}

fn shape_of(tensor: &Tensor) -> &[u64] {
    &tensor.1[..tensor.1.len().min(4)]
}

fn data_of(tensor: &Tensor) -> Vec<u8> {
    let (dtype, _, seed) = tensor;
    let n_elems: u64 = shape_of(tensor).iter().product();
    let n_bytes = dtype.row_bytes(n_elems as usize).unwrap();
    (0..n_bytes).map(|i| (i as u8).wrapping_mul(31).wrapping_add(*seed)).collect()
}

/// Writes a file into memory.
fn write(builder: GgufBuilder, data: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = builder.write_to(Vec::new()).unwrap();
    for (name, data) in data {
        assert_eq!(writer.next_tensor(), Some(name.as_str()));
        writer.write_tensor(name, data).unwrap();
    }
    assert_eq!(writer.next_tensor(), None);
    writer.finish().unwrap()
}

proptest! {
    #[test]
    fn any_header_and_tensors_round_trip(
        values in proptest::collection::btree_map("[a-z_.]{1,20}", any_value(), 0..12),
        tensors in proptest::collection::btree_map("[a-z0-9_.]{1,63}", any_tensor(), 0..8),
        alignment in proptest::option::of(3..9u32),
    ) {
        let mut builder = GgufBuilder::new();
        for (key, value) in &values {
            value.set(&mut builder, key);
        }
        if let Some(log2) = alignment {
            builder.set("general.alignment", 1u32 << log2).unwrap();
        }
        for (name, tensor) in &tensors {
            builder.add_tensor(name, tensor.0, shape_of(tensor)).unwrap();
        }
        let data: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), data_of(tensor))).collect();
        let gguf = Gguf::from_bytes(write(builder, &data)).unwrap();

        prop_assert_eq!(gguf.metadata().len(), values.len() + usize::from(alignment.is_some()));
        for (key, value) in &values {
            value.check(gguf.metadata().get(key).unwrap());
        }
        prop_assert_eq!(gguf.alignment(), alignment.map_or(32, |log2| 1 << log2));
        prop_assert_eq!(gguf.tensors().len(), tensors.len());
        for (name, data) in &data {
            let info = gguf.tensor(name).unwrap();
            prop_assert_eq!((info.dtype, info.shape.as_slice()), (tensors[name].0, shape_of(&tensors[name])));
            prop_assert_eq!(info.offset() % gguf.alignment(), 0);
            prop_assert_eq!(gguf.tensor_data(info).unwrap(), data);
        }

        // A second writing from what was read gives the same bytes.
        let mut copy = GgufBuilder::new();
        copy.set_all(gguf.metadata()).unwrap();
        for info in gguf.tensors() {
            copy.add_tensor(&info.name, info.dtype, &info.shape).unwrap();
        }
        let again = Gguf::from_bytes(write(copy, &data)).unwrap();
        prop_assert!(again.metadata().iter().eq(gguf.metadata().iter()));
        prop_assert_eq!(again.tensors(), gguf.tensors());
    }

    #[test]
    fn bytes_never_break_the_reader(mut bytes in vec(any::<u8>(), 0..400), version in 1..4u32) {
        let _ = Gguf::from_bytes(bytes.clone());
        // The same behind a sound start, so that the counts and entries are reached.
        let start = [&b"GGUF"[..], &version.to_le_bytes()].concat();
        bytes.splice(0..0, start);
        let _ = Gguf::from_bytes(bytes);
    }
}

#[test]
fn special_floats_keep_their_bits() {
    let bits = [0x7fc0_1234u32, 0xffc0_0001, 0x8000_0000, 0x0000_0001, 0x7f80_0000];
    let mut builder = GgufBuilder::new();
    builder.set("a", bits.map(f32::from_bits)).unwrap();
    let gguf = Gguf::from_bytes(write(builder, &[])).unwrap();
    assert_eq!(gguf.metadata().f32s("a").unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits);
}

/// The file and its values come from `tests/data/make_gguf_fixture.py`.
#[test]
fn a_file_of_the_gguf_python_package_reads_as_it_was_written() {
    let gguf = Gguf::open(&common::data("gguf-py.gguf")).unwrap();
    let meta = gguf.metadata();
    assert_eq!((gguf.version(), gguf.alignment(), meta.len()), (3, 64, 19));
    let expected = [
        ("general.architecture", Value::Str("fixture")),
        ("general.alignment", Value::U32(64)),
        ("all.u8", Value::U8(200)),
        ("all.i8", Value::I8(-100)),
        ("all.u16", Value::U16(60_000)),
        ("all.i16", Value::I16(-30_000)),
        ("all.u32", Value::U32(4_000_000_000)),
        ("all.i32", Value::I32(-2_000_000_000)),
        ("all.u64", Value::U64(u64::MAX)),
        ("all.i64", Value::I64(i64::MIN)),
        ("all.f32", Value::F32(1.5)),
        ("all.f64", Value::F64(0.1)),
        ("all.bool", Value::Bool(true)),
        ("all.str", Value::Str("grüße, 世界")),
    ];
    assert!(meta.iter().take(expected.len()).eq(expected));
    assert_eq!(meta.i32s("array.i32").unwrap(), [1, -2, 3]);
    assert_eq!(meta.f32s("array.f32").unwrap(), [0.5, -0.25]);
    assert_eq!(meta.bools("array.bool").unwrap(), [true, false, true]);
    assert_eq!(meta.strings("array.str").unwrap(), ["a", "", "ß"]);
    assert_eq!(meta.byte_strings("tokenizer.ggml.tokens").unwrap(), [&b"<s>"[..], b"\xff\x80", "ä".as_bytes()]);
    let shapes: BTreeMap<_, _> = gguf.tensors().iter().map(|t| (t.name.as_str(), (t.dtype, t.shape.clone()))).collect();
    assert_eq!(shapes["f32"], (DType::F32, vec![5, 3]));
    assert_eq!(shapes["f16"], (DType::F16, vec![3, 2, 1]));
    assert_eq!(shapes["i8"], (DType::I8, vec![7]));
    assert_eq!(shapes["q8_0"], (DType::Q8_0, vec![64, 2]));
    let data = |name: &str| gguf.tensor_data(gguf.tensor(name).unwrap()).unwrap();
    assert_eq!(data("i8"), [0xfd, 0xfe, 0xff, 0, 1, 2, 3]);
    assert_eq!(data("f16"), [0, 0, 0, 0x3c, 0, 0x40, 0, 0x42, 0, 0x44, 0, 0x45]);
    assert_eq!(data("q8_0").len(), 2 * 2 * 34);
}

/// Both writers lay a file out alike.
#[test]
fn a_copy_of_the_python_file_is_the_same_file() {
    let path = common::data("gguf-py.gguf");
    let gguf = Gguf::open(&path).unwrap();
    let mut builder = GgufBuilder::new();
    builder.set_all(gguf.metadata()).unwrap();
    for info in gguf.tensors() {
        builder.add_tensor(&info.name, info.dtype, &info.shape).unwrap();
    }
    let tensors = gguf.tensors().iter().map(|t| (t.name.clone(), gguf.tensor_data(t).unwrap().to_vec()));
    assert!(write(builder, &tensors.collect::<Vec<_>>()) == fs::read(path).unwrap());
}

#[test]
fn a_gguf_inside_another_file_opens_at_any_offset() {
    let bytes = fs::read(common::data("gguf-py.gguf")).unwrap();
    for offset in [1usize, 31, 4096, 5001] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; offset]).unwrap();
        file.write_all(&bytes).unwrap();
        file.write_all(b"something else").unwrap();
        let gguf = Gguf::open_range(file, offset as u64, bytes.len() as u64).unwrap();
        assert_eq!(gguf.tensor_data(gguf.tensor("i8").unwrap()).unwrap(), [0xfd, 0xfe, 0xff, 0, 1, 2, 3]);
        gguf.release(gguf.tensor("f32").unwrap());
    }
}

// ---- writing to a path ----

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn one_tensor() -> GgufBuilder {
    let mut builder = GgufBuilder::new();
    builder.add_tensor("t", DType::F32, &[4]).unwrap();
    builder
}

#[test]
fn a_committed_file_takes_its_name_and_replaces_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, "old").unwrap();
    let mut writer = one_tensor().create(&path).unwrap();
    writer.stream_tensor("t", |sink| (0..4u8).try_for_each(|i| sink.write(&[i; 4]))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    writer.commit().unwrap();
    assert_eq!(listing(folder.path()), ["model.gguf"]);
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.tensor_data(&gguf.tensors()[0]).unwrap(), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    // Written whole blocks of the alignment, so that files can follow each other.
    assert_eq!(gguf.file_bytes() % gguf.alignment(), 0);
}

#[test]
fn nothing_is_left_behind_on_drop_or_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    drop(one_tensor().create(&path).unwrap());

    let error = one_tensor().create(&path).unwrap().commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");

    let mut writer = one_tensor().create(&path).unwrap();
    let error = writer.write_tensor("t", &[0; 17]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(writer.write_tensor("t", &[0; 16]).unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(writer.commit().unwrap_err().kind(), ErrorKind::InvalidState);

    let mut writer = one_tensor().create(&path).unwrap();
    writer.write_tensor("t", &[0; 15]).unwrap_err();
    drop(writer);

    // The destination cannot be replaced: the name is a folder's.
    fs::create_dir(&path).unwrap();
    let mut writer = one_tensor().create(&path).unwrap();
    writer.write_tensor("t", &[0; 16]).unwrap();
    assert_eq!(writer.commit().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(listing(folder.path()), ["model.gguf"]);

    let missing = folder.path().join("no/such/folder/model.gguf");
    assert_eq!(one_tensor().create(&missing).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn an_output_that_fails_is_an_error() {
    /// Takes `left` bytes.
    struct Full {
        left: usize,
    }
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.left = self.left.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for left in [0, 10, 100, 5_000_000] {
        let mut builder = GgufBuilder::new();
        builder.add_tensor("t", DType::I8, &[6_000_000]).unwrap();
        let result = builder.write_to(Full { left }).and_then(|mut writer| {
            writer.stream_tensor("t", |sink| (0..60).try_for_each(|_| sink.write(&[0; 100_000])))?;
            writer.finish()
        });
        assert_eq!(result.err().unwrap().kind(), ErrorKind::Io);
    }
}

#[test]
fn tensors_are_written_in_order_and_once() {
    let mut builder = one_tensor();
    builder.add_tensor("u", DType::F32, &[4]).unwrap();
    let mut writer = builder.write_to(Vec::new()).unwrap();
    let error = writer.write_tensor("u", &[0; 16]).unwrap_err();
    assert!(error.to_string().contains("the next is `t`"), "{error}");
    writer.write_tensor("t", &[0; 16]).unwrap();
    writer.write_tensor("t", &[0; 16]).unwrap_err();
    writer.write_tensor("u", &[0; 16]).unwrap();
    writer.write_tensor("u", &[0; 16]).unwrap_err();
    Gguf::from_bytes(writer.finish().unwrap()).unwrap();
}

#[test]
fn what_no_reader_would_take_is_not_written() {
    let mut builder = GgufBuilder::new();
    for (key, what) in [("", "empty"), ("a\0b", "NUL"), (&*"k".repeat(65_536), "long")] {
        assert_eq!(builder.set(key, 1u8).unwrap_err().kind(), ErrorKind::InvalidArgument, "{what}");
    }
    for alignment in [0u32, 3, 4, 48, 1 << 31] {
        builder.set("general.alignment", alignment).unwrap_err();
    }
    builder.set("general.alignment", 32u64).unwrap_err();
    builder.set("general.alignment", "32").unwrap_err();
    builder.set("general.alignment", 1f32).unwrap_err();
    builder.add_tensor("t", DType::F32, &[4]).unwrap();
    let huge = [1 << 62, 1];
    let bad: [(&str, DType, &[u64]); 8] = [
        ("t", DType::F32, &[4]),
        ("", DType::F32, &[4]),
        (&"n".repeat(64), DType::F32, &[4]),
        ("a", DType::F32, &[]),
        ("a", DType::F32, &[1, 1, 1, 1, 1]),
        ("a", DType::F32, &[4, 0]),
        ("a", DType::Q4_0, &[33]),
        ("a", DType::F32, &huge),
    ];
    for (name, dtype, shape) in bad {
        let error = builder.add_tensor(name, dtype, shape).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    // Nothing of all that stuck.
    let gguf = Gguf::from_bytes(write(builder, &[("t".into(), vec![0; 16])])).unwrap();
    assert_eq!((gguf.metadata().len(), gguf.tensors().len()), (0, 1));
}

#[test]
fn a_key_set_again_keeps_its_place_and_a_removed_one_is_gone() {
    let mut builder = GgufBuilder::new();
    for key in ["z", "a", "m", "general.alignment"] {
        builder.set(key, 64u32).unwrap();
    }
    builder.set("z", "new").unwrap();
    assert!(builder.remove("a") && !builder.remove("a") && builder.remove("general.alignment"));
    let gguf = Gguf::from_bytes(write(builder, &[])).unwrap();
    assert!(gguf.metadata().iter().eq([("z", Value::Str("new")), ("m", Value::U32(64))]));
    assert_eq!(gguf.alignment(), 32);
}

// ---- split files ----

/// Writes file `no` (from 0) of `count` with one tensor `t{no}`, as the field's tools do.
fn write_shard(folder: &Path, no: u16, count: u16, change: impl FnOnce(&mut GgufBuilder)) {
    let mut builder = GgufBuilder::new();
    builder.set("general.architecture", "test").unwrap();
    builder.set("split.no", no).unwrap();
    builder.set("split.count", count).unwrap();
    builder.set("split.tensors.count", i32::from(count)).unwrap();
    let name = format!("t{no}");
    builder.add_tensor(&name, DType::I8, &[3]).unwrap();
    change(&mut builder);
    let mut writer = builder.create(&shard_path(folder, no, count)).unwrap();
    while let Some(name) = writer.next_tensor().map(str::to_owned) {
        writer.write_tensor(&name, &[no as u8; 3]).unwrap();
    }
    writer.commit().unwrap();
}

fn shard_path(folder: &Path, no: u16, count: u16) -> std::path::PathBuf {
    folder.join(format!("model-{:05}-of-{count:05}.gguf", no + 1))
}

fn write_split(count: u16) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    (0..count).for_each(|no| write_shard(folder.path(), no, count, |_| {}));
    folder
}

#[track_caller]
fn split_error(folder: &Path, no: u16, count: u16, kind: ErrorKind, what: &str) {
    let error = Gguf::open(&shard_path(folder, no, count)).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn a_split_model_opens_by_its_first_file() {
    let folder = write_split(3);
    let gguf = Gguf::open(&shard_path(folder.path(), 0, 3)).unwrap();
    assert_eq!((gguf.n_shards(), gguf.tensors().len()), (3, 3));
    for no in 0..3u8 {
        let tensor = gguf.tensor(&format!("t{no}")).unwrap();
        assert_eq!(tensor.shard(), usize::from(no));
        assert_eq!(gguf.tensor_data(tensor).unwrap(), [no; 3]);
        gguf.release(tensor);
    }
}

#[test]
fn another_file_of_a_split_model_says_which_to_open() {
    let folder = write_split(3);
    let what = "this is file 2 of 3 of a split model; open the first, model-00001-of-00003.gguf";
    split_error(folder.path(), 1, 3, ErrorKind::InvalidArgument, what);
    let file = File::open(shard_path(folder.path(), 0, 3)).unwrap();
    let len = file.metadata().unwrap().len();
    let error = Gguf::open_range(file, 0, len).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn split_files_that_do_not_belong_together_are_refused() {
    let folder = write_split(3);
    fs::remove_file(shard_path(folder.path(), 2, 3)).unwrap();
    split_error(folder.path(), 0, 3, ErrorKind::Io, "file 3 of 3: open ");

    // The third file is the second.
    fs::copy(shard_path(folder.path(), 1, 3), shard_path(folder.path(), 2, 3)).unwrap();
    split_error(folder.path(), 0, 3, ErrorKind::InvalidFile, "should be file 3 of 3, but says file 2 of 3");

    // It is of no split at all.
    write_shard(folder.path(), 2, 3, |b| assert!(b.remove("split.count")));
    split_error(folder.path(), 0, 3, ErrorKind::InvalidFile, "says nothing");

    // It has a tensor too many, a tensor of another file.
    write_shard(folder.path(), 2, 3, |b| b.add_tensor("x", DType::I8, &[3]).unwrap());
    split_error(folder.path(), 0, 3, ErrorKind::InvalidFile, "hold 4 tensors, but `split.tensors.count` says 3");
    write_shard(folder.path(), 2, 3, |b| {
        *b = {
            let mut other = GgufBuilder::new();
            other.set("split.no", 2u16).unwrap();
            other.set("split.count", 3u16).unwrap();
            other.add_tensor("t0", DType::I8, &[3]).unwrap();
            other
        }
    });
    split_error(folder.path(), 0, 3, ErrorKind::InvalidFile, "tensor `t0` is there twice");

    // It is cut short.
    let path = shard_path(folder.path(), 2, 3);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 32]).unwrap();
    split_error(folder.path(), 0, 3, ErrorKind::Truncated, "model-00003-of-00003.gguf: the file has");
}

#[test]
fn split_numbers_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_shard(folder.path(), 0, 2, |b| b.set("split.no", 2u16).unwrap());
    split_error(folder.path(), 0, 2, ErrorKind::InvalidFile, "do not make sense");
    write_shard(folder.path(), 0, 2, |b| b.set("split.count", u32::MAX).unwrap());
    split_error(folder.path(), 0, 2, ErrorKind::InvalidFile, "do not make sense");
    write_shard(folder.path(), 0, 2, |b| b.set("split.count", "2").unwrap());
    split_error(folder.path(), 0, 2, ErrorKind::WrongType, "`split.count`");
    // Another count than the name says.
    write_shard(folder.path(), 0, 2, |b| b.set("split.count", 3u16).unwrap());
    split_error(folder.path(), 0, 2, ErrorKind::InvalidFile, "must be named NAME-00001-of-00003.gguf");
    // One file that says so, and one that says none, are models of one file.
    write_shard(folder.path(), 0, 1, |_| {});
    assert_eq!(Gguf::open(&shard_path(folder.path(), 0, 1)).unwrap().n_shards(), 1);
    write_shard(folder.path(), 0, 1, |b| b.set("split.count", 0u16).unwrap());
    assert_eq!(Gguf::open(&shard_path(folder.path(), 0, 1)).unwrap().n_shards(), 1);
}
