//! Attention on the CPU: who computes which rows, heads and splits.
//!
//! ```text
//! few rows (generation):  task = (run, key head, split of 256 positions) -> states; merges per row and head
//! many rows (prompt):     a step of projections; task = (run, key head, tile of rows): all its splits in order, then the merges
//! ```
//!
//! With few rows one step does nearly everything: a task projects the queries of its heads for itself, and stores the keys and
//! values that are new in its split, which no other task reads; the worker that ends the step merges and quantizes.
//!
//! A state is what one split contributes to one row and head: the largest score, the sum of weights, the weighted values.
//! Splits lie at fixed positions and are merged in order, so the result does not depend on which way was taken.

use super::bindings as c;
use super::kernels::Kernel;
use super::memory::AlignedBytes;
use super::ops::{CpuOps, Kind, ProjectJob};
use super::pages::PAGE_LEN;
use super::rows::Rows;
use super::team::Part;
use super::{CacheKernels, Cpu};
use crate::backend::{Arithmetic, Attention, Heads, Projection, Run};
use crate::error::{Result, bail};

/// Positions of a split.
const SPLIT_LEN: usize = c::ORIBI_SPLIT_LEN as usize;
/// Up to so many rows, splits are tasks of their own.
const FEW_ROWS: usize = 4;
/// Floats of states that one worker merges faster than a step takes to share them.
const MERGED_ALONE: usize = 1 << 14;
/// Rows of a tile at most, when a run is long. In native arithmetic a call first converts the split, for all its rows.
const TILE_ROWS: usize = 32;
const NATIVE_TILE_ROWS: usize = 64;
/// Tiles per worker that a long run is divided into at least, as far as that leaves them `MIN_TILE_ROWS`.
const TILES: usize = 4;
const MIN_TILE_ROWS: usize = 16;
/// Parts per worker; rows see more the later they are, so equal shares are unequal work.
const PARTS: usize = 4;
/// Scratch of a worker for a tile's states at most, unless one row already needs more.
const TILE_BYTES: usize = 4 << 20;

/// Scratch of attention: states.
pub struct AttentionScratch {
    /// `FEW_ROWS` rows: `[split][row][head][state_len]`, all workers.
    few: AlignedBytes,
    /// Per worker one tile: `[split][row][head of the group][state_len]`.
    tiles: Vec<AlignedBytes>,
    /// Per worker the projected queries of `FEW_ROWS` rows and a group of heads.
    queries: Vec<AlignedBytes>,
    /// Per worker what a call of a native kernel needs.
    native: Vec<AlignedBytes>,
}

/// The sizes of [`AttentionScratch`].
struct Layout {
    few_bytes: usize,
    tile_bytes: usize,
    query_bytes: usize,
    native_bytes: usize,
}

impl Layout {
    fn new(heads: Heads, n_ctx: usize) -> Option<Layout> {
        let head_bytes = state_len(heads) * size_of::<f32>();
        // One more split than whole ones: a window may begin inside a split.
        let row_bytes =
            n_ctx.div_ceil(SPLIT_LEN).checked_add(1)?.checked_mul(heads.n_heads)?.checked_mul(head_bytes)?;
        let tile_row_bytes = row_bytes / heads.n_kv_heads;
        Some(Layout {
            few_bytes: row_bytes.checked_mul(FEW_ROWS)?,
            tile_bytes: tile_row_bytes.saturating_mul(NATIVE_TILE_ROWS).min(TILE_BYTES).max(tile_row_bytes),
            query_bytes: FEW_ROWS * heads.n_heads / heads.n_kv_heads * heads.head_dim * size_of::<f32>(),
            // SAFETY: a pure function of a number.
            native_bytes: unsafe { c::oribi_attention_scratch_bytes(heads.head_dim as u32) },
        })
    }
}

impl AttentionScratch {
    pub(super) fn new(heads: Heads, n_ctx: usize, n_workers: usize) -> Result<AttentionScratch> {
        let Some(layout) = Layout::new(heads, n_ctx) else {
            bail!(OutOfMemory, "attention over {n_ctx} positions exceeds the address space");
        };
        let what = "the session's attention scratch";
        let each = |n_bytes| (0..n_workers).map(|_| AlignedBytes::zeroed(n_bytes, what)).collect::<Result<_>>();
        Ok(AttentionScratch {
            few: AlignedBytes::zeroed(layout.few_bytes, what)?,
            tiles: each(layout.tile_bytes)?,
            queries: each(layout.query_bytes)?,
            native: each(layout.native_bytes)?,
        })
    }

