//! Made by scripts/bindgen from kernels/cuda/oribi_cuda.h; do not edit.
#![allow(missing_docs, non_camel_case_types, dead_code, clippy::all)]

pub const ORIBI_CUDA_TILE: u32 = 8;
pub const ORIBI_CUDA_UNIT: u32 = 512;
pub const ORIBI_CUDA_MAX_WEIGHTS: u32 = 3;
pub const ORIBI_CUDA_MAX_QUERIES: u32 = 32;
pub const ORIBI_CUDA_PROMPT_TOKENS: u32 = 64;
pub const ORIBI_CUDA_MAX_TOP: u32 = 1024;
pub const ORIBI_CUDA_EMULATED_OK: oribi_cuda_emulated_status = 0;
pub const ORIBI_CUDA_EMULATED_NO_KERNEL: oribi_cuda_emulated_status = 1;
pub const ORIBI_CUDA_EMULATED_ARGUMENTS: oribi_cuda_emulated_status = 2;
pub const ORIBI_CUDA_EMULATED_SHAPE: oribi_cuda_emulated_status = 3;
pub const ORIBI_CUDA_EMULATED_MEMORY: oribi_cuda_emulated_status = 4;
pub const ORIBI_CUDA_EMULATED_DEADLOCK: oribi_cuda_emulated_status = 5;
pub type oribi_cuda_emulated_status = ::core::ffi::c_uint;
unsafe extern "C" {
    pub fn oribi_cuda_emulated_launch(
        name: *const ::core::ffi::c_char,
        grid: *const u32,
        block: *const u32,
        shared_bytes: usize,
        args: *const ::core::ffi::c_void,
        args_bytes: usize,
    ) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn oribi_cuda_emulated_reverse(reversed: ::core::ffi::c_int);
}
unsafe extern "C" {
    pub fn oribi_cuda_emulated_kernel(i: usize) -> *const ::core::ffi::c_char;
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct oribi_cuda_launch {
    pub grid: [u32; 3usize],
    pub block: [u32; 3usize],
    pub shared_bytes: u32,
}
unsafe extern "C" {
    pub fn oribi_cuda_plane_bytes(capacity: u32, k: u32) -> usize;
}
unsafe extern "C" {
    pub fn oribi_cuda_sums_bytes(capacity: u32, k: u32) -> usize;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_acts {
    pub hi: *mut u8,
    pub lo: *mut u8,
    pub sums: *mut f32,
    pub k: u32,
    pub capacity: u32,
}
impl Default for oribi_cuda_acts {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_weights {
    pub panels: *const u8,
    pub panel_bytes: u64,
    pub n_panels: u32,
    pub column: u32,
}
impl Default for oribi_cuda_weights {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_matmul_args {
    pub weights: [oribi_cuda_weights; 3usize],
    pub n_weights: u32,
    pub k: u32,
    pub acts: oribi_cuda_acts,
    pub n_tokens: u32,
    pub unused: u32,
    pub y: *mut f32,
    pub y_stride: u64,
}
impl Default for oribi_cuda_matmul_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_matmul_tokens(n_tokens: u32) -> u32;
}
unsafe extern "C" {
    pub fn oribi_cuda_matmul_launch(dtype: u32, n: u32, args: *const oribi_cuda_matmul_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_embed_args {
    pub panels: *const u8,
    pub panel_bytes: u64,
    pub k: u32,
    pub n_rows: u32,
    pub tokens: *const u32,
    pub scale: f32,
    pub x: *mut f32,
    pub x_stride: u64,
}
impl Default for oribi_cuda_embed_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_embed_launch(args: *const oribi_cuda_embed_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_rope_table_args {
    pub frequencies: *const f64,
    pub n_pairs: u32,
    pub n_rows: u32,
    pub positions: *const u32,
    pub table: *mut f32,
    pub stride: u64,
}
impl Default for oribi_cuda_rope_table_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_rope_table_launch(args: *const oribi_cuda_rope_table_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_norm_args {
    pub x: *mut f32,
    pub x_stride: u64,
    pub product: *const f32,
    pub product_stride: u64,
    pub post: *const f32,
    pub weight: *const f32,
    pub rows: *const u32,
    pub n_rows: u32,
    pub n: u32,
    pub eps: f32,
    pub first_out: u32,
    pub out: *mut f32,
    pub out_stride: u64,
    pub acts: oribi_cuda_acts,
}
impl Default for oribi_cuda_norm_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_norm_launch(args: *const oribi_cuda_norm_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_glu_args {
    pub scratch: *const f32,
    pub scratch_stride: u64,
    pub up_column: u32,
    pub n_rows: u32,
    pub n: u32,
    pub activation: u32,
    pub out: *mut f32,
    pub out_stride: u64,
    pub acts: oribi_cuda_acts,
}
impl Default for oribi_cuda_glu_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_glu_launch(args: *const oribi_cuda_glu_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_softcap_args {
    pub x: *mut f32,
    pub stride: u64,
    pub n_rows: u32,
    pub n: u32,
    pub cap: f32,
}
impl Default for oribi_cuda_softcap_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_softcap_launch(args: *const oribi_cuda_softcap_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_sum_squares_args {
    pub x: *const f32,
    pub stride: u64,
    pub n_rows: u32,
    pub n: u32,
    pub sums: *mut f32,
}
impl Default for oribi_cuda_sum_squares_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_sum_squares_launch(args: *const oribi_cuda_sum_squares_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct oribi_cuda_ranked {
    pub value: f32,
    pub place: u32,
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_top_args {
    pub x: *const f32,
    pub stride: u64,
    pub n_rows: u32,
    pub n_columns: u32,
    pub n: u32,
    pub out_stride: u32,
    pub found: *mut u64,
    pub counters: *mut u32,
    pub out: *mut oribi_cuda_ranked,
}
impl Default for oribi_cuda_top_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_top_most(n_columns: u32) -> u32;
}
unsafe extern "C" {
    pub fn oribi_cuda_top_bytes(n_columns: u32) -> usize;
}
unsafe extern "C" {
    pub fn oribi_cuda_top_launch(args: *const oribi_cuda_top_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_probe_args {
    pub data: *const u8,
    pub n_bytes: u64,
    pub n_rounds: u32,
    pub one: f32,
    pub results: *mut u32,
}
impl Default for oribi_cuda_probe_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_probe_launch(n_blocks: u32) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_matmul_norm_args {
    pub product: oribi_cuda_matmul_args,
    pub norm: oribi_cuda_norm_args,
    pub counter: *mut u32,
}
impl Default for oribi_cuda_matmul_norm_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_matmul_norm_launch(dtype: u32, args: *const oribi_cuda_matmul_norm_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_matmul_glu_args {
    pub product: oribi_cuda_matmul_args,
    pub n: u32,
    pub activation: u32,
    pub out: *mut f32,
    pub out_stride: u64,
    pub acts: oribi_cuda_acts,
}
impl Default for oribi_cuda_matmul_glu_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_matmul_glu_launch(dtype: u32, args: *const oribi_cuda_matmul_glu_args) -> oribi_cuda_launch;
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct oribi_cuda_row {
    pub position: u32,
    pub pages: u32,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq)]
pub struct oribi_cuda_tile {
    pub first_row: u32,
    pub n_rows: u32,
}
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct oribi_cuda_attend_args {
    pub qkv: *mut f32,
    pub qkv_stride: u64,
    pub rows: *const oribi_cuda_row,
    pub tiles: *const oribi_cuda_tile,
    pub pages: *const *mut u8,
    pub tile_at: u64,
    pub tile_bytes: u64,
    pub key_bytes: u64,
    pub n_rows: u32,
    pub n_tiles: u32,
    pub max_tile_rows: u32,
    pub n_heads: u32,
    pub n_kv_heads: u32,
    pub head_dim: u32,
    pub biases: [*const f32; 3usize],
    pub norms: [*const f32; 2usize],
    pub eps: f32,
    pub n_rot: u32,
    pub half_split: u32,
    pub rope: *const f32,
    pub rope_stride: u64,
    pub scale: f32,
    pub window: u32,
    pub first_split: u32,
    pub n_splits: u32,
    pub states: *mut f32,
    pub out: *mut f32,
    pub out_stride: u64,
    pub acts: oribi_cuda_acts,
    pub counters: *mut u32,
}
impl Default for oribi_cuda_attend_args {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
unsafe extern "C" {
    pub fn oribi_cuda_attend_tile_rows(n_heads: u32, n_kv_heads: u32) -> u32;
}
unsafe extern "C" {
    pub fn oribi_cuda_attend_queries(args: *const oribi_cuda_attend_args) -> u32;
}
unsafe extern "C" {
    pub fn oribi_cuda_attend_prompt_queries(args: *const oribi_cuda_attend_args) -> u32;
}
unsafe extern "C" {
    pub fn oribi_cuda_states_bytes(n_splits: u32, n_rows: u32, n_heads: u32, head_dim: u32) -> usize;
}
unsafe extern "C" {
    pub fn oribi_cuda_attend_project_launch(args: *const oribi_cuda_attend_args) -> oribi_cuda_launch;
}
unsafe extern "C" {
    pub fn oribi_cuda_attend_split_launch(args: *const oribi_cuda_attend_args) -> oribi_cuda_launch;
}
unsafe extern "C" {
    pub fn oribi_cuda_attend_prompt_launch(args: *const oribi_cuda_attend_args) -> oribi_cuda_launch;
}
unsafe extern "C" {
    pub fn oribi_cuda_attend_merge_launch(args: *const oribi_cuda_attend_args) -> oribi_cuda_launch;
}
unsafe extern "C" {
    pub fn oribi_cuda_attend_is_fused(args: *const oribi_cuda_attend_args) -> ::core::ffi::c_int;
}
unsafe extern "C" {
    pub fn oribi_cuda_attend_fused_launch(args: *const oribi_cuda_attend_args) -> oribi_cuda_launch;
}
