//! The CUDA backend of a build without CUDA: there is no value of it, so whatever would use one is compiled away.

use std::sync::Arc;

#[cfg(feature = "bench")]
use super::GpuSpeeds;
use super::cpu::Cpu;
use super::{
    Attention, Backend, CacheShape, Footprint, Gated, Heads, MatrixShape, Norm, Ops, PassMode, Projection, Ranked,
    Residual, Rotation, RowsUse, Run, Storage,
};
use crate::error::{Result, bail};
use crate::gguf::TensorBytes;

/// A GPU, of which there is none.
pub enum Cuda {}

/// Weights on it.
#[derive(Clone)]
pub enum Matrix {}
/// Parameters on it.
#[derive(Clone)]
pub enum Vector {}
/// Room for weights on it.
pub enum Store {}
/// Rows on it.
pub enum Rows {}
/// Keys and values on it.
pub enum Pages {}
/// Attention's scratch on it.
pub enum AttentionScratch {}
/// The largest values of rows on it.
pub enum Top {}

/// Always `Device`: it says what is missing.
fn none<T>() -> Result<T> {
    bail!(Device, "this build of oribi cannot use a GPU: it was made without the feature cuda")
}

/// Always `Device`.
pub fn memory_of(_: u32) -> Result<(u64, u64)> {
    none()
}

impl Cuda {
    /// Always `Device`.
    pub fn new(_: u32, _: Arc<Cpu>) -> Result<Cuda> {
        none()
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        match *self {}
    }

    /// What it does at best.
    #[cfg(feature = "bench")]
    pub fn speeds(&self) -> Result<GpuSpeeds> {
        match *self {}
    }

    /// The CPU beside it.
    pub fn cpu(&self) -> &Arc<Cpu> {
        match *self {}
    }

    /// Its name.
    pub fn name(&self) -> String {
        match *self {}
    }
}

impl Backend for Cuda {
    type Store = Store;
    type Matrix = Matrix;
    type Vector = Vector;
    type Rows = Rows;
    type Pages = Pages;
    type AttentionScratch = AttentionScratch;
    type Top = Top;
    type Ops<'a> = Cuda;

    fn store(&self, _: Storage, _: &[MatrixShape<'_>]) -> Result<Store> {
        match *self {}
    }

    fn matrix(&self, _: &Store, _: MatrixShape<'_>, _: TensorBytes, _: &(dyn Fn() -> bool + Sync)) -> Result<Matrix> {
        match *self {}
    }

    fn vector(&self, _: &[f32]) -> Result<Vector> {
        match *self {}
    }

    fn rows(&self, _: usize, _: usize, _: RowsUse) -> Result<Rows> {
        match *self {}
    }

    fn read_row<'a>(&self, _: &'a Rows, _: usize) -> &'a [f32] {
        match *self {}
    }

    fn write_rows<'a>(&self, _: &mut Rows, _: usize, _: &dyn Fn(usize) -> &'a [f32]) -> Result<()> {
        match *self {}
    }

    fn pages(&self, _: CacheShape) -> Pages {
        match *self {}
    }

    fn grow_pages(&self, _: &mut Pages) -> Result<()> {
        match *self {}
    }

    fn copy_page(&self, _: &mut Pages, _: u32, _: u32) -> Result<()> {
        match *self {}
    }

    fn read_page(&self, _: &Pages, _: u32, _: &mut [u8]) -> Result<()> {
        match *self {}
    }

    fn write_page(&self, _: &mut Pages, _: u32, _: &[u8]) -> Result<()> {
        match *self {}
    }

    fn clear_page(&self, _: &mut Pages, _: u32, _: usize) -> Result<()> {
        match *self {}
    }

    fn attention_scratch(&self, _: Heads, _: usize) -> Result<AttentionScratch> {
        match *self {}
    }

    fn top(&self, _: usize, _: usize) -> Result<Top> {
        match *self {}
    }

    fn most_top(&self, _: &Top) -> usize {
        match *self {}
    }

    fn read_top<'a>(&self, _: &'a Top, _: usize, _: usize) -> &'a [Ranked] {
        match *self {}
    }

    fn fetch(&self, _: usize, _: &Rows) -> Result<()> {
        match *self {}
    }

    fn is_native(&self, _: &Matrix) -> bool {
        match *self {}
    }

    fn run(&self, _: PassMode, _: &(dyn Fn() -> bool + Sync), _: impl Fn(&Cuda) + Sync) -> Result<()> {
        match *self {}
    }
}

impl Footprint for Cuda {
    fn store_bytes(_: Storage, _: &[MatrixShape<'_>], _: usize) -> Result<u64> {
        none()
    }

    fn packing_bytes(_: Storage, _: &[MatrixShape<'_>], _: usize) -> u64 {
        0
    }

    fn rows_bytes(_: usize, _: usize, _: RowsUse) -> u64 {
        0
    }

    fn page_bytes(_: CacheShape) -> u64 {
        0
    }

    fn attention_scratch_bytes(_: Heads, _: usize, _: usize) -> u64 {
        0
    }

    fn top_bytes(_: usize, _: usize) -> u64 {
        0
    }
}

impl Ops<Cuda> for Cuda {
    fn stopped(&self) -> bool {
        match *self {}
    }

    fn embed(&self, _: &Matrix, _: &[u32], _: f32, _: &Rows) {
        match *self {}
    }

    fn rope_table(&self, _: &Rotation, _: &[u32], _: &Rows) {
        match *self {}
    }

    fn norm(&self, _: &Rows, _: &Norm<'_, Cuda>) {
        match *self {}
    }

    fn add_product(&self, _: usize, _: &Rows, _: &Residual<'_, Cuda>, _: &Norm<'_, Cuda>) {
        match *self {}
    }

    fn linear(&self, _: usize, _: &Rows, _: &[&Matrix], _: &Rows) {
        match *self {}
    }

    fn attend(&self, _: &[Run], _: &Rows, _: &Projection<'_, Cuda>, _: &Attention<'_, Cuda>, _: &Rows) {
        match *self {}
    }

    fn select(&self, _: &[u32], _: &Rows, _: &Rows) -> bool {
        match *self {}
    }

    fn gated(&self, _: usize, _: &Gated<'_, Cuda>) {
        match *self {}
    }

    fn softcap(&self, _: usize, _: f32, _: &Rows) {
        match *self {}
    }

    fn sum_squares(&self, _: usize, _: &Rows, _: &Rows) {
        match *self {}
    }

    fn find_top(&self, _: usize, _: usize, _: usize, _: &Rows, _: &Top) {
        match *self {}
    }

    fn publish(&self, _: usize, _: &Rows) {
        match *self {}
    }
}
