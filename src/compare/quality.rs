//! The quality of several models in one pass over a text: the reference is evaluated once for all of them.

use crate::error::Result;
use crate::eval::{Baseline, Chunks, LogitSource};

use super::store::ScoreFile;

/// A model that is compared with the reference, and where its scores go.
pub struct Contestant<'a> {
    /// Its logits.
    pub source: &'a mut dyn LogitSource,
    /// What is known of it, to be completed.
    pub scores: &'a mut ScoreFile,
}

/// Evaluates, chunk by chunk, the reference and every contestant whose scores of that chunk are missing. The reference's logits of
/// one chunk are held meanwhile, see [`Baseline::bytes`]. `each` is told after every evaluation of a chunk by one model, the reference
/// included, and ends the work with an error.
///
/// # Errors
/// `InvalidArgument` for vocabularies of different sizes; those of the sources, of the files and of `each`.
pub fn quality(
    reference: &mut dyn LogitSource,
    contestants: &mut [Contestant<'_>],
    chunks: &Chunks,
    each: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    for (i, chunk) in chunks.iter().enumerate() {
        if contestants.iter().all(|contestant| contestant.scores.chunk(i).is_some()) {
            continue;
        }
        let baseline = Baseline::new(reference, &Chunks::single(chunk, chunks.scored())?, 1, &mut |_, _| Ok(()))?;
        each()?;
        for contestant in contestants.iter_mut().filter(|contestant| contestant.scores.chunk(i).is_none()) {
            let found = baseline.compare(contestant.source, &mut |_, _| Ok(()))?;
            contestant.scores.add(i, found.positions)?;
            each()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::compare::store::{Key, Store};
    use crate::error::{Error, ErrorKind};

    /// Logits that depend on the position, its token and a slope; counts the texts that it was given.
    struct Sloped {
        slope: f32,
        tokens: Vec<u32>,
        rows: Vec<[f32; 3]>,
        n_texts: usize,
    }

    impl Sloped {
        fn new(slope: f32) -> Sloped {
            Sloped { slope, tokens: Vec::new(), rows: Vec::new(), n_texts: 0 }
        }
    }

    impl LogitSource for Sloped {
        fn n_vocab(&self) -> usize {
            3
        }

        fn max_rows(&self) -> usize {
            2
        }

        fn begin(&mut self, tokens: &[u32]) -> Result<()> {
            self.tokens = tokens.to_vec();
            self.n_texts += 1;
            Ok(())
        }

        fn logits(&mut self, positions: Range<usize>) -> Result<Vec<&[f32]>> {
            let row = |at: usize| [0.1 * at as f32, self.tokens[at] as f32, 0.0].map(|x| self.slope * x);
            self.rows = positions.map(row).collect();
            Ok(self.rows.iter().map(|row| &row[..]).collect())
        }
    }

    #[test]
    fn an_interrupted_pass_goes_on_and_ends_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let tokens: Vec<u32> = (0..24).map(|i| i % 3).collect();
        let options = crate::eval::ChunkOptions { chunk_len: 6, stride: None, n_chunks: None };
        let chunks = Chunks::new(&tokens, None, &options).unwrap();
        let open = |name: &str| store.scores(&Key::new("quality", &[("of", &name)]), chunks.len()).unwrap();

        // At once: both contestants, one reference.
        let (mut reference, mut near, mut far) = (Sloped::new(1.0), Sloped::new(0.9), Sloped::new(0.2));
        let (mut near_scores, mut far_scores) = (open("near"), open("far"));
        let mut n_steps = 0;
        let mut pass = [
            Contestant { source: &mut near, scores: &mut near_scores },
            Contestant { source: &mut far, scores: &mut far_scores },
        ];
        quality(&mut reference, &mut pass, &chunks, &mut || {
            n_steps += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!((reference.n_texts, near.n_texts, far.n_texts, n_steps), (4, 4, 4, 12));
        let (near_found, far_found) = (near_scores.comparison().unwrap(), far_scores.comparison().unwrap());
        assert!(0.0 < near_found.kld.mean && near_found.kld.mean < far_found.kld.mean);
        assert_eq!(near_found.n_positions(), chunks.n_scored());

        // The same with an interruption after the near one's second chunk.
        let (mut near_scores, mut far_scores) = (open("near again"), open("far again"));
        for allowed in [5, usize::MAX] {
            let mut left = allowed;
            let mut pass = [
                Contestant { source: &mut near, scores: &mut near_scores },
                Contestant { source: &mut far, scores: &mut far_scores },
            ];
            let ended = quality(&mut reference, &mut pass, &chunks, &mut || {
                left -= 1;
                if left == 0 { Err(Error::new(ErrorKind::Cancelled, "enough")) } else { Ok(()) }
            });
            assert_eq!(ended.is_err(), allowed == 5);
        }
        assert_eq!((near.n_texts, far.n_texts), (8, 8));
        assert_eq!(near_scores.comparison().unwrap(), near_found);
        assert_eq!(far_scores.comparison().unwrap(), far_found);

        // Nothing is evaluated when all is known.
        let n_texts = reference.n_texts;
        let mut pass = [Contestant { source: &mut near, scores: &mut near_scores }];
        quality(&mut reference, &mut pass, &chunks, &mut || panic!("nothing to do")).unwrap();
        assert_eq!(reference.n_texts, n_texts);
    }
}
