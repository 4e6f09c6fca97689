//! Tests of the team of threads.

use super::*;
use std::time::Duration;

#[test]
fn every_part_runs_once_and_is_visible_to_the_next_step() {
    for (n_threads, per_worker) in [(1, 1), (2, 1), (3, 2), (5, 4)] {
        let team = Team::new(n_threads).unwrap();
        let cells: Vec<AtomicU64> = (0..n_threads * per_worker).map(|_| AtomicU64::new(0)).collect();
        for run in 0..50 {
            team.run(|w| {
                for step in 0..20 {
                    let before = run * 20 + step;
                    w.parallel(per_worker, |part| {
                        assert_eq!(cells[part.id()].fetch_add(1, Ordering::Relaxed), before);
                    });
                    w.parallel(1, |_| assert!(cells.iter().all(|c| c.load(Ordering::Relaxed) == before + 1)));
                }
            })
            .unwrap();
        }
    }
}

/// Plain memory, so that the thread sanitizer sees whether steps order it.
#[test]
fn what_parts_write_the_next_steps_read() {
    struct Cells(*mut u64);
    // SAFETY: the steps below order all access.
    unsafe impl Sync for Cells {}
    impl Cells {
        fn at(&self, i: usize) -> *mut u64 {
            self.0.wrapping_add(i)
        }
    }
    let team = Team::new(3).unwrap();
    let mut memory = vec![0u64; 4];
    let cells = Cells(memory.as_mut_ptr());
    let started = AtomicU64::new(0);
    for run in 0..20 {
        team.run(|w| {
            for step in 0..20 {
                let before = run * 20 + step;
                let write = |part: Part| {
                    // Every worker takes one part, and nothing but the end of the step orders them.
                    started.fetch_add(1, Ordering::Relaxed);
                    while started.load(Ordering::Relaxed) < 3 * (before + 1) {
                        std::thread::yield_now();
                    }
                    // SAFETY: the cell is this part's alone.
                    unsafe { *cells.at(part.id()) += 1 }
                };
                // SAFETY: in a step, each part writes its own cell; the ending and the next step write none of them.
                let check = || (0..3).for_each(|i| assert_eq!(unsafe { *cells.at(i) }, before + 1));
                w.parallel_then(1, write, || {
                    check();
                    // SAFETY: the ending is alone with the last cell.
                    unsafe { *cells.at(3) += 1 }
                });
                w.parallel(1, |_| {
                    check();
                    // SAFETY: nobody writes in this step.
                    assert_eq!(unsafe { *cells.at(3) }, before + 1);
                });
            }
        })
        .unwrap();
    }
    assert_eq!(memory, [400; 4]);
}

#[test]
fn a_steps_ending_runs_once_after_all_parts_and_before_the_next_step() {
    for (n_threads, per_worker) in [(1, 2), (2, 1), (3, 2), (5, 4)] {
        let team = Team::new(n_threads).unwrap();
        let n_parts = (n_threads * per_worker) as u64;
        let (parts, endings) = (AtomicU64::new(0), AtomicU64::new(0));
        for run in 0..50 {
            team.run(|w| {
                for step in 0..20 {
                    let before = run * 20 + step;
                    let ending = || {
                        assert_eq!(parts.load(Ordering::Relaxed), (before + 1) * n_parts);
                        assert_eq!(endings.fetch_add(1, Ordering::Relaxed), before);
                    };
                    w.parallel_then(per_worker, |_| _ = parts.fetch_add(1, Ordering::Relaxed), ending);
                    assert!(endings.load(Ordering::Relaxed) > before);
                }
            })
            .unwrap();
        }
        assert_eq!(endings.load(Ordering::Relaxed), 1000);
    }
}

/// A worker that sleeps with nothing in hand keeps nobody waiting, and finds what it missed done.
#[test]
fn nobody_waits_for_a_worker_with_nothing_in_hand() {
    let team = Team::new(3).unwrap();
    let awake = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    team.run(|w| {
        if w.id() == 1 {
            while !awake.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        for _ in 0..100 {
            w.parallel(4, |_| _ = count.fetch_add(1, Ordering::Relaxed));
        }
        // Only the others can have come here: worker 1 waits for this.
        awake.store(true, Ordering::Release);
    })
    .unwrap();
    assert_eq!(count.into_inner(), 100 * 3 * 4);
}

#[test]
fn sleeping_workers_wake() {
    let team = Team::new(3).unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(30));
        team.run(|w| {
            for _ in 0..3 {
                w.parallel(1, |part| {
                    if part.id() == 1 {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                });
            }
        })
        .unwrap();
    }
}

#[test]
fn a_panic_is_an_error_and_the_team_stays_usable() {
    let team = Team::new(3).unwrap();
    for guilty in 0..3 {
        let error = team
            .run(|w| {
                w.parallel(1, |part| assert!(part.id() != guilty, "part {guilty} fails"));
                w.parallel(1, |_| ());
            })
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().contains(&format!("part {guilty} fails")), "{error}");
        let count = AtomicU64::new(0);
        team.run(|w| w.parallel(2, |_| _ = count.fetch_add(1, Ordering::Relaxed))).unwrap();
        assert_eq!(count.into_inner(), 6);
    }
}

#[test]
fn callers_on_several_threads_take_turns() {
    let team = Team::new(2).unwrap();
    let inside = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    team.run(|w| {
                        if w.id() == 0 {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        }
                        w.parallel(2, |_| ());
                        if w.id() == 0 {
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    })
                    .unwrap();
                }
            });
        }
    });
}

#[test]
fn a_run_inside_a_run_is_refused() {
    let (outer, inner) = (Team::new(1).unwrap(), Team::new(1).unwrap());
    outer.run(|_| assert_eq!(inner.run(|_| ()).unwrap_err().kind(), ErrorKind::InvalidState)).unwrap();
}

#[test]
fn shares_cover_everything_once_in_whole_units() {
    for n_threads in [1, 2, 3, 7] {
        let team = Team::new(n_threads).unwrap();
        for (n, unit) in [(0, 1), (1, 1), (5, 2), (36, 2), (100, 3)] {
            let shares = Mutex::new(vec![0..0; n_threads]);
            team.run(|w| w.parallel(1, |part| lock(&shares)[part.id()] = part.share(n, unit))).unwrap();
            let shares = shares.into_inner().unwrap();
            assert_eq!(shares.iter().map(|r| r.len()).sum::<usize>(), n);
            assert!(shares.windows(2).all(|w| w[0].end == w[1].start));
            assert!(shares.iter().all(|r| r.start % unit == 0 || r.start == n));
        }
    }
}

#[test]
fn thread_counts_are_checked() {
    assert_eq!(Team::new(0).err().unwrap().kind(), ErrorKind::InvalidArgument);
    assert_eq!(Team::new(MAX_THREADS + 1).err().unwrap().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn who_waits_for_a_turn_can_give_up() {
    let team = Team::new(2).unwrap();
    let (has_begun, go_on) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let job = |worker: &Worker<'_>| {
                if worker.id() == 0 {
                    has_begun.store(true, Ordering::Release);
                    while !go_on.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                }
            };
            team.run(job).unwrap();
        });
        while !has_begun.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let n_asked = AtomicUsize::new(0);
        let stop = || n_asked.fetch_add(1, Ordering::Relaxed) == 3;
        assert_eq!(team.run_unless(&stop, |_| panic!("it was not its turn")).unwrap_err().kind(), ErrorKind::Cancelled);
        go_on.store(true, Ordering::Release);
    });
    team.run_unless(&|| true, |_| ()).unwrap();
}
