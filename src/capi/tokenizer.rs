//! Tokenizers: text to tokens and back.

use std::ffi::c_char;
use std::ops::Deref;
use std::sync::Arc;

use super::boundary::{Out, call, handle, slice, text, value};
use super::file::oribi_file;
use super::handle::{free, give};
use super::model::oribi_model;
use super::status::oribi_status;
use super::text::{Lent, oribi_bytes, oribi_text, oribi_tokens};
use crate::error::{Result, bail};
use crate::model::Model;
use crate::tokenizer::{TokenKind, Tokenizer};

/// The tokenizer of a model or of a file. Immutable.
pub struct oribi_tokenizer(pub(super) SharedTokenizer);

/// A tokenizer that several handles keep alive.
#[derive(Clone)]
pub(super) enum SharedTokenizer {
    OfModel(Arc<Model>),
    OfFile(Arc<Tokenizer>),
}

impl Deref for SharedTokenizer {
    type Target = Tokenizer;

    fn deref(&self) -> &Tokenizer {
        match self {
            SharedTokenizer::OfModel(model) => model.tokenizer(),
            SharedTokenizer::OfFile(tokenizer) => tokenizer,
        }
    }
}

/// What a token is for.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_token_kind {
    /// The file gives no meaning.
    UNDEFINED = 0,
    /// Ordinary text.
    NORMAL = 1,
    /// Stands for what the vocabulary cannot express.
    UNKNOWN = 2,
    /// Structure, for example the end of a turn; never part of a text.
    CONTROL = 3,
    /// Text that is one token wherever it occurs.
    USER_DEFINED = 4,
    /// Reserved.
    UNUSED = 5,
    /// One byte.
    BYTE = 6,
}

/// The roles that a vocabulary may give to a token.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_role_token {
    /// Beginning of a sequence.
    BOS = 0,
    /// End of a sequence.
    EOS = 1,
    /// End of a turn.
    EOT = 2,
    /// End of a message that calls a tool.
    EOM = 3,
    /// What the vocabulary cannot express.
    UNK = 4,
    /// Separator.
    SEP = 5,
    /// Padding.
    PAD = 6,
    /// Mask.
    MASK = 7,
    /// Fill in the middle: what stands before the gap.
    FIM_PRE = 8,
    /// Fill in the middle: what stands behind the gap.
    FIM_SUF = 9,
    /// Fill in the middle: the gap.
    FIM_MID = 10,
    /// Fill in the middle: padding.
    FIM_PAD = 11,
    /// Fill in the middle: repository.
    FIM_REP = 12,
    /// Fill in the middle: file separator.
    FIM_SEP = 13,
}

/// The tokenizer of a loaded model, which it keeps alive.
///
/// The host frees the result with oribi_tokenizer_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_tokenizer(
    model: *const oribi_model,
    tokenizer: *mut *mut oribi_tokenizer,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (model, out) = unsafe { (handle(model, "model")?, Out::new(tokenizer, "tokenizer")?) };
        give(out, oribi_tokenizer(SharedTokenizer::OfModel(Arc::clone(&model.model))));
        Ok(())
    })
}

/// The tokenizer of a file, without loading the model. The file may be freed at any time.
///
/// The host frees the result with oribi_tokenizer_free(). Threads: any. Errors: ORIBI_STATUS_MISSING_KEY, _WRONG_TYPE,
/// _INVALID_FILE, _INVALID_MODEL for a file that contradicts itself; ORIBI_STATUS_UNSUPPORTED; ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_tokenizer(
    file: *const oribi_file,
    tokenizer: *mut *mut oribi_tokenizer,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (file, out) = unsafe { (handle(file, "file")?, Out::new(tokenizer, "tokenizer")?) };
        give(out, oribi_tokenizer(SharedTokenizer::OfFile(Arc::new(Tokenizer::from_gguf(&file.0)?))));
        Ok(())
    })
}

/// Free a tokenizer. NULL is allowed.
///
/// Threads: any, when nobody uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_free(tokenizer: *mut oribi_tokenizer) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(tokenizer) }
}