    pub(super) fn bytes(heads: Heads, n_ctx: usize, n_workers: usize) -> u64 {
        let all = |l: Layout| l.few_bytes as u64 + (n_workers * (l.tile_bytes + l.query_bytes + l.native_bytes)) as u64;
        Layout::new(heads, n_ctx).map_or(u64::MAX, all)
    }
}

/// Floats of a state.
fn state_len(heads: Heads) -> usize {
    c::ORIBI_STATE_HEADER as usize + heads.head_dim.next_multiple_of(16)
}

/// One attention operation as a worker sees it.
struct Job<'a> {
    ops: &'a CpuOps<'a>,
    project: ProjectJob<'a>,
    attention: &'a Attention<'a, Cpu>,
    out: &'a Rows,
}

/// Rows of a run that are computed together.
#[derive(Clone, Copy)]
struct Tile<'a> {
    run: &'a Run,
    first: usize,
    n_rows: usize,
}

impl Tile<'_> {
    fn first_position(&self) -> usize {
        self.run.first_position + self.first
    }

    fn first_row(&self) -> usize {
        self.run.first_row + self.first
    }

    /// The splits that its rows see something of.
    fn splits(&self, window: Option<usize>) -> std::ops::Range<usize> {
        let first_seen = window.map_or(0, |window| (self.first_position() + 1).saturating_sub(window));
        first_seen / SPLIT_LEN..(self.first_position() + self.n_rows).div_ceil(SPLIT_LEN)
    }
}

/// States of a tile: where they are and how far apart.
#[derive(Clone, Copy)]
struct States {
    start: *mut f32,
    split_stride: usize,
    row_stride: usize,
}

/// Query rows of a group of heads: where they are and how far apart.
#[derive(Clone, Copy)]
struct Queries {
    start: *const f32,
    stride: usize,
}

pub(super) fn attend(
    ops: &CpuOps<'_>,
    runs: &[Run],
    qkv: &Rows,
    projection: &Projection<'_, Cpu>,
    attention: &Attention<'_, Cpu>,
    out: &Rows,
) {
    let project = ProjectJob { qkv, projection, pages: attention.pages, layer: attention.layer };
    let job = Job { ops, project, attention, out };
    let n_rows: usize = runs.iter().map(|run| run.n_rows).sum();
    if n_rows <= FEW_ROWS {
        job.few_rows(runs, n_rows);
    } else {
        ops.worker.parallel(1, |part| ops.project_part(runs, &job.project, part));
        job.many_rows(runs);
        ops.quantize_all(n_rows, out);
    }
}

