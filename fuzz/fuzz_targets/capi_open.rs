//! Any bytes as a model file, in memory and through a callback that reads in short pieces, with the same outcome. What opens is
//! looked at from all sides; what loads generates.
#![no_main]

use std::ffi::c_void;
use std::ptr::null;

use libfuzzer_sys::fuzz_target;
use oribi::capi::*;
use oribi_fuzz::*;

fuzz_target!(|bytes: &[u8]| {
    let in_memory = open_memory(bytes);
    let read = open_read_at(&bytes);
    assert_eq!(in_memory.is_some(), read.is_some(), "in memory and read: {}", last_error());
    for file in in_memory.iter().chain(&read) {
        look_at(file.raw);
        use_model(file.raw);
    }
});

/// A file that is read in pieces of 1 to 700 bytes; `bytes` must stay as long as what comes from it.
fn open_read_at(bytes: &&[u8]) -> Option<Handle<oribi_file>> {
    unsafe extern "C" fn read(userdata: *mut c_void, offset: u64, buffer: *mut c_void, len_bytes: usize) -> i64 {
        // SAFETY: what was given below.
        let bytes = unsafe { *userdata.cast::<&[u8]>() };
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let n = len_bytes.min(rest.len()).min(1 + (offset as usize).wrapping_mul(31) % 700);
        // SAFETY: the buffer has room for `len_bytes`.
        unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(rest.as_ptr(), n) };
        n as i64
    }
    let userdata = std::ptr::from_ref(bytes).cast_mut().cast();
    // SAFETY: the callback and what it needs.
    made(oribi_file_free, |out| unsafe { oribi_file_open_read_at(bytes.len() as u64, Some(read), None, userdata, out) })
}

fn look_at(file: *const oribi_file) {
    // SAFETY (all of it): a live handle, places for results, arrays of the lengths that are said.
    unsafe {
        assert!((1..=3).contains(&oribi_file_version(file)) && oribi_file_n_shards(file) == 1);
        for index in 0..oribi_file_n_metadata(file) {
            lent(|text, len| oribi_file_metadata_key(file, index, text, len)).expect("a key");
            let (mut value_type, mut is_array, mut n) = (oribi_value_type::U8, false, 0);
            assert!(ok(oribi_file_metadata_type(file, index, &mut value_type, &mut is_array, &mut n)));
            ok(oribi_file_metadata_ints(file, index, vec![0; n].as_mut_ptr(), n));
            ok(oribi_file_metadata_floats(file, index, vec![0.0; n].as_mut_ptr(), n));
            ok(oribi_file_metadata_bools(file, index, vec![false; n].as_mut_ptr(), n));
            let (mut texts, mut lens) = (vec![null(); n], vec![0; n]);
            if ok(oribi_file_metadata_texts(file, index, texts.as_mut_ptr(), lens.as_mut_ptr(), n)) {
                let texts =
                    texts.iter().zip(&lens).map(|(&text, &len)| std::slice::from_raw_parts(text.cast::<u8>(), len));
                std::hint::black_box(texts.flatten().fold(0u8, |sum, &byte| sum.wrapping_add(byte)));
            }
        }
        for index in 0..oribi_file_n_tensors(file) {
            lent(|text, len| oribi_file_tensor_name(file, index, text, len)).expect("a name");
            lent(|text, len| oribi_file_tensor_dtype(file, index, text, len)).expect("a format");
            let n_bytes: u64 = written(|out| oribi_file_tensor_len(file, index, out)).expect("a size");
            assert!(n_bytes <= oribi_file_len(file));
            let mut shape = [0; 4];
            let n_dims: usize =
                written(|out| oribi_file_tensor_shape(file, index, shape.as_mut_ptr(), out)).expect("a shape");
            assert!(n_dims <= 4);
        }
        let chat = made(oribi_chat_template_free, |out| oribi_chat_template_new(file, null(), out));
        let messages = made(oribi_messages_free, |out| oribi_messages_new(out)).expect("messages");
        assert!(ok(oribi_messages_add(messages.raw, c"user".as_ptr(), c"hello".as_ptr(), 5)));
        if let Some(chat) = chat {
            made(oribi_text_free, |out| oribi_chat_template_render(chat.raw, messages.raw, true, out));
        }
        if let Some(tokenizer) = made(oribi_tokenizer_free, |out| oribi_file_tokenizer(file, out)) {
            let n = oribi_tokenizer_n_tokens(tokenizer.raw);
            for text in ["", "hello  world", "<s>\u{2581}é😀\n</s>"] {
                let Some(tokens) = encode(tokenizer.raw, text.as_bytes(), true, true) else { continue };
                assert!(tokens.iter().all(|&token| (token as usize) < n));
                made(oribi_text_free, |out| {
                    oribi_tokenizer_decode(tokenizer.raw, tokens.as_ptr(), tokens.len(), true, out)
                })
                .expect("its own tokens");
            }
        }
    }
}

fn use_model(file: *const oribi_file) {
    let options = small_options();
    // SAFETY (all of it): live handles, places for results.
    unsafe {
        assert!(ok(oribi_options_set_int(options.raw, c"max_tokens".as_ptr(), 2)));
        let predicted: Option<u64> = written(|out| oribi_file_predict_memory(file, options.raw, 0, out));
        let Some(model) = made(oribi_model_free, |out| oribi_model_load(file, options.raw, out)) else { return };
        assert!(predicted.is_some_and(|n_bytes| n_bytes <= 256 << 20), "loaded past its budget: {predicted:?}");
        let Some(tokenizer) = made(oribi_tokenizer_free, |out| oribi_model_tokenizer(model.raw, out)) else { return };
        let Some(session) = made(oribi_session_free, |out| oribi_session_new(model.raw, options.raw, out)) else {
            return;
        };
        let Some(sampler) = made(oribi_sampler_free, |out| oribi_sampler_new(tokenizer.raw, options.raw, out)) else {
            return;
        };
        let sequence: u32 = written(|out| oribi_session_new_sequence(session.raw, out)).expect("a sequence");
        let prompt = [0, (oribi_model_n_tokens(model.raw) - 1) as u32, 0];
        let generation = made(oribi_generation_free, |out| {
            oribi_generation_new(session.raw, sequence, sampler.raw, prompt.as_ptr(), prompt.len(), options.raw, out)
        });
        let Some(generation) = generation else { return };
        let mut piece = null();
        // Weights may make logits that are no numbers: an error.
        while ok(oribi_generation_next(generation.raw, &mut piece)) && !piece.is_null() {
            let text = lent(|text, len| oribi_piece_text(piece, text, len)).expect("a text");
            std::str::from_utf8(text).expect("whole characters");
        }
    }
}
