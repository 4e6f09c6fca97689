//! Attention on a GPU: three launches for as many rows as there is room for states, or one for few.
//!
//! ```text
//! project:  queries and keys are rotated, keys and values stored       block: some heads of a row
//! split:    states of 256 positions                                     block: (tile of rows, key head, split)
//! merge:    states in order                                             block: a row
//! ```
//!
//! In native arithmetic `split` is another kernel, on tensor cores. Otherwise, with few rows, as when a sequence generates, one launch
//! does all of it, for tiles that are whole runs of different sequences.
//!
//! A tile is a few rows of one run, which share what is read of keys and values. Rows are taken in slices, whose states fit the
//! scratch; a slice begins at a multiple of 8 rows, as activations do. What a row gets depends on neither.

use std::ops::Range;
use std::sync::Arc;

use super::Vector;
use super::bindings as c;
use super::driver::{Buffer, Driver};
use super::ops::{CudaOps, Pass};
use super::pages::{Pages, entry_of};
use super::rows::Rows;
use crate::backend::cpu::bindings::ORIBI_SPLIT_LEN;
use crate::backend::{Arithmetic, Attention, Heads, Projection, Run};
use crate::error::{Result, bail};

/// Positions of a split.
const SPLIT_LEN: usize = ORIBI_SPLIT_LEN as usize;
/// Rows of a unit of activations.
const TILE: usize = c::ORIBI_CUDA_TILE as usize;
/// Rows whose states there is room for, and the most bytes for them unless `TILE` rows already need more.
const STATE_ROWS: usize = 256;
const STATE_BYTES: usize = 64 << 20;
/// The most splits that a launch can have.
const MAX_SPLITS: usize = 65535;

/// Scratch of attention: states.
pub struct AttentionScratch {
    states: Buffer,
    /// A zero for each tile and key head, by which the blocks of a launch count who is last; they leave them zero.
    counters: Buffer,
}

impl AttentionScratch {
    pub(super) fn new(driver: &Arc<dyn Driver>, heads: Heads, n_ctx: usize) -> Result<AttentionScratch> {
        if n_ctx.div_ceil(SPLIT_LEN) > MAX_SPLITS {
            bail!(Unsupported, "a context of {n_ctx} is more than a GPU attends over: {}", MAX_SPLITS * SPLIT_LEN);
        }
        let what = "the session's attention scratch";
        Ok(AttentionScratch {
            states: Buffer::new(driver, AttentionScratch::state_bytes(heads, n_ctx), what)?,
            counters: Buffer::zeroed(driver, AttentionScratch::counter_bytes(heads), what)?,
        })
    }

    pub(super) fn bytes(heads: Heads, n_ctx: usize) -> u64 {
        (AttentionScratch::state_bytes(heads, n_ctx) + AttentionScratch::counter_bytes(heads)) as u64
    }

    fn counter_bytes(heads: Heads) -> usize {
        STATE_ROWS * heads.n_kv_heads * size_of::<u32>()
    }

    fn state_bytes(heads: Heads, n_ctx: usize) -> usize {
        let n_splits = n_ctx.div_ceil(SPLIT_LEN).min(MAX_SPLITS);
        let most = states_bytes(heads, n_splits, STATE_ROWS);
        most.min(STATE_BYTES.max(states_bytes(heads, n_splits, TILE)))
    }
}

fn states_bytes(heads: Heads, n_splits: usize, n_rows: usize) -> usize {
    // SAFETY: a pure function of numbers.
    unsafe { c::oribi_cuda_states_bytes(n_splits as u32, n_rows as u32, heads.n_heads as u32, heads.head_dim as u32) }
}

/// How the rows of a pass are divided, the same in every layer.
pub(super) struct Plan {
    /// Which runs it is of: a pass has one list of them.
    of: *const [Run],
    slices: Vec<Slice>,
    /// Every tile is all that its sequence has in the batch.
    tiles_are_whole: bool,
    /// On the GPU: a row each, the addresses of all sequences' pages, all tiles.
    rows: *const c::oribi_cuda_row,
    pages: *const *mut u8,
    tiles: *const c::oribi_cuda_tile,
}

/// Rows that attend together.
struct Slice {
    rows: Range<usize>,
    tiles: Range<usize>,
    max_tile_rows: u32,
    /// The first and the last position.
    positions: [usize; 2],
}

/// A tile before the GPU sees it: its rows in the batch.
struct Tile {
    rows: Range<usize>,
    first_position: usize,
}

