//! Prompts against those of Python: `tests/data/chat_prompts.json` holds what jinja2 3.1.6 gives for the templates in the model files
//! when it is set up as `transformers` does.

mod common;

use oribi::ErrorKind;
use oribi::chat::{ChatTemplate, Message, RenderOptions, SpecialTexts};
use oribi::gguf::Gguf;

fn special() -> SpecialTexts {
    SpecialTexts { bos: "<s>".to_owned(), eos: "</s>".to_owned(), ..Default::default() }
}

fn render(source: &str, messages: &[Message]) -> String {
    ChatTemplate::from_source(source, special()).unwrap().render(messages, true).unwrap()
}

fn open(file: &str) -> Gguf {
    let path = if file.starts_with("ggml-vocab") { common::vocab(file) } else { common::model(file) };
    Gguf::open(&path).unwrap()
}

#[test]
fn prompts_equal_those_of_python() {
    let cases: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(common::data("chat_prompts.json")).unwrap()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    for case in cases.as_array().unwrap() {
        let (file, name) = (text(&case["file"]), text(&case["name"]));
        let messages: Vec<Message> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| Message::new(text(&message["role"]), text(&message["content"])))
            .collect();
        let template = ChatTemplate::from_gguf(&open(&file)).unwrap().expect("a template");
        let prompt = template.render(&messages, case["add_generation_prompt"].as_bool().unwrap()).unwrap();
        assert_eq!(prompt, text(&case["expected"]), "{file} {name}");
    }
}

