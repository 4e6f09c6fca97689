//! From logits to a token: a chain of small stages, then a pick.
//!
//! The default chain is llama.cpp's: logit bias, penalties, DRY, top-nσ, top-k, typical, top-p, min-p, XTC, temperature,
//! and a draw from what is left. Temperature 0 is its own branch: bias, penalties and DRY, then the largest logit.
//!
//! The same options, seed, logits and accepted tokens give the same tokens on every machine: the arithmetic is defined
//! in `math.rs`, the random stream in `rng.rs`, ties fall to the lower token id, and no result depends on how a selection
//! algorithm orders what it does not sort. Each sampled token takes one random number (one more with XTC in the chain;
//! none when greedy).
//!
//! An infinite logit is defined: `-inf` excludes a token; `+inf` takes all the probability, several share it equally.
//! NaN is an error that names the token.

mod candidates;
mod draw;
mod dry;
mod history;
mod logit_bias;
mod math;
mod mirostat;
mod options;
mod penalties;
mod rng;
mod select;
mod stage;
mod temperature;
mod truncate;
mod typical;
mod xtc;

pub use candidates::Candidates;
pub use dry::Dry;
pub use logit_bias::LogitBias;
pub use mirostat::{Mirostat, MirostatVersion};
pub use options::{SamplerOptions, StageName};
pub use penalties::Penalties;
pub use rng::Rng;
pub use stage::{Stage, StageClone};
pub use temperature::Temperature;
pub use truncate::{MinP, TopK, TopNSigma, TopP};
pub use typical::Typical;
pub use xtc::Xtc;

use crate::error::{Result, bail};
use crate::fallible;

/// A sampled token.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// The token.
    pub token: u32,
    /// Its log-probability (nats) in the model's own distribution: the softmax of the logits as they were given, before
    /// any stage. `None` unless [`SamplerOptions::logprobs`] asks for it.
    pub logprob: Option<f32>,
    /// The most probable tokens of that distribution with their log-probabilities, most probable first, as many as
    /// [`SamplerOptions::logprobs`] asks for; the picked token need not be among them.
    pub top: Vec<(u32, f32)>,
}

/// The chain, its random stream and its memory of accepted tokens. A clone goes on alike and apart.
///
/// After the first tokens a sampler allocates nothing per token, but for [`Pick::top`] and an unlimited penalty window.
#[derive(Clone)]
pub struct Sampler {
    n_vocab: usize,
    seed: u64,
    rng: Rng,
    stages: Vec<Box<dyn Stage>>,
    picker: Picker,
    logprobs: Option<usize>,
    candidates: Candidates,
    entries: Vec<select::Entry>, // scratch of the top logprobs
}

#[derive(Clone)]
enum Picker {
    Greedy,
    Draw,
    Mirostat(Mirostat),
}

impl Sampler {
    /// A sampler for logits of `n_vocab` tokens. An option out of range is an error that names it.
    pub fn new(options: &SamplerOptions, n_vocab: usize) -> Result<Sampler> {
        if n_vocab == 0 || u32::try_from(n_vocab).is_err() {
            bail!(InvalidArgument, "n_vocab is {n_vocab}, allowed is 1 to {}", u32::MAX);
        }
        options.check(n_vocab)?;
        // The candidates, and as many entries when they are selected.
        fallible::expect_room(n_vocab.saturating_mul(4 * size_of::<u32>()), "the candidates of a sampler")?;
        let picker = match options.mirostat {
            _ if options.temp <= 0.0 => Picker::Greedy,
            Some(version) => {
                Picker::Mirostat(Mirostat::new(version, options.mirostat_tau, options.mirostat_eta, n_vocab))
            }
            None => Picker::Draw,
        };
        let mut stages: Vec<Box<dyn Stage>> = Vec::new();
        if !options.logit_bias.is_empty() {
            stages.push(Box::new(LogitBias::new(&options.logit_bias)));
        }
        for &name in options.samplers.iter().filter(|name| is_in_chain(**name, &picker)) {
            stages.extend(build_stage(name, options)?);
        }
        let seed = options.seed.unwrap_or_else(rng::random_seed);
        Ok(Sampler {
            n_vocab,
            seed,
            rng: Rng::new(seed),
            stages,
            picker,
            logprobs: options.logprobs,
            candidates: Candidates::new(n_vocab),
            entries: Vec::new(),
        })
    }

