//! The thread team: a fixed set of workers that run one closure together and share each of its parallel steps.
//!
//! ```text
//! run(job):  publish job, bump epoch, wake workers      worker i:  wait for a new epoch; enter it, unless it is over
//!            run job as worker 0                                   run job as worker i
//!            wait for the workers that entered                     mark done
//!
//! parallel(step):  take parts of the step, the own ones first, then what others have left; add up what was finished;
//!                  wait until all parts are finished; whoever finishes the last may first run the step's ending
//! ```
//!
//! A forward pass is one `run`: its operations are [`Worker::parallel`] steps, about five a layer, so what counts is the
//! latency of a step (some 0.3 microseconds while everybody spins) and of starting a run.
//!
//! 1. A rayon pool hosts the workers: each of its threads runs one worker loop until the team is dropped. The caller is
//!    worker 0, so a team of one thread has no pool at all.
//! 2. Nobody waits for a worker that has nothing in hand. A step is over when its parts are finished, whoever did them, and
//!    a run when the workers that entered it have left. So a worker whose CPU is taken away costs its share of the work,
//!    not a turn of the scheduler in every step; it later walks through the steps it missed and finds them taken.
//! 3. Parts are taken from one queue per owner, a word of step number and count. A step number in the queue above the
//!    worker's own says that its step is over, so no step needs memory of its own and nothing is reset between steps.
//! 4. A wait spins for some 0.2 milliseconds, then sleeps on a condition variable. It does not yield: a sleeper that is
//!    woken runs sooner than a thread that has used up its turn. An idle team costs nothing.
//! 5. Runs are serialised by a lock, so sessions on several threads may share a team; a run inside a run is a defect and
//!    is refused instead of deadlocking.
//! 6. A panic in one worker ends the run of all: waits watch a flag. `run` reports it as an error and the team stays usable.
//!
//! Accepted: one run at a time per team. Sessions that must run side by side get their own. A worker that loses its CPU
//! while it computes a part delays the step by that part.

use std::any::Any;
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, bail};

/// Most workers a team may have; a guard against nonsense, far above any machine.
pub const MAX_THREADS: usize = 1024;
/// Looks at a flag before sleeping: some 0.2 milliseconds.
const SPINS: u32 = 4_000;

/// A value alone on its cache line (two lines: the prefetcher fetches pairs).
#[repr(align(128))]
struct Padded<T>(T);

/// A borrowed job with its lifetime erased; it lives in `Shared::job` only while `run` waits for all workers.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(&Worker<'_>) + Sync));

// SAFETY: the closure behind the pointer is `Sync`, and `run` keeps it alive until every worker has finished with it.
unsafe impl Send for Job {}

/// What the workers share.
struct Shared {
    n_threads: usize,
    spins: u32,
    /// Bumped by each `run`, and by the drop of the team.
    epoch: Padded<AtomicU32>,
    job: Mutex<Option<Job>>,
    shutdown: AtomicBool,
    /// The last epoch that worker i entered, or that was closed before it did.
    entered: Vec<Padded<AtomicU32>>,
    /// Epoch that worker i has finished.
    done: Vec<Padded<AtomicU32>>,
    /// Per owner: the step (high half) and how many of the owner's parts are taken (low half).
    queues: Vec<Padded<AtomicU64>>,
    /// The step (high half) and how many of its parts are finished (low half).
    finished: Padded<AtomicU64>,
    /// Set by the first worker that panics in a run.
    aborted: AtomicBool,
    panic: Mutex<Option<String>>,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    alarm: Condvar,
}

/// A team of threads. See the module's text.
pub struct Team {
    shared: Arc<Shared>,
    /// Serialises runs.
    turn: Turn,
    _pool: Option<rayon::ThreadPool>,
}

/// One worker's view of a run.
pub struct Worker<'a> {
    shared: &'a Shared,
    /// 0 for the caller.
    id: usize,
    /// Parallel steps so far.
    steps: Cell<u32>,
}

/// One part of a parallel step.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    id: usize,
    n_parts: usize,
}

/// The payload of the panic that leaves a step after another worker panicked.
struct Aborted;

thread_local! {
    static IN_RUN: Cell<bool> = const { Cell::new(false) };
}

