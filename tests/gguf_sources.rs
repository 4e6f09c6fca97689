//! Files that are not opened by path: memory that somebody owns, and bytes that the host reads.

#[path = "common/raw_gguf.rs"]
mod raw_gguf;
#[path = "common/tiny.rs"]
mod tiny;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use oribi::backend::Storage;
use oribi::backend::cpu::CpuOptions;
use oribi::dtype::DType;
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{Batch, Numerics, Session, SessionOptions};
use oribi::{Error, ErrorKind};
use raw_gguf::{Raw, id};
use tiny::{Shape, tiny, write};

/// Larger than what is read at once, so that tensors come in several parts.
fn model_file() -> Vec<u8> {
    write(tiny(Shape { n_blocks: 2, ffn_dim: 4096, ..Shape::new("llama", DType::F16) }))
}

/// A host that reads from memory as `pread` reads from a file.
fn read_from(bytes: Vec<u8>) -> impl Fn(u64, &mut [u8]) -> io::Result<usize> + Send + Sync {
    move |offset, into| {
        let rest = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

fn options() -> ModelOptions<'static> {
    ModelOptions { cpu: CpuOptions { n_threads: Some(2), ..Default::default() }, ..Default::default() }
}

fn logits(gguf: Gguf) -> Vec<u32> {
    let model = Model::load(gguf, options()).unwrap();
    let sizes = SessionOptions { n_ctx: 100, numerics: Numerics::Portable, ..Default::default() };
    let mut session = Session::new(&model, &sizes).unwrap();
    let sequence = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(sequence, &[1, 20, 30, 40])).unwrap();
    session.logits(0).unwrap().iter().map(|l| l.to_bits()).collect()
}