    /// The seed of the random stream, given or drawn.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Puts a stage of the caller's own in front of the chain: constraints, for example.
    pub fn push_front(&mut self, stage: Box<dyn Stage>) {
        self.stages.insert(0, stage);
    }

    /// Picks a token from `logits`, `(n_vocab)`. The pick is not accepted by itself: the caller calls [`Self::accept`]
    /// with what it really goes on with.
    ///
    /// Errors: a wrong length, a NaN (named), no logit above `-inf`, or bias that excludes every token.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Pick> {
        if logits.len() != self.n_vocab {
            bail!(InvalidArgument, "{} logits for a vocabulary of {}", logits.len(), self.n_vocab);
        }
        if math::has_nan(logits)
            && let Some(token) = logits.iter().position(|x| x.is_nan())
        {
            bail!(InvalidArgument, "the logit of token {token} is not a number");
        }
        if math::max(logits) == f32::NEG_INFINITY {
            bail!(InvalidArgument, "the logits of all {} tokens are -inf", self.n_vocab);
        }
        let token = if self.is_argmax() {
            math::argmax(logits).map(|i| i as u32)
        } else {
            self.candidates.load(logits);
            self.run_chain()
        };
        let Some(token) = token else {
            bail!(InvalidArgument, "every token is excluded by logit_bias");
        };
        let mut pick = Pick { token, logprob: None, top: Vec::new() };
        if let Some(n) = self.logprobs {
            self.add_logprobs(logits, n, &mut pick);
        }
        Ok(pick)
    }

    /// How many of the largest logits decide which token is picked; `None` where all do: where log-probabilities are wanted, or where
    /// something looks at logits before the largest are chosen.
    pub fn n_deciding(&self) -> Option<usize> {
        match self.logprobs {
            Some(_) => None,
            None if self.is_argmax() => Some(1),
            None => self.stages.first()?.keeps_top(),
        }
    }

    /// [`sample`](Self::sample) from the largest logits, at least [`n_deciding`](Self::n_deciding) of them, in any order: tokens and
    /// their logits. The pick is the same, and so are the errors. Of equal logits those of lower tokens must be there; a NaN must be,
    /// too, and the one of the lowest token.
    pub fn sample_top(&mut self, top: impl IntoIterator<Item = (u32, f32)> + Clone) -> Result<Pick> {
        let (mut not_a_number, mut max, mut n) = (None::<u32>, f32::NEG_INFINITY, 0);
        for (token, logit) in top.clone() {
            if token as usize >= self.n_vocab {
                bail!(InvalidArgument, "token {token} is outside the vocabulary of {}", self.n_vocab);
            }
            if logit.is_nan() {
                not_a_number = Some(not_a_number.map_or(token, |known| known.min(token)));
            }
            max = max.max(logit);
            n += 1;
        }
        if let Some(token) = not_a_number {
            bail!(InvalidArgument, "the logit of token {token} is not a number");
        }
        match self.n_deciding() {
            Some(deciding) if n >= deciding.min(self.n_vocab) => {}
            Some(deciding) => bail!(InvalidArgument, "{n} logits, where {deciding} decide"),
            None => bail!(InvalidState, "this sampler needs all logits"),
        }
        if max == f32::NEG_INFINITY {
            bail!(InvalidArgument, "the logits of all {} tokens are -inf", self.n_vocab);
        }
        self.candidates.load_some(top);
        match self.run_chain() {
            Some(token) => Ok(Pick { token, logprob: None, top: Vec::new() }),
            None => bail!(InvalidArgument, "every token is excluded by logit_bias"),
        }
    }

    /// Whether the largest logit is picked as it is.
    fn is_argmax(&self) -> bool {
        self.stages.is_empty() && matches!(self.picker, Picker::Greedy)
    }

    /// The picked token of the candidates, `None` when the chain leaves none.
    fn run_chain(&mut self) -> Option<u32> {
        for stage in &mut self.stages {
            stage.apply(&mut self.candidates, &mut self.rng);
        }
        match &mut self.picker {
            Picker::Greedy => math::argmax(self.candidates.logits()).map(|i| self.candidates.id(i)),
            Picker::Draw => draw::draw(&self.candidates, &mut self.rng).map(|drawn| drawn.token),
            Picker::Mirostat(mirostat) => mirostat.pick(&mut self.candidates, &mut self.rng),
        }
    }

    fn add_logprobs(&mut self, logits: &[f32], n: usize, pick: &mut Pick) {
        let max = math::max(logits);
        let ln_mass = libm::log(math::mass(logits, max));
        let logprob = |logit: f32| (f64::from(math::below_max(logit, max)) - ln_mass) as f32;
        pick.logprob = Some(logprob(logits[pick.token as usize]));
        select::top(logits, n, &mut self.entries);
        pick.top = self.entries.iter().map(|e| (e.index, logprob(e.logit))).collect();
    }

    /// Takes note of a token that the text now holds: each token of the prompt, then each picked one. An id outside the
    /// vocabulary is an error.
    pub fn accept(&mut self, token: u32) -> Result<()> {
        if token as usize >= self.n_vocab {
            bail!(InvalidArgument, "token {token} is outside the vocabulary of {}", self.n_vocab);
        }
        self.stages.iter_mut().for_each(|stage| stage.accept(token));
        Ok(())
    }

    /// Back to the state after [`Self::new`], with the same seed: nothing accepted, the random stream from its start.
    pub fn reset(&mut self) {
        self.rng = Rng::new(self.seed);
        self.stages.iter_mut().for_each(|stage| stage.reset());
        if let Picker::Mirostat(mirostat) = &mut self.picker {
            mirostat.reset();
        }
    }
}