impl Plan {
    fn new(
        ops: &CudaOps<'_>,
        pass: &mut Pass,
        runs: &[Run],
        heads: Heads,
        attention: (&Pages, &AttentionScratch),
    ) -> Result<Plan> {
        let (pages, scratch) = attention;
        let (mut rows, mut addresses) = (Vec::new(), Vec::new());
        for run in runs {
            assert_eq!(run.first_row, rows.len(), "runs in order of the rows");
            let positions = run.first_position..run.first_position + run.n_rows;
            assert!(positions.is_empty() || entry_of(positions.end - 1) < run.pages.len(), "pages of a run");
            let first_page = addresses.len() as u32;
            rows.extend(positions.map(|position| c::oribi_cuda_row { position: position as u32, pages: first_page }));
            addresses.extend(pages.addresses(&run.pages));
        }
        let n_splits = rows.iter().map(|row| row.position as usize / SPLIT_LEN + 1).max().unwrap_or(1);
        let slice_rows = slice_rows(heads, n_splits, scratch.states.len());
        // SAFETY: a pure function of two numbers.
        let tile_rows =
            unsafe { c::oribi_cuda_attend_tile_rows(heads.n_heads as u32, heads.n_kv_heads as u32) } as usize;
        let tiles = tiles(runs, tile_rows.max(1), slice_rows);
        // The last page of a sequence is its own, where it writes: what sequences share lies before it.
        let mut last_pages: Vec<_> = runs.iter().map(|run| run.pages.last()).collect();
        last_pages.sort_unstable();
        let tiles_are_whole = tiles.len() == runs.len() && last_pages.windows(2).all(|two| two[0] != two[1]);
        let mut slices = Vec::new();
        let mut first = 0;
        for group in tiles.chunk_by(|a, b| a.rows.start / slice_rows == b.rows.start / slice_rows) {
            let last_position = group.iter().map(|tile| tile.first_position + tile.rows.len() - 1).max();
            slices.push(Slice {
                rows: group[0].rows.start..group[group.len() - 1].rows.end,
                tiles: first..first + group.len(),
                max_tile_rows: group.iter().map(|tile| tile.rows.len()).max().unwrap_or(0) as u32,
                positions: [
                    group.iter().map(|tile| tile.first_position).min().unwrap_or(0),
                    last_position.unwrap_or(0),
                ],
            });
            first += group.len();
        }
        // Rows of a tile count from its slice's first.
        let of_slice = |tile: &Tile| c::oribi_cuda_tile {
            first_row: (tile.rows.start % slice_rows) as u32,
            n_rows: tile.rows.len() as u32,
        };
        let tiles: Vec<_> = tiles.iter().map(of_slice).collect();
        let driver = ops.driver();
        Ok(Plan {
            of: runs,
            slices,
            tiles_are_whole,
            rows: pass.uploads.put(driver, &rows)? as *const _,
            tiles: pass.uploads.put(driver, &tiles)? as *const _,
            // Last: where the others are shall not change with the number of pages.
            pages: pass.uploads.put(driver, &addresses)? as *const _,
        })
    }
}

/// Rows whose states fit into so many bytes: a multiple of 8.
fn slice_rows(heads: Heads, n_splits: usize, n_bytes: usize) -> usize {
    (n_bytes / states_bytes(heads, n_splits, TILE).max(1)).max(1) * TILE
}

/// Runs cut into tiles of at most `tile_rows` rows, none of which crosses a multiple of `slice_rows`.
fn tiles(runs: &[Run], tile_rows: usize, slice_rows: usize) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for run in runs {
        let (mut row, end) = (run.first_row, run.first_row + run.n_rows);
        while row < end {
            let next = (row + tile_rows).min(end).min((row / slice_rows + 1) * slice_rows);
            tiles.push(Tile { rows: row..next, first_position: run.first_position + row - run.first_row });
            row = next;
        }
    }
    tiles
}

impl Slice {
    /// The first split that any of its rows sees, and how many there are up to the last.
    fn splits(&self, window: Option<usize>) -> [usize; 2] {
        let [first, last] = self.positions;
        let first_seen = window.map_or(0, |window| (first + 1).saturating_sub(window));
        let first = first_seen / SPLIT_LEN;
        [first, last / SPLIT_LEN + 1 - first]
    }
}

/// The projection and attention of a layer.
pub(super) type Layer<'a> = (&'a Projection<'a, super::Cuda>, &'a Attention<'a, super::Cuda>);

pub(super) fn attend(
    ops: &CudaOps<'_>,
    pass: &mut Pass,
    runs: &[Run],
    qkv: &Rows,
    layer: Layer<'_>,
    out: &Rows,
) -> Result<()> {
    let (_, attention) = layer;
    let plan = match pass.plan.take() {
        Some(plan) if std::ptr::eq(plan.of, runs) => plan,
        _ => Plan::new(ops, pass, runs, attention.heads, (attention.pages, attention.scratch))?,
    };
    let kernels = attention.pages.kernels();
    let is_native = ops.arithmetic == Arithmetic::Native;
    for slice in &plan.slices {
        let args = args(ops, &plan, slice, qkv, layer, out);
        let may_fuse = !is_native && plan.tiles_are_whole && slice.tiles.len() <= STATE_ROWS;
        // SAFETY: pure functions of the struct.
        if may_fuse && unsafe { c::oribi_cuda_attend_is_fused(&args) } != 0 {
            // SAFETY: as above.
            let (n_queries, shape) =
                unsafe { (c::oribi_cuda_attend_queries(&args), c::oribi_cuda_attend_fused_launch(&args)) };
            ops.launch(kernels.fused(n_queries), shape, args)?;
            continue;
        }
        // SAFETY: pure functions of the struct.
        let (project, split, merge) = unsafe {
            let split = if is_native {
                (kernels.prompt(c::oribi_cuda_attend_prompt_queries(&args)), c::oribi_cuda_attend_prompt_launch(&args))
            } else {
                (kernels.split(c::oribi_cuda_attend_queries(&args)), c::oribi_cuda_attend_split_launch(&args))
            };
            (c::oribi_cuda_attend_project_launch(&args), split, c::oribi_cuda_attend_merge_launch(&args))
        };
        ops.launch(&kernels.project, project, args)?;
        ops.launch(split.0, split.1, args)?;
        ops.launch(&ops.cuda.kernels.attend_merge, merge, args)?;
    }
    pass.plan = Some(plan);
    Ok(())
}