#[test]
fn a_file_without_a_template_says_so_and_takes_another() {
    let gguf = open("gemma-3-270m-q4_k_m.gguf");
    assert!(ChatTemplate::from_gguf(&gguf).unwrap().is_none());
    let error = ChatTemplate::choose(&gguf, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Template);
    assert!(error.to_string().contains("gemma") && error.to_string().contains("tokenizer.chat_template"), "{error}");
    let gemma = ChatTemplate::choose(&gguf, Some("gemma")).unwrap();
    assert_eq!(
        gemma.render(&[Message::new("system", "Be kind."), Message::new("user", " Hi ")], true).unwrap(),
        "<bos><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    );
    assert_eq!(ChatTemplate::choose(&gguf, Some("{{ eos_token }}")).unwrap().render(&[], true).unwrap(), "<eos>");
    let unknown = ChatTemplate::choose(&gguf, Some("no-such")).unwrap_err();
    assert!(unknown.to_string().contains("`no-such`") && unknown.to_string().contains("chatml"), "{unknown}");
}

#[test]
fn templates_under_a_name() {
    let gguf = open("ggml-vocab-command-r.gguf");
    let rag = ChatTemplate::choose(&gguf, Some("rag")).unwrap();
    assert!(rag.source().contains("documents"));
    assert!(ChatTemplate::named(&gguf, "tool_use").unwrap().is_some());
    assert!(ChatTemplate::named(&gguf, "other").unwrap().is_none());
}

#[test]
fn built_in_templates() {
    let messages = [
        Message::new("system", "S"),
        Message::new("user", "U"),
        Message::new("assistant", "A"),
        Message::new("user", "V"),
    ];
    let expected = [
        (
            "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n",
        ),
        ("llama2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]"),
        (
            "llama3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "gemma",
            "<s><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n",
        ),
        ("mistral", "<s>[INST] S\n\nU [/INST] A</s>[INST] V [/INST]"),
        (
            "phi3",
            "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nV<|end|>\n<|assistant|>\n",
        ),
        ("zephyr", "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|user|>\nV</s>\n<|assistant|>\n"),
        ("vicuna", "S\n\nUSER: U\nASSISTANT: A</s>\nUSER: V\nASSISTANT:"),
        ("deepseek", "<s>S<｜User｜>U<｜Assistant｜>A<｜end▁of▁sentence｜><｜User｜>V<｜Assistant｜>"),
        (
            "command-r",
            "<s><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>S<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>U<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>A<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>V<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        ),
    ];
    assert!(ChatTemplate::builtin_names().eq(expected.iter().map(|e| e.0)));
    let gguf = open("gemma-3-270m-q4_k_m.gguf");
    for (name, prompt) in expected {
        let source = ChatTemplate::choose(&gguf, Some(name)).unwrap().source().to_owned();
        assert_eq!(render(&source, &messages), prompt, "{name}");
    }
}

#[test]
fn errors_name_the_line() {
    let wrong = ChatTemplate::from_source("a\n{% if %}", special()).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Template);
    assert!(wrong.to_string().contains("line 2"), "{wrong}");
    let refuses = "{# two\n lines #}\n{%- if x %}\ny{% endif %}\n{{ raise_exception('roles must alternate') }}";
    let refuses = ChatTemplate::from_source(refuses, special()).unwrap().render(&[], true).unwrap_err();
    assert!(refuses.to_string().contains("roles must alternate"), "{refuses}");
    assert!(refuses.to_string().contains("line 5"), "{refuses}");
    let undefined = ChatTemplate::from_source("\n\n{{ a.b.c }}", special()).unwrap().render(&[], true).unwrap_err();
    assert!(undefined.to_string().contains("line 3"), "{undefined}");
}

#[test]
fn the_language_is_that_of_transformers() {
    let of = |source: &str| render(source, &[Message::new("user", "Zoë \"q\" \\ \n\t</a>")]);
    // Blocks take the line end behind them and the spaces before them.
    assert_eq!(of("a\n  {% if true %}\n  b\n  {% endif %}\nc\n"), "a\n  b\nc");
    assert_eq!(
        of(
            "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        ),
        "0134"
    );
    assert_eq!(of("{{ messages[0].content | tojson }}"), r#""Zoë \"q\" \\ \n\t</a>""#);
    assert_eq!(of("{{ {'b': [1, 2.5, true, none], 'a': {}} | tojson }}"), r#"{"b": [1, 2.5, true, null], "a": {}}"#);
    assert_eq!(
        of("{{ {'b': [1], 'a': 'é'} | tojson(indent=2, sort_keys=true) }}"),
        "{\n  \"a\": \"é\",\n  \"b\": [\n    1\n  ]\n}"
    );
    assert_eq!(of("{{ 'é😀' | tojson(ensure_ascii=true) }}"), r#""\u00e9\ud83d\ude00""#);
    assert_eq!(of("{{ [1, 2] | tojson(separators=(',', ':')) }}"), "[1,2]");
    assert_eq!(of("{{ true }} {{ none }} {{ [1, 'a', none] }} {{ missing }}|"), "True None [1, 'a', None] |");
    assert_eq!(
        of("{{ ' x '.strip() }}{{ 'a,b'.split(',')[-1] }}{{ 'ab'.startswith('a') }}{{ 'AB'.lower() }}"),
        "xbTrueab"
    );
    assert_eq!(of("{{ messages[0].get('tool_calls', 'none') }}{{ messages[0].items() | length }}"), "none2");
    assert_eq!(of("{{ tools is none }}{{ bos_token }}{{ strftime_now('%Y') | int > 2000 }}"), "True<s>True");
    assert_eq!(of("{{ 2 * 3 }}{{ 'ab' * 2 }}{{ 2 * 'ab' }}{{ 7 // 2 * 2.5 }}{{ [1] * 2 }}"), "6abababab7.5[1, 1]");
    assert_eq!(
        of("{{ 'abc'[::-1] }}{{ 'abc'[1:] }}{{ [1, 2, 3][:-1] }}{{ 1 in [1] }}{{ 'a' not in 'abc' }}"),
        "cbabc[1, 2]TrueFalse"
    );
    assert_eq!(
        of(
            "{% generation %}x{% endgeneration %}{% macro m(a, b=2) %}{{ a + b }}{% endmacro %}{{ m(1) }}{{ m(1, b=3) }}"
        ),
        "x34"
    );
}

#[test]
fn tools_and_variables_reach_the_template() {
    let template = ChatTemplate::from_source(
        "{{ tools[0].function.name }} {{ enable_thinking }} {{ messages[0].tool_calls[0].id }}",
        special(),
    )
    .unwrap();
    let mut message = Message::new("assistant", "");
    message.extra.insert("tool_calls".to_owned(), serde_json::json!([{ "id": "c1" }]));
    let mut options =
        RenderOptions { tools: Some(serde_json::json!([{ "function": { "name": "f" } }])), ..Default::default() };
    options.variables.insert("enable_thinking".to_owned(), false.into());
    assert_eq!(template.render_with(&[message], true, &options).unwrap(), "f False c1");
}
