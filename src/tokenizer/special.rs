//! Which tokens have a role: the ids that the file names, and the well-known texts of tokens that it should have named.

use super::vocabulary::{NamedIds, TokenKind, TokenTexts};

/// Tokens with a role, each absent or inside the vocabulary.
#[derive(Debug, Default)]
pub(super) struct SpecialTokens {
    pub ids: NamedIds,
    /// Ascending.
    pub end_of_generation: Vec<u32>,
}

type Role = fn(&mut NamedIds) -> &mut Option<u32>;

/// Texts that give a role to a token where the metadata does not: the first that exists counts.
#[rustfmt::skip]
const KNOWN_TEXTS: &[(Role, &[&str])] = &[
    (|ids| &mut ids.eot, &[
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>", "[EOT]",
        "<｜end▁of▁sentence｜>", "<end_of_utterance>",
    ]),
    (|ids| &mut ids.eom, &["<|eom_id|>"]),
    (|ids| &mut ids.fim_pre, &[
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>",
    ]),
    (|ids| &mut ids.fim_suf, &[
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>",
    ]),
    (|ids| &mut ids.fim_mid, &[
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>",
    ]),
    (|ids| &mut ids.fim_pad, &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    (|ids| &mut ids.fim_rep, &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    (|ids| &mut ids.fim_sep, &["<|file_sep|>"]),
];

/// Texts that end a generation wherever they are tokens.
#[rustfmt::skip]
const ENDS: &[&str] = &[
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>", "<|endoftext|>",
    "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>",
    "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
];

/// Texts that mark structure inside an answer and must stay visible in it.
const VISIBLE: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

impl SpecialTokens {
    /// Checks the ids that the file names, finds those that it does not name, and corrects the kinds of tokens whose text
    /// gives them away. What it ignores or corrects is told in `notes`.
    pub(super) fn resolve(
        named: &NamedIds,
        texts: &TokenTexts,
        kinds: &mut [TokenKind],
        notes: &mut Vec<String>,
    ) -> SpecialTokens {
        let mut special = SpecialTokens { ids: named.clone(), end_of_generation: Vec::new() };
        special.drop_outside(texts.len(), notes);
        for (role, known) in KNOWN_TEXTS {
            let id = role(&mut special.ids);
            if id.is_none() {
                *id = known.iter().find_map(|text| texts.id(text));
                id.iter().for_each(|&id| set_kind(kinds, id, TokenKind::Control));
            }
        }
        special.find_ends(texts, kinds);
        VISIBLE.iter().filter_map(|text| texts.id(text)).for_each(|id| set_kind(kinds, id, TokenKind::UserDefined));
        special
    }

    fn drop_outside(&mut self, n_vocab: usize, notes: &mut Vec<String>) {
        let ids = &mut self.ids;
        let all: [(&str, &mut Option<u32>); 14] = [
            ("bos", &mut ids.bos),
            ("eos", &mut ids.eos),
            ("eot", &mut ids.eot),
            ("eom", &mut ids.eom),
            ("unknown", &mut ids.unk),
            ("seperator", &mut ids.sep),
            ("padding", &mut ids.pad),
            ("mask", &mut ids.mask),
            ("fim_pre", &mut ids.fim_pre),
            ("fim_suf", &mut ids.fim_suf),
            ("fim_mid", &mut ids.fim_mid),
            ("fim_pad", &mut ids.fim_pad),
            ("fim_rep", &mut ids.fim_rep),
            ("fim_sep", &mut ids.fim_sep),
        ];
        for (name, id) in all {
            if let Some(outside) = id.take_if(|id| *id as usize >= n_vocab) {
                notes.push(format!(
                    "{name}_token_id {outside} is outside the vocabulary of {n_vocab} tokens and is ignored"
                ));
            }
        }
    }

    fn find_ends(&mut self, texts: &TokenTexts, kinds: &mut [TokenKind]) {
        let ids = &self.ids;
        let mut ends: Vec<u32> = [ids.fim_pad, ids.fim_rep, ids.fim_sep].into_iter().flatten().collect();
        for id in ENDS.iter().filter_map(|text| texts.id(text)) {
            ends.push(id);
            set_kind(kinds, id, TokenKind::Control);
        }
        ends.extend([ids.eos, ids.eot, ids.eom].into_iter().flatten());
        ends.sort_unstable();
        ends.dedup();

        let found = |text: &str| texts.id(text).filter(|id| ends.binary_search(id).is_ok());
        let mut not_an_end = Vec::new();
        // Where the answer has parts that end in `<|end|>`, something else ends the answer.
        let call = found("<|call|>").or(found("<|calls|>"));
        if call.is_some() && (found("<|return|>").or(found("<|flush|>"))).is_some() {
            not_an_end.extend(found("<|end|>").map(|id| (id, TokenKind::UserDefined)));
        }
        // Vocabularies with these have an ordinary token `</s>`.
        if found("<|tool_response>").or(found("<|plamo:eos|>")).is_some() {
            not_an_end.extend(found("</s>").map(|id| (id, TokenKind::Normal)));
        }
        for (id, kind) in not_an_end {
            ends.retain(|end| *end != id);
            set_kind(kinds, id, kind);
        }
        self.end_of_generation = ends;
    }
}

fn set_kind(kinds: &mut [TokenKind], id: u32, kind: TokenKind) {
    if let Some(slot) = kinds.get_mut(id as usize) {
        *slot = kind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(tokens: &[&str], named: NamedIds) -> (SpecialTokens, Vec<TokenKind>, Vec<String>) {
        let texts = TokenTexts::new(tokens.iter().copied()).unwrap();
        let mut kinds = vec![TokenKind::Normal; tokens.len()];
        let mut notes = vec![];
        let special = SpecialTokens::resolve(&named, &texts, &mut kinds, &mut notes);
        (special, kinds, notes)
    }

    #[test]
    fn ids_and_well_known_texts_end_a_generation() {
        let named = NamedIds { eos: Some(1), bos: Some(0), ..Default::default() };
        let (special, kinds, notes) = resolve(&["<s>", "stop", "<|im_end|>", "<|file_sep|>", "a"], named);
        assert_eq!(special.end_of_generation, [1, 2, 3]);
        assert_eq!((special.ids.eot, special.ids.fim_sep), (Some(2), Some(3)));
        assert_eq!(kinds[2], TokenKind::Control);
        assert!(notes.is_empty());
    }

    #[test]
    fn an_end_of_part_is_not_an_end_of_generation() {
        let (special, kinds, _) = resolve(&["<|end|>", "<|call|>", "<|return|>"], NamedIds::default());
        assert_eq!((special.end_of_generation, kinds[0]), (vec![1, 2], TokenKind::UserDefined));
        let (special, kinds, _) = resolve(&["</s>", "<|tool_response>"], NamedIds::default());
        assert_eq!((special.end_of_generation, kinds[0]), (vec![1], TokenKind::Normal));
    }

    #[test]
    fn ids_outside_the_vocabulary_are_ignored_and_told() {
        let named = NamedIds { eos: Some(2), bos: Some(u32::MAX), unk: Some(0), ..Default::default() };
        let (special, _, notes) = resolve(&["a"], named);
        assert_eq!((special.ids.eos, special.ids.bos, special.ids.unk), (None, None, Some(0)));
        assert_eq!(notes.len(), 2);
        assert!(notes[1].contains("eos_token_id 2"), "{notes:?}");
    }
}
