//! Made by scripts/bindgen from kernels/oribi_kernels.h; do not edit.
#![allow(missing_docs, non_camel_case_types, dead_code, clippy::all)]

pub const ORIBI_PANEL_ROWS: u32 = 16;
pub const ORIBI_GROUP_LEN: u32 = 32;
pub const ORIBI_HALF_GROUP_LEN: u32 = 16;
pub const ORIBI_PAGE_LEN: u32 = 64;
pub const ORIBI_SPLIT_LEN: u32 = 256;
pub const ORIBI_STATE_HEADER: u32 = 16;
pub const ORIBI_A16_MAX: u32 = 32512;
pub const ORIBI_PROBE_BYTES: u32 = 4096;
pub const ORIBI_MATMUL_SCRATCH_BYTES: u32 = 262144;
pub const ORIBI_ANY_DTYPE: u32 = 4294967295;
pub const ORIBI_ISA_SCALAR: oribi_isa = 0;
pub const ORIBI_ISA_AVX2: oribi_isa = 1;
pub const ORIBI_ISA_AVXVNNI: oribi_isa = 2;
pub const ORIBI_ISA_AVX512: oribi_isa = 4;
pub const ORIBI_ISA_AVX512BF16: oribi_isa = 8;
pub const ORIBI_ISA_AMX: oribi_isa = 16;
pub const ORIBI_ISA_NEON: oribi_isa = 256;
pub const ORIBI_ISA_DOTPROD: oribi_isa = 512;
pub const ORIBI_ISA_I8MM: oribi_isa = 1024;
pub type oribi_isa = ::core::ffi::c_uint;
pub const ORIBI_OP_PACK: oribi_op = 0;
pub const ORIBI_OP_UNPACK_ROW: oribi_op = 1;
pub const ORIBI_OP_QUANTIZE_ACTS: oribi_op = 2;
pub const ORIBI_OP_MATMUL: oribi_op = 3;
pub const ORIBI_OP_RMS_NORM: oribi_op = 4;
pub const ORIBI_OP_ROPE: oribi_op = 5;
pub const ORIBI_OP_GLU: oribi_op = 6;
pub const ORIBI_OP_ADD: oribi_op = 7;
pub const ORIBI_OP_SCALE: oribi_op = 8;
pub const ORIBI_OP_SOFTCAP: oribi_op = 9;
pub const ORIBI_OP_KV_STORE: oribi_op = 10;
pub const ORIBI_OP_ATTENTION: oribi_op = 11;
pub const ORIBI_OP_ATTENTION_MERGE: oribi_op = 12;
pub const ORIBI_OP_PROBE_READ: oribi_op = 13;
pub const ORIBI_OP_PROBE_MACS: oribi_op = 14;
pub type oribi_op = ::core::ffi::c_uint;
pub const ORIBI_ACTS_NONE: oribi_acts = 0;
pub const ORIBI_ACTS_F32: oribi_acts = 1;
pub const ORIBI_ACTS_I16: oribi_acts = 2;
pub const ORIBI_ACTS_PAIRS: oribi_acts = 3;
pub const ORIBI_ACTS_PLANES: oribi_acts = 4;
pub const ORIBI_ACTS_BF16: oribi_acts = 5;
pub type oribi_acts = ::core::ffi::c_uint;
pub const ORIBI_F32: oribi_dtype = 0;
pub const ORIBI_F16: oribi_dtype = 1;
pub const ORIBI_Q4_0: oribi_dtype = 2;
pub const ORIBI_Q4_1: oribi_dtype = 3;
pub const ORIBI_Q5_0: oribi_dtype = 6;
pub const ORIBI_Q5_1: oribi_dtype = 7;
pub const ORIBI_Q8_0: oribi_dtype = 8;
pub const ORIBI_Q8_1: oribi_dtype = 9;
pub const ORIBI_Q2_K: oribi_dtype = 10;
pub const ORIBI_Q3_K: oribi_dtype = 11;
pub const ORIBI_Q4_K: oribi_dtype = 12;
pub const ORIBI_Q5_K: oribi_dtype = 13;
pub const ORIBI_Q6_K: oribi_dtype = 14;
pub const ORIBI_Q8_K: oribi_dtype = 15;
pub const ORIBI_IQ2_XXS: oribi_dtype = 16;
pub const ORIBI_IQ2_XS: oribi_dtype = 17;
pub const ORIBI_IQ3_XXS: oribi_dtype = 18;
pub const ORIBI_IQ1_S: oribi_dtype = 19;
pub const ORIBI_IQ4_NL: oribi_dtype = 20;
pub const ORIBI_IQ3_S: oribi_dtype = 21;
pub const ORIBI_IQ2_S: oribi_dtype = 22;
pub const ORIBI_IQ4_XS: oribi_dtype = 23;
pub const ORIBI_IQ1_M: oribi_dtype = 29;
pub const ORIBI_BF16: oribi_dtype = 30;
pub const ORIBI_TQ1_0: oribi_dtype = 34;
pub const ORIBI_TQ2_0: oribi_dtype = 35;
pub const ORIBI_MXFP4: oribi_dtype = 39;
pub type oribi_dtype = ::core::ffi::c_uint;
pub type oribi_kernel_fn = ::core::option::Option<unsafe extern "C" fn(args: *const ::core::ffi::c_void)>;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_kernel {
    pub op: oribi_op,
    pub dtype: u32,
    pub isa: u32,
    pub acts: oribi_acts,
    pub max_rows: u32,
    pub name: *const ::core::ffi::c_char,
    pub fn_: oribi_kernel_fn,
}
impl Default for oribi_kernel {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_kernels(n_kernels: *mut usize) -> *const oribi_kernel;
}
unsafe extern "C" {
    pub fn oribi_panel_bytes(dtype: u32, k: usize) -> usize;
}
unsafe extern "C" {
    pub fn oribi_matmul_few_rows(dtype: u32, isa: u32) -> u32;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_pack_args {
    pub src: *const u8,
    pub src_stride: usize,
    pub n_rows: u32,
    pub k: u32,
    pub dst: *mut u8,
}
impl Default for oribi_pack_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_unpack_row_args {
    pub panel: *const u8,
    pub row: u32,
    pub k: u32,
    pub y: *mut f32,
}
impl Default for oribi_unpack_row_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_quantize_acts_args {
    pub x: *const f32,
    pub x_stride: usize,
    pub n_rows: u32,
    pub k: u32,
    pub begin: u32,
    pub end: u32,
    pub first_row: u32,
    pub acts: *mut u8,
    pub acts_stride: usize,
}
impl Default for oribi_quantize_acts_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_matmul_args {
    pub panels: *const u8,
    pub n_panels: u32,
    pub k: u32,
    pub acts: *const u8,
    pub acts_stride: usize,
    pub n_rows: u32,
    pub y: *mut f32,
    pub y_stride: usize,
    pub scratch: *mut ::core::ffi::c_void,
    pub one_stream: u32,
}
impl Default for oribi_matmul_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_rms_norm_args {
    pub x: *const f32,
    pub x_stride: usize,
    pub weight: *const f32,
    pub n_rows: u32,
    pub n: u32,
    pub eps: f32,
    pub y: *mut f32,
    pub y_stride: usize,
}
impl Default for oribi_rms_norm_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_rope_args {
    pub x: *mut f32,
    pub n_heads: u32,
    pub head_dim: u32,
    pub n_rot: u32,
    pub cos_sin: *const f32,
    pub half_split: u32,
}
impl Default for oribi_rope_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
pub const ORIBI_SILU: oribi_activation = 0;
pub const ORIBI_GELU_TANH: oribi_activation = 1;
pub type oribi_activation = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_glu_args {
    pub gate: *const f32,
    pub up: *const f32,
    pub n: u32,
    pub activation: oribi_activation,
    pub y: *mut f32,
}
impl Default for oribi_glu_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_map_args {
    pub x: *const f32,
    pub other: *const f32,
    pub n: u32,
    pub factor: f32,
    pub y: *mut f32,
}
impl Default for oribi_map_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_kv_store_args {
    pub key: *const f32,
    pub value: *const f32,
    pub head_dim: u32,
    pub slot: u32,
    pub key_page: *mut u8,
    pub value_page: *mut u8,
}
impl Default for oribi_kv_store_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_key_page_bytes(dtype: u32, head_dim: u32) -> usize;
}
unsafe extern "C" {
    pub fn oribi_value_page_bytes(dtype: u32, head_dim: u32) -> usize;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_attention_args {
    pub q: *const f32,
    pub q_stride: usize,
    pub n_rows: u32,
    pub n_heads: u32,
    pub head_dim: u32,
    pub first_position: u32,
    pub window: u32,
    pub split_begin: u32,
    pub split_end: u32,
    pub key_pages: *const *const u8,
    pub value_pages: *const *const u8,
    pub scale: f32,
    pub softcap: f32,
    pub states: *mut f32,
    pub state_row_stride: usize,
    pub scratch: *mut ::core::ffi::c_void,
}
impl Default for oribi_attention_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_attention_scratch_bytes(head_dim: u32) -> usize;
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_attention_merge_args {
    pub states: *const f32,
    pub state_stride: usize,
    pub n_splits: u32,
    pub head_dim: u32,
    pub y: *mut f32,
}
impl Default for oribi_attention_merge_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct oribi_probe_args {
    pub data: *const u8,
    pub n_bytes: usize,
    pub n_rounds: u64,
    pub n_done: *mut u64,
    pub result: *mut f64,
    pub prefetch: u32,
}
impl Default for oribi_probe_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