/// The number of tokens in the vocabulary. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_n_tokens(tokenizer: *const oribi_tokenizer) -> usize {
    // SAFETY: NULL or a live handle.
    value(0, || Some(unsafe { handle(tokenizer, "tokenizer") }.ok()?.0.n_vocab()))
}

/// The tokens of a text. With `add_special`, the tokens that the model wants around a sequence are added (a beginning in front, an
/// end behind, where the file asks for them). With `parse_special`, the texts of control tokens become those tokens; without it they
/// are ordinary text, which is right for anything that a user writes.
///
/// The host frees the result with oribi_tokens_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT for a
/// text that is not UTF-8, longer than 4 GiB, or not expressible in the vocabulary; ORIBI_STATUS_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_encode(
    tokenizer: *const oribi_tokenizer,
    text: *const c_char,
    len_bytes: usize,
    add_special: bool,
    parse_special: bool,
    tokens: *mut *mut oribi_tokens,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (tokenizer, text, out) = unsafe {
            (handle(tokenizer, "tokenizer")?, self::text(text, len_bytes, "text")?, Out::new(tokens, "tokens")?)
        };
        give(out, oribi_tokens(tokenizer.0.encode(text, add_special, parse_special)?));
        Ok(())
    })
}

/// The tokens of a prompt that a chat template rendered: control tokens count, and a beginning is put in front only if the template
/// has not written it.
///
/// Ownership, threads and errors as for oribi_tokenizer_encode().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_encode_prompt(
    tokenizer: *const oribi_tokenizer,
    text: *const c_char,
    len_bytes: usize,
    tokens: *mut *mut oribi_tokens,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (tokenizer, text, out) = unsafe {
            (handle(tokenizer, "tokenizer")?, self::text(text, len_bytes, "text")?, Out::new(tokens, "tokens")?)
        };
        give(out, oribi_tokens(tokenizer.0.encode_prompt(text)?));
        Ok(())
    })
}

/// The text of a whole sequence. Control tokens are left out, or with `with_special` shown as the vocabulary writes them. Bytes that
/// form no character become U+FFFD. For tokens that come one by one there is oribi_decoder.
///
/// The host frees the result with oribi_text_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also for
/// a token outside the vocabulary; ORIBI_STATUS_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_decode(
    tokenizer: *const oribi_tokenizer,
    tokens: *const u32,
    n_tokens: usize,
    with_special: bool,
    text: *mut *mut oribi_text,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (tokenizer, tokens, out) =
            unsafe { (handle(tokenizer, "tokenizer")?, slice(tokens, n_tokens, "tokens")?, Out::new(text, "text")?) };
        let decoded = match with_special {
            true => tokenizer.0.decode_with_special(tokens)?,
            false => tokenizer.0.decode(tokens)?,
        };
        give(out, oribi_text::new(decoded)?);
        Ok(())
    })
}

fn outside<T>(tokenizer: &Tokenizer, token: u32) -> Result<T> {
    bail!(InvalidArgument, "token {token} is outside the vocabulary of {}", tokenizer.n_vocab())
}

/// A token as the vocabulary writes it: `len_bytes` bytes of UTF-8 without a NUL behind them.
///
/// Lent until the tokenizer is freed. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_token_text(
    tokenizer: *const oribi_tokenizer,
    token: u32,
    text: *mut *const c_char,
    len_bytes: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (tokenizer, out) = unsafe { (handle(tokenizer, "tokenizer")?, Lent::new(text, len_bytes)?) };
        match tokenizer.0.token_text(token) {
            Some(text) => out.set(text.as_bytes()),
            None => return outside(&tokenizer.0, token),
        }
        Ok(())
    })
}

/// The bytes that a token adds to a text, for a control token its name: any bytes, perhaps a part of a character.
///
/// The host frees the result with oribi_bytes_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_token_bytes(
    tokenizer: *const oribi_tokenizer,
    token: u32,
    bytes: *mut *mut oribi_bytes,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (tokenizer, out) = unsafe { (handle(tokenizer, "tokenizer")?, Out::new(bytes, "bytes")?) };
        match tokenizer.0.token_bytes(token) {
            Some(bytes) => give(out, oribi_bytes(bytes.into_owned())),
            None => return outside(&tokenizer.0, token),
        }
        Ok(())
    })
}