/// The arguments for the rows of a slice, which are its rows from 0 on.
fn args(
    ops: &CudaOps<'_>,
    plan: &Plan,
    slice: &Slice,
    qkv: &Rows,
    (projection, attention): Layer<'_>,
    out: &Rows,
) -> c::oribi_cuda_attend_args {
    let Heads { n_heads, n_kv_heads, head_dim } = attention.heads;
    let (rotation, rope) = projection.rotation;
    let (first, n_rows) = (slice.rows.start, slice.rows.len());
    let tiles = attention.pages.tiles(attention.layer);
    let [first_split, n_splits] = slice.splits(attention.window);
    let n_bytes = states_bytes(attention.heads, n_splits, n_rows);
    c::oribi_cuda_attend_args {
        qkv: qkv.at(first, n_rows),
        qkv_stride: qkv.stride() as u64,
        rows: plan.rows.wrapping_add(first),
        tiles: plan.tiles.wrapping_add(slice.tiles.start),
        pages: plan.pages,
        tile_at: tiles.at,
        tile_bytes: tiles.bytes,
        key_bytes: tiles.key_bytes,
        n_rows: n_rows as u32,
        n_tiles: slice.tiles.len() as u32,
        max_tile_rows: slice.max_tile_rows,
        n_heads: n_heads as u32,
        n_kv_heads: n_kv_heads as u32,
        head_dim: head_dim as u32,
        biases: projection.biases.map(|bias| bias.map_or(std::ptr::null(), Vector::as_ptr)),
        norms: projection.norms.map_or([std::ptr::null(); 2], |norms| norms.map(Vector::as_ptr)),
        eps: projection.eps,
        n_rot: 2 * rotation.frequencies.len() as u32,
        half_split: u32::from(rotation.half_split),
        rope: rope.at(first, n_rows),
        rope_stride: rope.stride() as u64,
        scale: attention.scale,
        window: attention.window.unwrap_or(0) as u32,
        first_split: first_split as u32,
        n_splits: n_splits as u32,
        states: attention.scratch.states.at(0, n_bytes) as *mut f32,
        out: out.at(first, n_rows),
        out_stride: out.stride() as u64,
        acts: out.acts(ops.arithmetic, first),
        counters: attention.scratch.counters.at(0, attention.scratch.counters.len()) as *mut u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_rows_of_runs_and_stay_in_their_slices() {
        let run = |first_row, n_rows, first_position| Run { first_row, n_rows, first_position, pages: Vec::new() };
        let runs = [run(0, 1, 300), run(1, 70, 0), run(71, 3, 1000)];
        for (tile_rows, slice_rows) in [(16, 8), (16, 64), (1, 8), (5, 24)] {
            let tiles = tiles(&runs, tile_rows, slice_rows);
            let rows: Vec<usize> = tiles.iter().flat_map(|tile| tile.rows.clone()).collect();
            assert_eq!(rows, (0..74).collect::<Vec<_>>());
            for tile in &tiles {
                assert!(tile.rows.len() <= tile_rows);
                assert_eq!(tile.rows.start / slice_rows, (tile.rows.end - 1) / slice_rows);
                let run = runs.iter().rfind(|run| run.first_row <= tile.rows.start).unwrap();
                assert!(tile.rows.end <= run.first_row + run.n_rows);
                assert_eq!(tile.first_position, run.first_position + tile.rows.start - run.first_row);
            }
        }
    }

    #[test]
    fn slices_fit_the_scratch() {
        let heads = Heads { n_heads: 32, n_kv_heads: 8, head_dim: 128 };
        for n_ctx in [1usize, 256, 4096, 131072] {
            let n_splits = n_ctx.div_ceil(SPLIT_LEN);
            let n_bytes = AttentionScratch::state_bytes(heads, n_ctx);
            let rows = slice_rows(heads, n_splits, n_bytes);
            assert!(rows >= TILE && rows.is_multiple_of(TILE));
            assert!(states_bytes(heads, n_splits, rows) <= n_bytes, "{n_ctx}");
        }
    }
}