impl Team {
    /// A team of `n_threads` workers, the caller of [`Team::run`] among them.
    ///
    /// # Errors
    /// `InvalidArgument` for a count outside 1..=1024, `Device` where the threads cannot be started.
    pub fn new(n_threads: usize) -> Result<Team> {
        if n_threads == 0 || n_threads > MAX_THREADS {
            bail!(InvalidArgument, "thread count {n_threads} is outside 1..={MAX_THREADS}");
        }
        let n_cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let flags = || (0..n_threads).map(|_| Padded(AtomicU32::new(0))).collect();
        let queues = (0..n_threads).map(|_| Padded(AtomicU64::new(0))).collect();
        let shared = Arc::new(Shared {
            n_threads,
            // A waiter that spins while the one it waits for has no CPU only delays it.
            spins: if n_threads > n_cpus { SPINS / 100 } else { SPINS },
            epoch: Padded(AtomicU32::new(0)),
            job: Mutex::new(None),
            shutdown: AtomicBool::new(false),
            entered: flags(),
            done: flags(),
            queues,
            finished: Padded(AtomicU64::new(0)),
            aborted: AtomicBool::new(false),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            bed: Mutex::new(()),
            alarm: Condvar::new(),
        });
        let pool = (n_threads > 1).then(|| start_workers(&shared)).transpose()?;
        Ok(Team { shared, turn: Turn::default(), _pool: pool })
    }

    /// Workers of the team.
    pub fn n_threads(&self) -> usize {
        self.shared.n_threads
    }

    /// Run `job` on every worker at once and wait for all. Calls from several threads take turns.
    ///
    /// # Errors
    /// `Internal` when a worker panicked, with its message; `InvalidState` when called from inside a run of any team.
    pub fn run(&self, job: impl Fn(&Worker<'_>) + Sync) -> Result<()> {
        self.run_unless(&|| false, job)
    }

    /// [`run`](Self::run) for a caller who may lose interest while others have their turn: `stop` is asked every few
    /// milliseconds until the own turn has come, and no more then.
    ///
    /// # Errors
    /// Those of [`run`](Self::run); `Cancelled` when `stop` said so.
    pub fn run_unless(&self, stop: &dyn Fn() -> bool, job: impl Fn(&Worker<'_>) + Sync) -> Result<()> {
        if IN_RUN.get() {
            bail!(InvalidState, "a model computes already on this thread: a callback inside it cannot compute, too");
        }
        let Some(_turn) = self.turn.take(stop) else {
            bail!(Cancelled, "cancelled while others computed on the same threads");
        };
        let s = &*self.shared;
        for word in s.queues.iter().chain([&s.finished]) {
            word.0.store(0, Ordering::Relaxed);
        }
        s.aborted.store(false, Ordering::Relaxed);
        let epoch = s.epoch.0.load(Ordering::Relaxed).wrapping_add(1);
        if s.n_threads > 1 {
            let job: &(dyn Fn(&Worker<'_>) + Sync) = &job;
            // SAFETY: only the lifetime is erased. A worker touches the pointer only between entering this epoch and marking it as
            // done; below, the epoch is closed to those who have not entered, and the others are waited for.
            let erased = unsafe {
                std::mem::transmute::<
                    *const (dyn Fn(&Worker<'_>) + Sync + '_),
                    *const (dyn Fn(&Worker<'_>) + Sync + 'static),
                >(job)
            };
            *lock(&s.job) = Some(Job(erased));
            s.epoch.0.store(epoch, Ordering::Release);
            s.wake();
        }
        s.work(0, &job);
        for (entered, done) in s.entered.iter().zip(&s.done).skip(1) {
            if !enter(&entered.0, epoch) {
                s.wait_until(|| done.0.load(Ordering::Acquire) == epoch);
            }
        }
        *lock(&s.job) = None;
        if s.aborted.load(Ordering::Relaxed) {
            let text = lock(&s.panic).take().unwrap_or_default();
            bail!(Internal, "a worker thread panicked: {text}");
        }
        Ok(())
    }
}

/// Whose turn it is, where callers can give up waiting.
#[derive(Default)]
struct Turn {
    is_taken: Mutex<bool>,
    freed: Condvar,
}

/// How often a caller who waits for its turn asks whether to go on.
const LOOK: Duration = Duration::from_millis(5);

impl Turn {
    /// The turn, for as long as the result lives; nothing when `stop` says so first.
    fn take(&self, stop: &dyn Fn() -> bool) -> Option<TakenTurn<'_>> {
        let mut is_taken = lock(&self.is_taken);
        while *is_taken {
            is_taken = self.freed.wait_timeout(is_taken, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            if *is_taken {
                // Asked without the lock: it may be a callback that takes its time.
                drop(is_taken);
                if stop() {
                    return None;
                }
                is_taken = lock(&self.is_taken);
            }
        }
        *is_taken = true;
        Some(TakenTurn(self))
    }
}

struct TakenTurn<'a>(&'a Turn);

impl Drop for TakenTurn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.is_taken) = false;
        self.0.freed.notify_one();
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::Relaxed);
        self.shared.epoch.0.fetch_add(1, Ordering::Release);
        self.shared.wake();
    }
}

/// A pool whose every thread runs one worker loop.
fn start_workers(shared: &Arc<Shared>) -> Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(shared.n_threads - 1)
        .thread_name(|i| format!("oribi-{}", i + 1))
        .build()
        .map_err(|e| {
            Error::new(ErrorKind::Device, format!("could not start {} worker threads: {e}", shared.n_threads - 1))
        })?;
    let shared = Arc::clone(shared);
    pool.spawn_broadcast(move |context| shared.worker_loop(context.index() + 1));
    Ok(pool)
}