#[test]
fn memory_of_an_owner_is_not_copied_and_dropped_last() {
    struct Owner {
        bytes: Vec<u8>,
        asked: Arc<AtomicUsize>,
        dropped: Arc<AtomicBool>,
    }
    impl AsRef<[u8]> for Owner {
        /// Other bytes the second time.
        fn as_ref(&self) -> &[u8] {
            if self.asked.fetch_add(1, Relaxed) == 0 { &self.bytes } else { &[] }
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.dropped.store(true, Relaxed);
        }
    }

    let bytes = model_file();
    let range = bytes.as_ptr_range();
    let (asked, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let gguf = Gguf::from_owner(Owner { bytes, asked: Arc::clone(&asked), dropped: Arc::clone(&dropped) }).unwrap();
    let norm = gguf.tensor("output_norm.weight").unwrap().clone();
    assert!(range.contains(&gguf.tensor_data(&norm).unwrap().as_ptr()), "copied");

    let model = Model::load(gguf.clone(), options()).unwrap();
    let data = gguf.tensor_bytes(&norm).unwrap();
    drop(gguf);
    assert_eq!(model.gguf().metadata().strings("tokenizer.ggml.tokens").unwrap().len(), 300);
    drop(model);
    assert!(!dropped.load(Relaxed), "somebody still holds a tensor");
    assert!(range.contains(&data.in_memory().unwrap().as_ptr()));
    drop(data);
    assert!(dropped.load(Relaxed));
    assert_eq!(asked.load(Relaxed), 1);
}

#[test]
fn an_owner_of_what_is_no_model_is_dropped() {
    let owner = Arc::new(*b"not a model");
    struct Shared(Arc<[u8; 11]>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }
    assert_eq!(Gguf::from_owner(Shared(Arc::clone(&owner))).unwrap_err().kind(), ErrorKind::NotGguf);
    assert_eq!(Arc::strong_count(&owner), 1);
}

/// The tensors are read once, in parts, on the thread that loads; nothing is read afterwards.
#[test]
fn a_host_that_reads_gets_the_same_bits_and_is_asked_for_little_at_once() {
    let bytes = model_file();
    let n_bytes = bytes.len() as u64;
    let expected = logits(Gguf::from_bytes(bytes.clone()).unwrap());
    #[derive(Default)]
    struct Seen {
        total: AtomicU64,
        most: AtomicUsize,
        threads: Mutex<Vec<ThreadId>>,
    }
    let seen = Arc::new(Seen::default());
    let counted = {
        let (seen, read) = (Arc::clone(&seen), read_from(bytes.clone()));
        move |offset, into: &mut [u8]| {
            seen.total.fetch_add(into.len() as u64, Relaxed);
            seen.most.fetch_max(into.len(), Relaxed);
            seen.threads.lock().unwrap().push(std::thread::current().id());
            read(offset, into)
        }
    };
    let gguf = Gguf::from_read_at(n_bytes, counted).unwrap();
    assert!(seen.total.load(Relaxed) <= 64 << 10, "the header alone");
    assert_eq!(gguf.file_bytes(), n_bytes);
    assert_eq!(logits(gguf.clone()), expected);
    let total = seen.total.load(Relaxed);
    assert!(total <= n_bytes + (64 << 10), "{total} bytes read of {n_bytes}");
    assert!(seen.most.load(Relaxed) <= 1 << 20, "{} bytes at once", seen.most.load(Relaxed));
    assert!(seen.threads.lock().unwrap().iter().all(|&id| id == std::thread::current().id()));

    let in_memory = Gguf::from_bytes(bytes.clone()).unwrap();
    for tensor in gguf.tensors() {
        let mut data = vec![0; tensor.n_bytes() as usize];
        gguf.read_tensor(tensor, 0, &mut data).unwrap();
        assert!(data == in_memory.tensor_data(tensor).unwrap(), "{}", tensor.name);
        in_memory.read_tensor(tensor, 3, &mut data[3..]).unwrap();
        assert_eq!(gguf.read_tensor(tensor, 1, &mut data).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(gguf.read_tensor(tensor, usize::MAX, &mut data).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(gguf.tensor_data(tensor).unwrap_err().kind(), ErrorKind::InvalidState);
        gguf.release(tensor);
    }

    // One byte for each call, and now and then none because a signal came in between.
    let slow = {
        let (read, turn) = (read_from(bytes), AtomicU64::new(0));
        move |offset, into: &mut [u8]| match turn.fetch_add(1, Relaxed) % 1000 {
            999 => Err(io::ErrorKind::Interrupted.into()),
            _ => read(offset, &mut into[..1]),
        }
    };
    assert_eq!(logits(Gguf::from_read_at(n_bytes, slow).unwrap()), expected);
}

/// A header of any length, cut anywhere, is what it is in memory.
#[test]
fn a_file_cut_at_any_byte_is_refused_as_in_memory() {
    let long = Raw::new(3).strings("words", &vec![b"a word".as_slice(); 20_000]).tensor("t", &[8], 0, 0).data(&[0; 32]);
    assert!(long.bytes().len() > 256 << 10);
    for (bytes, step) in [(Raw::sample(3).bytes(), 1), (long.bytes(), 4111)] {
        for n in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
            let read = Gguf::from_read_at(n as u64, read_from(bytes[..n].to_vec()));
            match (read, Gguf::from_bytes(&bytes[..n])) {
                (Ok(read), Ok(expected)) => assert!(read.tensors() == expected.tensors()),
                (read, expected) => {
                    let text = |result: Result<Gguf, Error>| result.unwrap_err().to_string();
                    assert_eq!(text(read), text(expected), "cut at {n}");
                }
            }
        }
    }
}

#[test]
fn a_host_that_fails_or_lies_is_an_error() {
    let bytes = model_file();
    let n = bytes.len() as u64;
    type Lie = fn(&mut [u8]) -> io::Result<usize>;
    let lies: [(&str, ErrorKind, Lie); 4] = [
        ("the cable is out", ErrorKind::Io, |_| Err(io::Error::other("the cable is out"))),
        ("has no bytes at", ErrorKind::Truncated, |_| Ok(0)),
        ("were asked for", ErrorKind::Io, |into| Ok(into.len() + 1)),
        ("were asked for", ErrorKind::Io, |_| Ok(usize::MAX)),
    ];
    for (text, kind, lie) in lies {
        // The first call reads the header, the others tensors.
        for honest_calls in [0, 1, 5] {
            let (calls, read) = (AtomicUsize::new(0), read_from(bytes.clone()));
            let host = move |offset, into: &mut [u8]| match calls.fetch_add(1, Relaxed) < honest_calls {
                true => read(offset, into),
                false => lie(into),
            };
            let loaded = Gguf::from_read_at(n, host).and_then(|gguf| Model::load(gguf, options()));
            let error = loaded.err().unwrap();
            assert!(error.kind() == kind && error.to_string().contains(text), "{honest_calls}: {error}");
        }
    }
    // Longer than it is, and shorter.
    for claimed in [n + 1, n * 2, 1 << 40, u64::MAX] {
        let gguf = Gguf::from_read_at(claimed, read_from(bytes.clone())).unwrap();
        assert_eq!(logits(gguf), logits(Gguf::from_bytes(bytes.clone()).unwrap()), "nothing lies past the end");
    }
    let error = Gguf::from_read_at(n - 1, read_from(bytes.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
    // A header that goes on for as long as it is asked for: given up at the limit, or where the host gives up.
    let endless = Raw::new(3).array("a", id::U8, 1 << 29, &[]).bytes();
    let error = Gguf::from_read_at(u64::MAX, read_from(endless)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
}

#[test]
fn what_a_host_cannot_give_is_refused() {
    let bytes = model_file();
    let gguf = Gguf::from_read_at(bytes.len() as u64, read_from(bytes)).unwrap();
    let error = Model::load(gguf, ModelOptions { storage: Storage::InFile, ..options() }).err().unwrap();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("callback"), "{error}");

    let part = Raw::new(3).entry("split.count", id::U16, &2u16.to_le_bytes()).bytes();
    let error = Gguf::from_read_at(part.len() as u64, read_from(part)).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("split model"), "{error}");
}