impl Job<'_> {
    /// Splits are tasks of one step.
    fn few_rows(&self, runs: &[Run], n_rows: usize) {
        let heads = self.attention.heads;
        let group = heads.n_heads / heads.n_kv_heads;
        let row_stride = heads.n_heads * state_len(heads);
        let split_stride = FEW_ROWS * row_stride;
        let few = self.attention.scratch.few.as_ptr().cast::<f32>();
        let states_of = |row: usize, head: usize| States {
            start: few.wrapping_add(row * row_stride + head * state_len(heads)),
            split_stride,
            row_stride,
        };
        let tiles = || runs.iter().map(|run| Tile { run, first: 0, n_rows: run.n_rows });
        let n_splits = |tile: &Tile<'_>| tile.splits(self.attention.window).len();
        let n_tasks: usize = tiles().map(|tile| n_splits(&tile) * heads.n_kv_heads).sum();
        let attend = |part: Part| {
            let mine = part.share(n_tasks, 1);
            let mut task = 0;
            for tile in tiles() {
                for kv_head in 0..heads.n_kv_heads {
                    let mut queries = None;
                    for (i, split) in tile.splits(self.attention.window).enumerate() {
                        if mine.contains(&task) {
                            let queries = *queries.get_or_insert_with(|| self.queries(tile, kv_head));
                            let mut states = states_of(tile.run.first_row, kv_head * group);
                            states.start = states.start.wrapping_add(i * split_stride);
                            self.store_split(tile, kv_head, split);
                            self.split(tile, kv_head, split, queries, states);
                        }
                        task += 1;
                    }
                }
            }
        };
        let merge = |mine: std::ops::Range<usize>| {
            let rows = tiles().flat_map(|tile| (0..tile.n_rows).map(move |i| (tile, tile.first_row() + i)));
            let tasks = rows.flat_map(|(tile, row)| (0..heads.n_heads).map(move |head| (tile, row, head)));
            for (tile, row, head) in tasks.skip(mine.start).take(mine.len()) {
                self.merge(states_of(row, head), n_splits(&tile), row, head);
            }
        };
        let quantize = || self.ops.quantize(0..n_rows, 0..self.out.n(), self.out);
        let n_merges = n_rows * heads.n_heads;
        let n_floats: usize = tiles().map(|tile| n_splits(&tile) * tile.n_rows * row_stride).sum();
        if n_floats <= MERGED_ALONE {
            self.ops.worker.parallel_then(PARTS, attend, || {
                merge(0..n_merges);
                quantize();
            });
        } else {
            self.ops.worker.parallel(PARTS, attend);
            self.ops.worker.parallel_then(1, |part| merge(part.share(n_merges, 1)), quantize);
        }
    }

    /// Project the queries of a tile's rows and one key head's group into this worker's scratch.
    fn queries(&self, tile: Tile<'_>, kv_head: usize) -> Queries {
        let heads = self.attention.heads;
        let group = heads.n_heads / heads.n_kv_heads;
        let stride = group * heads.head_dim;
        let start = self.attention.scratch.queries[self.ops.worker.id()].as_ptr().cast::<f32>();
        for i in 0..tile.n_rows {
            let from = self.project.qkv.at(tile.first_row() + i, kv_head * stride);
            let to = start.wrapping_add(i * stride);
            // SAFETY: nobody writes the queries of `qkv` in this step; this worker's scratch holds FEW_ROWS rows of a group.
            unsafe { std::ptr::copy_nonoverlapping(from, to, stride) }
            let group_heads = kv_head * group..(kv_head + 1) * group;
            self.ops.project_heads(Kind::Query, tile.first_row() + i, group_heads, to, &self.project);
        }
        Queries { start, stride }
    }

    /// Project and store the keys and values of a tile's rows whose positions lie in a split.
    fn store_split(&self, tile: Tile<'_>, kv_head: usize, split: usize) {
        let in_split = (0..tile.n_rows).filter(|i| (tile.first_position() + i) / SPLIT_LEN == split);
        in_split.for_each(|i| self.ops.store_heads(tile.run, tile.first + i, kv_head..kv_head + 1, &self.project));
    }

    /// Tiles of rows are tasks, each with its own merges.
    fn many_rows(&self, runs: &[Run]) {
        let heads = self.attention.heads;
        let group = heads.n_heads / heads.n_kv_heads;
        let scratch = &self.attention.scratch.tiles[self.ops.worker.id()];
        let tiles = || {
            runs.iter().flat_map(|run| {
                let tile_rows = self.tile_rows(run, scratch.len());
                (0..run.n_rows).step_by(tile_rows).map(move |first| Tile {
                    run,
                    first,
                    n_rows: tile_rows.min(run.n_rows - first),
                })
            })
        };
        let n_tasks = tiles().count() * heads.n_kv_heads;
        self.ops.worker.parallel(2 * PARTS, |part| {
            let mine = part.share(n_tasks, 1);
            let tasks = (0..heads.n_kv_heads).flat_map(|kv_head| tiles().map(move |tile| (tile, kv_head)));
            for (tile, kv_head) in tasks.skip(mine.start).take(mine.len()) {
                if self.ops.gives_up(tile.run.n_rows) {
                    return;
                }
                let row_stride = group * state_len(heads);
                let start = scratch.as_ptr().cast();
                self.tile(tile, kv_head, States { start, split_stride: tile.n_rows * row_stride, row_stride });
            }
        });
    }

    /// Rows of a run that are computed together: as many as have room for their states.
    fn tile_rows(&self, run: &Run, scratch_bytes: usize) -> usize {
        let heads = self.attention.heads;
        let last = Tile { run, first: run.n_rows - 1, n_rows: 1 };
        // A tile's first row may see one split more than the last.
        let n_splits = last.splits(self.attention.window).len() + 1;
        let row_bytes = n_splits * (heads.n_heads / heads.n_kv_heads) * state_len(heads) * size_of::<f32>();
        let most = if self.native().is_some() { NATIVE_TILE_ROWS } else { TILE_ROWS };
        let even = (run.n_rows * heads.n_kv_heads).div_ceil(TILES * self.ops.worker.n_workers()).max(MIN_TILE_ROWS);
        (scratch_bytes / row_bytes).clamp(1, most.min(even))
    }

    fn tile(&self, tile: Tile<'_>, kv_head: usize, states: States) {
        let heads = self.attention.heads;
        let group = heads.n_heads / heads.n_kv_heads;
        let splits = tile.splits(self.attention.window);
        let qkv = self.project.qkv;
        let start = qkv.at(tile.first_row(), kv_head * group * heads.head_dim);
        let queries = Queries { start, stride: qkv.stride() };
        for (i, split) in splits.clone().enumerate() {
            let start = states.start.wrapping_add(i * states.split_stride);
            self.split(tile, kv_head, split, queries, States { start, ..states });
        }
        for row in 0..tile.n_rows {
            for head in 0..group {
                let start = states.start.wrapping_add(row * states.row_stride + head * state_len(heads));
                self.merge(States { start, ..states }, splits.len(), tile.first_row() + row, kv_head * group + head);
            }
        }
    }

    fn kernels(&self) -> &CacheKernels {
        self.ops.cpu.cache(self.attention.pages.kv_type())
    }

    /// The kernel of native arithmetic, where this pass uses it and there is one.
    fn native(&self) -> Option<Kernel> {
        self.kernels().native_attention.filter(|_| self.ops.arithmetic == Arithmetic::Native)
    }

    /// The states of a tile's rows and one key head's queries over one split.
    fn split(&self, tile: Tile<'_>, kv_head: usize, split: usize, queries: Queries, states: States) {
        let Attention { heads, scale, window, pages, layer, .. } = *self.attention;
        let group = heads.n_heads / heads.n_kv_heads;
        let begin = split * SPLIT_LEN;
        let end = (begin + SPLIT_LEN).min(tile.first_position() + tile.n_rows);
        let mut tiles = [(std::ptr::null(), std::ptr::null()); SPLIT_LEN / PAGE_LEN];
        for (slot, &page) in tiles.iter_mut().zip(&tile.run.pages[begin / PAGE_LEN..end.div_ceil(PAGE_LEN)]) {
            let (keys, values) = pages.tiles(page, layer, kv_head);
            *slot = (keys.cast_const(), values.cast_const());
        }
        // The kernel indexes by position / PAGE_LEN, and reads the entries of the split alone.
        let (keys, values) = (tiles.map(|t| t.0), tiles.map(|t| t.1));
        let before = begin / PAGE_LEN;
        let args = c::oribi_attention_args {
            q: queries.start,
            q_stride: queries.stride,
            n_rows: tile.n_rows as u32,
            n_heads: group as u32,
            head_dim: heads.head_dim as u32,
            first_position: tile.first_position() as u32,
            window: window.unwrap_or(0) as u32,
            split_begin: begin as u32,
            split_end: end as u32,
            key_pages: keys.as_ptr().wrapping_sub(before),
            value_pages: values.as_ptr().wrapping_sub(before),
            scale,
            softcap: 0.0,
            states: states.start,
            state_row_stride: states.row_stride,
            scratch: self.attention.scratch.native[self.ops.worker.id()].as_ptr().cast(),
        };
        // SAFETY: the pages hold all positions below `end` (the session grew the sequence before the pass; they were stored
        // before or by this task); the states lie within the scratch by its layout and are this part's or this worker's alone.
        unsafe { self.native().unwrap_or(self.kernels().attention).run(&args) }
    }

    fn merge(&self, states: States, n_splits: usize, row: usize, head: usize) {
        let heads = self.attention.heads;
        let args = c::oribi_attention_merge_args {
            states: states.start,
            state_stride: states.split_stride,
            n_splits: n_splits as u32,
            head_dim: heads.head_dim as u32,
            y: self.out.at(row, head * heads.head_dim),
        };
        // SAFETY: the states were written by `split`; this row's head is this part's alone.
        unsafe { self.ops.cpu.bound.merge.run(&args) }
    }
}