/// What a token is for.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_token_kind(
    tokenizer: *const oribi_tokenizer,
    token: u32,
    kind: *mut oribi_token_kind,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (tokenizer, out) = unsafe { (handle(tokenizer, "tokenizer")?, Out::new(kind, "kind")?) };
        out.set(match tokenizer.0.kind(token) {
            Some(TokenKind::Undefined) => oribi_token_kind::UNDEFINED,
            Some(TokenKind::Normal) => oribi_token_kind::NORMAL,
            Some(TokenKind::Unknown) => oribi_token_kind::UNKNOWN,
            Some(TokenKind::Control) => oribi_token_kind::CONTROL,
            Some(TokenKind::UserDefined) => oribi_token_kind::USER_DEFINED,
            Some(TokenKind::Unused) => oribi_token_kind::UNUSED,
            Some(TokenKind::Byte) => oribi_token_kind::BYTE,
            None => return outside(&tokenizer.0, token),
        });
        Ok(())
    })
}

/// Whether a generation ends with this token. False for NULL and for a token outside the vocabulary.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_is_end(tokenizer: *const oribi_tokenizer, token: u32) -> bool {
    // SAFETY: NULL or a live handle.
    value(false, || Some(unsafe { handle(tokenizer, "tokenizer") }.ok()?.0.is_end_of_generation(token)))
}

/// The token that the vocabulary writes exactly so.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_MISSING_KEY if there is none; ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_find(
    tokenizer: *const oribi_tokenizer,
    text: *const c_char,
    len_bytes: usize,
    token: *mut u32,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (tokenizer, text, out) = unsafe {
            (handle(tokenizer, "tokenizer")?, self::text(text, len_bytes, "text")?, Out::new(token, "token")?)
        };
        match tokenizer.0.token_id(text) {
            Some(id) => out.set(id),
            None => bail!(MissingKey, "the vocabulary has no token {text:?}"),
        }
        Ok(())
    })
}

/// The token of a role, a value of oribi_role_token.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_MISSING_KEY if the vocabulary gives that role to no token;
/// ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_role_token(
    tokenizer: *const oribi_tokenizer,
    role: i32,
    token: *mut u32,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (tokenizer, out) = unsafe { (handle(tokenizer, "tokenizer")?, Out::new(token, "token")?) };
        let ids = tokenizer.0.special_ids();
        let roles = [
            (oribi_role_token::BOS, ids.bos),
            (oribi_role_token::EOS, ids.eos),
            (oribi_role_token::EOT, ids.eot),
            (oribi_role_token::EOM, ids.eom),
            (oribi_role_token::UNK, ids.unk),
            (oribi_role_token::SEP, ids.sep),
            (oribi_role_token::PAD, ids.pad),
            (oribi_role_token::MASK, ids.mask),
            (oribi_role_token::FIM_PRE, ids.fim_pre),
            (oribi_role_token::FIM_SUF, ids.fim_suf),
            (oribi_role_token::FIM_MID, ids.fim_mid),
            (oribi_role_token::FIM_PAD, ids.fim_pad),
            (oribi_role_token::FIM_REP, ids.fim_rep),
            (oribi_role_token::FIM_SEP, ids.fim_sep),
        ];
        match roles.into_iter().find(|(known, _)| *known as i32 == role) {
            Some((_, Some(id))) => out.set(id),
            Some((_, None)) => bail!(MissingKey, "the vocabulary gives role {role} to no token"),
            None => bail!(InvalidArgument, "role is {role}, not a value of oribi_role_token"),
        }
        Ok(())
    })
}

/// Whether oribi_tokenizer_encode() with `add_special` puts a beginning in front. False for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_adds_bos(tokenizer: *const oribi_tokenizer) -> bool {
    // SAFETY: NULL or a live handle.
    value(false, || Some(unsafe { handle(tokenizer, "tokenizer") }.ok()?.0.adds_bos()))
}

/// Whether oribi_tokenizer_encode() with `add_special` puts an end behind. False for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokenizer_adds_eos(tokenizer: *const oribi_tokenizer) -> bool {
    // SAFETY: NULL or a live handle.
    value(false, || Some(unsafe { handle(tokenizer, "tokenizer") }.ok()?.0.adds_eos()))
}
