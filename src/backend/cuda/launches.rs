//! The launches of a pass, as a list that is done at once; and lists that recur, kept as graphs that the GPU replays.
//!
//! Generating a token takes the host hundreds of launches, with the same arguments each time: what changes lies in the GPU's memory.
//! Where a pass is longer than before its arguments differ now and then (its splits, its pages); then it is another list. A list is
//! recorded when it comes for the second time.

use std::any::Any;
use std::sync::Arc;

use super::bindings as c;
use super::driver::{Args, Driver, Graph, Kernel};
use crate::error::Result;

/// Lists that are known at once.
const MAX_LISTS: usize = 16;
/// The shortest list that a graph is made of.
const MIN_LAUNCHES: usize = 8;
/// `ORIBI_CUDA_GRAPHS=off` in the environment: none.
const GRAPHS_VARIABLE: &str = "ORIBI_CUDA_GRAPHS";

/// The arguments of a kernel.
trait Arguments: Any {
    fn args(&self) -> Args;
    fn equals(&self, other: &dyn Any) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl<T: PartialEq + 'static> Arguments for T {
    fn args(&self) -> Args {
        Args::of(self)
    }

    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>().is_some_and(|other| other == self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// One launch.
pub(super) struct Launch {
    pub kernel: Kernel,
    pub shape: c::oribi_cuda_launch,
    args: Box<dyn Arguments>,
}

// SAFETY: the arguments are numbers and addresses of the GPU's memory, which nobody reads through here.
unsafe impl Send for Launch {}
// SAFETY: as above.
unsafe impl Sync for Launch {}

impl Launch {
    pub fn new<T: PartialEq + 'static>(kernel: &Kernel, shape: c::oribi_cuda_launch, args: T) -> Launch {
        Launch { kernel: kernel.clone(), shape, args: Box::new(args) }
    }

    /// The arguments.
    pub fn args(&self) -> Args {
        self.args.args()
    }
}

impl PartialEq for Launch {
    fn eq(&self, other: &Launch) -> bool {
        self.kernel == other.kernel && self.shape == other.shape && self.args.equals(other.args.as_any())
    }
}

/// A list that came before.
struct Known {
    launches: Arc<[Launch]>,
    graph: Option<Graph>,
}

/// Lists that came before, the last one first.
pub(super) struct Graphs {
    is_on: bool,
    known: Vec<Known>,
    #[cfg(test)]
    n_replayed: usize,
}

impl Default for Graphs {
    fn default() -> Graphs {
        Graphs {
            is_on: std::env::var_os(GRAPHS_VARIABLE).is_none_or(|value| value != "off"),
            known: Vec::new(),
            #[cfg(test)]
            n_replayed: 0,
        }
    }
}

impl Graphs {
    /// Do what is in the list, which is empty then.
    ///
    /// # Safety
    /// As [`Driver::launch`] for every launch.
    ///
    /// # Errors
    /// Those of the driver.
    pub unsafe fn run(&mut self, driver: &Arc<dyn Driver>, launches: &mut Vec<Launch>) -> Result<()> {
        let launches = std::mem::take(launches);
        let place = self.known.iter().position(|known| known.launches[..] == launches[..]);
        let Some(place) = place else {
            // SAFETY: by the caller's promise.
            launches.iter().try_for_each(|l| unsafe { driver.launch(&l.kernel, l.shape, l.args()) })?;
            if self.is_on && launches.len() >= MIN_LAUNCHES {
                self.known.truncate(MAX_LISTS - 1);
                self.known.insert(0, Known { launches: launches.into(), graph: None });
            }
            return Ok(());
        };
        self.known[..=place].rotate_right(1);
        let Known { launches, graph } = &mut self.known[0];
        if graph.is_none() {
            // SAFETY: by the caller's promise.
            *graph = Some(unsafe { Graph::new(driver, launches)? });
        }
        #[cfg(test)]
        {
            self.n_replayed += 1;
        }
        // SAFETY: the same launches as those that the caller has made its promise for.
        graph.as_ref().map_or(Ok(()), |graph| unsafe { graph.replay() })
    }
}

#[cfg(all(test, feature = "cuda-emulated"))]
mod tests {
    use super::super::driver::Buffer;
    use super::super::emulated::Emulated;
    use super::*;

    /// `x = cap * tanh(x / cap)` for eight values, one cap after the other.
    fn list(driver: &Arc<dyn Driver>, values: &Buffer, caps: &[f32]) -> Vec<Launch> {
        let kernel = driver.kernel("oribi_softcap").unwrap();
        let of = |&cap: &f32| {
            let x = values.at(0, values.len()) as *mut f32;
            let args = c::oribi_cuda_softcap_args { x, stride: 8, n_rows: 1, n: 8, cap };
            // SAFETY: a pure function of the struct.
            Launch::new(&kernel, unsafe { c::oribi_cuda_softcap_launch(&args) }, args)
        };
        caps.iter().map(of).collect()
    }

    fn written(values: &Buffer, x: f32) {
        values.write(0, &x.to_le_bytes().repeat(8)).unwrap();
    }

    fn read(values: &Buffer) -> [u8; 32] {
        let mut bytes = [0; 32];
        values.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn lists_that_recur_are_replayed_and_do_what_they_did() {
        let driver: Arc<dyn Driver> = Arc::new(Emulated::new(0).unwrap());
        let values = Buffer::zeroed(&driver, 32, "a test").unwrap();
        let caps: [&[f32]; 3] = [&[30.0; 8], &[30.0, 20.0, 30.0, 30.0, 30.0, 30.0, 30.0, 30.0], &[3.0; 9]];
        let (mut graphs, mut never) = (Graphs { is_on: true, ..Default::default() }, Graphs::default());
        never.is_on = false;
        for i in 0..12 {
            // The values change from time to time, the list does not know of them.
            let run = |graphs: &mut Graphs| {
                written(&values, 10.0 + i as f32);
                // SAFETY: the arguments are those of the kernel, and the buffer is as large as they say.
                unsafe { graphs.run(&driver, &mut list(&driver, &values, caps[i % 3])).unwrap() };
                read(&values)
            };
            assert_eq!(run(&mut graphs), run(&mut never), "turn {i}");
        }
        assert_eq!((graphs.known.len(), graphs.n_replayed), (3, 9));
        assert_eq!((never.known.len(), never.n_replayed), (0, 0));
        // Short ones are not kept, and of many the last ones are.
        for n in 0..2 * MAX_LISTS {
            let caps = vec![n as f32 + 1.0; if n % 2 == 0 { 2 } else { 8 }];
            // SAFETY: as above.
            unsafe { graphs.run(&driver, &mut list(&driver, &values, &caps)).unwrap() };
        }
        assert_eq!(graphs.known.len(), MAX_LISTS);
        let other = Buffer::zeroed(&driver, 32, "a test").unwrap();
        let (a, b) = (list(&driver, &values, caps[0]), list(&driver, &other, caps[0]));
        assert!(a == list(&driver, &values, caps[0]) && a != b && a != list(&driver, &values, caps[1]));
    }
}