impl Shared {
    fn worker_loop(&self, id: usize) {
        let mut seen = 0;
        loop {
            self.wait_until(|| self.epoch.0.load(Ordering::Acquire) != seen);
            seen = self.epoch.0.load(Ordering::Acquire);
            if self.shutdown.load(Ordering::Relaxed) {
                return;
            }
            if !enter(&self.entered[id].0, seen) {
                continue;
            }
            let job = *lock(&self.job);
            if let Some(Job(job)) = job {
                // SAFETY: `run` published this job with the epoch just entered and keeps it alive until `done` says so below.
                self.work(id, unsafe { &*job });
            }
            self.done[id].0.store(seen, Ordering::Release);
            self.wake();
        }
    }

    /// Run `job` as worker `id`; a panic becomes the run's error.
    fn work(&self, id: usize, job: &(dyn Fn(&Worker<'_>) + Sync)) {
        IN_RUN.set(true);
        let worker = Worker { shared: self, id, steps: Cell::new(0) };
        let result = catch_unwind(AssertUnwindSafe(|| job(&worker)));
        IN_RUN.set(false);
        if let Err(payload) = result {
            if !payload.is::<Aborted>() {
                lock(&self.panic).get_or_insert_with(|| panic_text(&*payload));
            }
            self.aborted.store(true, Ordering::Release);
            self.wake();
        }
    }

    /// Take the next part of `owner` in a step, if one is left.
    fn take(&self, owner: usize, step: u32, n_parts: u32) -> Option<u32> {
        let queue = &self.queues[owner].0;
        let mut now = queue.load(Ordering::Acquire);
        loop {
            let part = match (now >> 32) as u32 {
                at if at < step => 0,
                at if at == step && (now as u32) < n_parts => now as u32,
                _ => return None,
            };
            let taken = word(step, part + 1);
            match queue.compare_exchange_weak(now, taken, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(part),
                Err(other) => now = other,
            }
        }
    }

    /// Add `n` finished parts to a step of `n_parts`; their count so far. Who finishes the last wakes the others.
    fn finish(&self, step: u32, n: u32, n_parts: u32) -> u32 {
        let add = |now: u64| match (now >> 32) as u32 {
            at if at < step => word(step, n),
            _ => word(step, now as u32 + n),
        };
        let mut now = self.finished.0.load(Ordering::Acquire);
        while let Err(other) = self.finished.0.compare_exchange_weak(now, add(now), Ordering::AcqRel, Ordering::Acquire)
        {
            now = other;
        }
        let count = add(now) as u32;
        if count == n_parts {
            self.wake();
        }
        count
    }

    /// Whether all parts of a step are finished.
    fn is_finished(&self, step: u32, n_parts: u32) -> bool {
        let now = self.finished.0.load(Ordering::Acquire);
        now >= word(step, n_parts)
    }

    /// Wait for `ready`: spin, then sleep.
    fn wait_until(&self, ready: impl Fn() -> bool) {
        for _ in 0..self.spins {
            if ready() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.bed);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        // The fence pairs with the one in `wake`: either this look sees the flag, or the waker sees the sleeper.
        fence(Ordering::SeqCst);
        while !ready() {
            guard = self.alarm.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wake whoever sleeps, after a flag was stored.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Taking the lock orders this after a sleeper's last look.
            drop(lock(&self.bed));
            self.alarm.notify_all();
        }
    }
}

impl Worker<'_> {
    /// This worker's number, 0 for the caller of [`Team::run`].
    pub fn id(&self) -> usize {
        self.id
    }

    /// Workers of the team.
    pub fn n_workers(&self) -> usize {
        self.shared.n_threads
    }

    /// A parallel step: `body` runs once for each of `n_workers * per_worker` parts, on whichever worker takes it. Returns when
    /// all parts are finished; what they wrote is then visible. All workers must come to the same sequence of steps, or end
    /// the run.
    pub fn parallel(&self, per_worker: usize, body: impl FnMut(Part)) {
        self.step(per_worker, body, None::<fn()>);
    }

    /// A parallel step with an ending: the worker that finishes the last part runs `then`, which sees what all parts wrote,
    /// before the step is over. It saves a step where the rest is too little to share.
    pub fn parallel_then(&self, per_worker: usize, body: impl FnMut(Part), then: impl FnOnce()) {
        self.step(per_worker, body, Some(then));
    }

    fn step(&self, per_worker: usize, mut body: impl FnMut(Part), then: Option<impl FnOnce()>) {
        let s = self.shared;
        let n_parts = s.n_threads * per_worker;
        if s.n_threads == 1 {
            (0..n_parts).for_each(|id| body(Part { id, n_parts }));
            if let Some(then) = then {
                then();
            }
            return;
        }
        let step = self.steps.get() + 1;
        self.steps.set(step);
        let mut n_finished = 0;
        for owner in (self.id..s.n_threads).chain(0..self.id) {
            while let Some(part) = s.take(owner, step, per_worker as u32) {
                body(Part { id: owner * per_worker + part as usize, n_parts });
                n_finished += 1;
            }
        }
        // The ending counts as one more part.
        let n_to_finish = n_parts as u32 + u32::from(then.is_some());
        if n_finished > 0 {
            let count = s.finish(step, n_finished, n_to_finish);
            if let Some(then) = then.filter(|_| count == n_parts as u32) {
                then();
                s.finish(step, 1, n_to_finish);
            }
        }
        s.wait_until(|| s.is_finished(step, n_to_finish) || s.aborted.load(Ordering::Acquire));
        if s.aborted.load(Ordering::Acquire) {
            panic_any(Aborted);
        }
    }
}

impl Part {
    /// This part's number.
    pub fn id(self) -> usize {
        self.id
    }

    /// Parts of the step.
    pub fn n_parts(self) -> usize {
        self.n_parts
    }

    /// This part's contiguous share of `n` items, in whole units of `unit` items but for the last.
    pub fn share(self, n: usize, unit: usize) -> Range<usize> {
        let n_units = n.div_ceil(unit);
        let at = |i: usize| (n_units * i / self.n_parts * unit).min(n);
        at(self.id)..at(self.id + 1)
    }
}

/// Step number and count in one word; words of later steps are greater.
fn word(step: u32, count: u32) -> u64 {
    u64::from(step) << 32 | u64::from(count)
}

/// Enter an epoch, or close it to the worker: whichever comes first wins, and only that one gets `true`.
fn enter(entered: &AtomicU32, epoch: u32) -> bool {
    entered.compare_exchange(epoch.wrapping_sub(1), epoch, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// Lock without caring for poison: the data is plain and `work` catches panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text of a panic's payload.
fn panic_text(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_string(),
        (_, Some(text)) => text.clone(),
        _ => "no message".to_string(),
    }
}

#[cfg(test)]
mod tests;