/// Greedy keeps the stages that edit logits for a reason of content; Mirostat adds the temperature. The truncating ones
/// have no place beside either.
fn is_in_chain(name: StageName, picker: &Picker) -> bool {
    match picker {
        Picker::Greedy => matches!(name, StageName::Penalties | StageName::Dry),
        Picker::Mirostat(_) => matches!(name, StageName::Penalties | StageName::Dry | StageName::Temperature),
        Picker::Draw => true,
    }
}

/// The stage of that name, `None` when its options turn it off.
fn build_stage(name: StageName, o: &SamplerOptions) -> Result<Option<Box<dyn Stage>>> {
    fn on(active: bool, stage: impl Stage + 'static) -> Option<Box<dyn Stage>> {
        if active { Some(Box::new(stage)) } else { None }
    }
    Ok(match name {
        StageName::Penalties => {
            let changes = o.repeat_penalty != 1.0 || o.frequency_penalty != 0.0 || o.presence_penalty != 0.0;
            let last_n = options::window("penalty_last_n", o.penalty_last_n)?;
            let stage = Penalties::new(last_n, o.repeat_penalty, o.frequency_penalty, o.presence_penalty);
            on(changes && last_n != Some(0), stage)
        }
        StageName::Dry => {
            let last_n = options::window("dry_penalty_last_n", o.dry_penalty_last_n)?;
            let breakers = &o.dry_sequence_breakers;
            let stage = Dry::new(o.dry_multiplier, o.dry_base, o.dry_allowed_length, last_n, breakers);
            on(o.dry_multiplier > 0.0 && last_n != Some(0), stage)
        }
        StageName::TopNSigma => on(o.top_n_sigma > 0.0, TopNSigma(o.top_n_sigma)),
        StageName::TopK => on(o.top_k > 0, TopK(o.top_k)),
        StageName::TypicalP => on(o.typical_p < 1.0, Typical::new(o.typical_p)),
        StageName::TopP => on(o.top_p < 1.0, TopP(o.top_p)),
        StageName::MinP => on(o.min_p > 0.0, MinP(o.min_p)),
        StageName::Xtc => {
            let stage = Xtc { probability: o.xtc_probability, threshold: o.xtc_threshold };
            on(o.xtc_probability > 0.0 && o.xtc_threshold <= 0.5, stage)
        }
        StageName::Temperature => {
            let stage = Temperature { temp: o.temp, range: o.dynatemp_range, exponent: o.dynatemp_exponent };
            on(o.temp != 1.0 || o.dynatemp_range > 0.0, stage)
        }
    })
}
