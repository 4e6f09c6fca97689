//! Lays out GGUF files byte by byte, so that tests can make any field a lie. Well-formed files are made with
//! `oribi::gguf::GgufBuilder` instead.
#![allow(dead_code, reason = "each test binary uses some of the helpers")]

/// Type ids of metadata values.
pub mod id {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STR: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
}

/// A file under construction: a version, entries, and what their counts claim.
#[derive(Clone, Default)]
pub struct Raw {
    pub version: u32,
    pub entries: Vec<Vec<u8>>,
    pub tensors: Vec<Vec<u8>>,
    pub n_entries: Option<u64>,
    pub n_tensors: Option<u64>,
    pub alignment: usize,
    pub data: Vec<u8>,
}

impl Raw {
    pub fn new(version: u32) -> Raw {
        Raw { version, alignment: 32, ..Raw::default() }
    }

    /// A count or length in the version's width. Version 1 cannot say more than 32 bits.
    pub fn count(&self, n: u64) -> Vec<u8> {
        if self.version == 1 { (n as u32).to_le_bytes().to_vec() } else { n.to_le_bytes().to_vec() }
    }

    pub fn string(&self, bytes: &[u8]) -> Vec<u8> {
        [self.count(bytes.len() as u64), bytes.to_vec()].concat()
    }

    /// Adds a metadata entry of a key, a type id and the value's bytes.
    pub fn entry(mut self, key: &str, type_id: u32, value: &[u8]) -> Raw {
        let bytes = [self.string(key.as_bytes()), type_id.to_le_bytes().to_vec(), value.to_vec()].concat();
        self.entries.push(bytes);
        self
    }

    /// Adds a string.
    pub fn text(self, key: &str, value: &str) -> Raw {
        let value = self.string(value.as_bytes());
        self.entry(key, id::STR, &value)
    }

    /// Adds an array that claims `len` elements.
    pub fn array(self, key: &str, element_id: u32, len: u64, elements: &[u8]) -> Raw {
        let value = [element_id.to_le_bytes().to_vec(), self.count(len), elements.to_vec()].concat();
        self.entry(key, id::ARRAY, &value)
    }

    /// Adds an array of strings.
    pub fn strings(self, key: &str, strings: &[&[u8]]) -> Raw {
        let elements: Vec<u8> = strings.iter().flat_map(|s| self.string(s)).collect();
        self.array(key, id::STR, strings.len() as u64, &elements)
    }

    /// Adds a tensor entry.
    pub fn tensor(self, name: &str, dims: &[u64], dtype: u32, offset: u64) -> Raw {
        let n_dims = dims.len() as u32;
        self.tensor_claiming(name, n_dims, dims, dtype, offset)
    }

    /// Adds a tensor entry that claims `n_dims` dimensions.
    pub fn tensor_claiming(mut self, name: &str, n_dims: u32, dims: &[u64], dtype: u32, offset: u64) -> Raw {
        let dims: Vec<u8> = dims.iter().flat_map(|&dim| self.count(dim)).collect();
        let (n_dims, dtype, offset) = (n_dims.to_le_bytes(), dtype.to_le_bytes(), offset.to_le_bytes());
        let bytes = [self.string(name.as_bytes()), n_dims.to_vec(), dims, dtype.to_vec(), offset.to_vec()].concat();
        self.tensors.push(bytes);
        self
    }

    /// The tensor data.
    pub fn data(mut self, data: &[u8]) -> Raw {
        self.data = data.to_vec();
        self
    }

    /// The header, without padding.
    pub fn header(&self) -> Vec<u8> {
        let n_tensors = self.n_tensors.unwrap_or(self.tensors.len() as u64);
        let n_entries = self.n_entries.unwrap_or(self.entries.len() as u64);
        let counts = [self.count(n_tensors), self.count(n_entries)].concat();
        let start = [b"GGUF".to_vec(), self.version.to_le_bytes().to_vec(), counts].concat();
        [start, self.entries.concat(), self.tensors.concat()].concat()
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        if !self.data.is_empty() {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend_from_slice(&self.data);
        }
        out
    }

    /// A small sound file with every kind of field: two tensors, scalars, strings and arrays.
    pub fn sample(version: u32) -> Raw {
        let values: Vec<u8> = (0..96).collect();
        Raw::new(version)
            .text("general.architecture", "test")
            .entry("test.block_count", id::U32, &3u32.to_le_bytes())
            .entry("test.flag", id::BOOL, &[1])
            .entry("test.big", id::U64, &u64::MAX.to_le_bytes())
            .entry("test.theta", id::F32, &1e4f32.to_le_bytes())
            .strings("tokenizer.ggml.tokens", &[b"<s>", b"", b"\xff\xfe", "ä".as_bytes()])
            .array("tokenizer.ggml.scores", id::F32, 2, &[0, 0, 128, 63, 0, 0, 0, 64])
            .array("test.flags", id::BOOL, 3, &[0, 1, 0])
            .tensor("a.weight", &[4, 2], 0, 0)
            .tensor("b.weight", &[32], 8, 32)
            .data(&[&values[..32], &values[..34]].concat())
    }
}
