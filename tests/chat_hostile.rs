//! Templates that were written to harm the host (CVE-2024-34359 and CVE-2026-5760: a template from a model file ran code). Each
//! ends in an error, soon, with little memory and on the stack it was given.

use oribi::ErrorKind;
use oribi::chat::{ChatTemplate, Limits, Message, RenderOptions, SpecialTexts};

/// With a sixteenth of the default budget for text, so that the tests are quick.
fn render(source: &str) -> Result<String, String> {
    let limits = Limits { text_bytes: Limits::default().text_bytes / 16, ..Default::default() };
    let template = ChatTemplate::from_source(source, SpecialTexts::default()).map_err(|e| check(&e))?;
    let options = RenderOptions { limits, ..Default::default() };
    template.render_with(&[Message::new("user", "hello")], true, &options).map_err(|e| check(&e))
}

fn check(error: &oribi::Error) -> String {
    assert_eq!(error.kind(), ErrorKind::Template);
    error.to_string()
}

/// The error must contain one of the words.
fn refused(source: &str, words: &[&str]) {
    let shown: String = source.chars().take(120).collect();
    match render(source) {
        Ok(text) => panic!("{shown} gave {} bytes", text.len()),
        Err(e) => assert!(words.iter().any(|word| e.contains(word)), "{shown}: {e}"),
    }
}

#[test]
fn endless_loops_run_out_of_steps() {
    refused("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", &["steps"]);
    refused("{% for a in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}", &["recursion", "steps"]);
    refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", &["recursion", "steps"]);
    refused(
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}",
        &["recursion"],
    );
    refused(
        "{% macro m() %}{{ caller() }}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{% call m() %}x{% endcall %}",
        &["recursion", "steps", "unknown", "callable"],
    );
}

#[test]
fn huge_ranges_and_repetitions() {
    refused("{{ range(10**9) | list }}", &["range"]);
    refused("{{ range(10**18) | length }}", &["range"]);
    refused("{{ 'a' * 10**9 }}", &["large", "limit"]);
    refused(
        "{{ ('a' * 99999999) | length }}{{ ('b' * 99999999) | length }}{{ ('c' * 99999999) | length }}",
        &["limit"],
    );
    refused("{{ 99999999 * 'a' ~ 99999999 * 'b' ~ 99999999 * 'c' }}", &["limit"]);
    refused("{{ ([1] * 10**9) | length }}", &["large", "limit"]);
    refused("{{ [[1] * 99999999, [2] * 99999999] | length }}", &["limit", "items"]);
    refused("{{ 10 ** 10 ** 10 }}", &["**"]);
}

/// Constants are folded when a template is compiled; that must not cost more than the template is long.
#[test]
fn products_of_constants_are_not_computed_when_compiling() {
    let source =
        format!("{{% if false %}}{}{{% endif %}}", "{{ 'a' * 99999999 }}{{ 9 * ['a'] * 99999999 }}\n".repeat(1000));
    assert_eq!(render(&source).unwrap(), "");
}

#[test]
fn text_that_doubles() {
    let double = |step: &str| {
        format!(
            "{{% set ns = namespace(x='aaaaaaaa') %}}{{% for i in range(60) %}}{{% set ns.x = {step} %}}{{% endfor %}}{{{{ ns.x }}}}"
        )
    };
    for step in [
        "ns.x ~ ns.x",
        "ns.x + ns.x",
        "ns.x * 2",
        "[ns.x, ns.x] | join",
        "''.join([ns.x, ns.x])",
        "ns.x | replace('a', 'aa')",
        "ns.x.replace('a', 'aa')",
        "'%s%s' | format(ns.x, ns.x)",
        "'{}{}'.format(ns.x, ns.x)",
        "[ns.x, ns.x] | string",
        "[ns.x, ns.x] | tojson",
        "('\n' ~ ns.x) | indent(i * 1000000)",
        "ns.x | escape | replace('a', '<&>')",
    ] {
        refused(&double(step), &["limit"]);
    }
    let captured = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}\
                    {% set ns.x = y %}{% endfor %}";
    refused(captured, &["limit"]);
}

#[test]
fn text_that_is_copied_without_end() {
    let text = "x".repeat(1 << 15);
    for body in [
        text.clone(),
        "{% set y = messages[0].content[1:] %}{{ y }}".to_owned() + &text,
        format!("{{% set t %}}{text}{{% endset %}}"),
        format!("{{% filter upper %}}{text}{{% endfilter %}}"),
    ] {
        refused(&format!("{{% for i in range(100000) %}}{body}{{% endfor %}}"), &["limit"]);
    }
    let macros = format!(
        "{{% macro m() %}}{text}{{% endmacro %}}{{% for i in range(100000) %}}{{% set x = m() %}}{{% endfor %}}"
    );
    refused(&macros, &["limit"]);
    let slices = format!(
        "{{% set t = '{text}' %}}{{% set ns = namespace(l=[]) %}}\
         {{% for i in range(100000) %}}{{% set ns.l = ns.l + [t[1:]] %}}{{% endfor %}}"
    );
    refused(&slices, &["limit"]);
}

#[test]
fn widths_and_counts_in_arguments() {
    for source in [
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%*d' | format(1000000000, 1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ '{:.1000000000f}'.format(1.5) }}",
        "{{ [1] | batch(1000000000, 'x') | list }}",
        "{{ [1] | slice(1000000000) | list }}",
        "{{ 'a\nb' | indent(1000000000) }}",
        "{{ 'a\nb' | indent(width=1000000000) }}",
        "{{ {} | tojson(indent=1000000000) }}",
    ] {
        refused(source, &["limit", "indentation", "format", "width", "precision"]);
    }
}

/// Lists inside lists: printing, comparing and dropping them walks down.
#[test]
fn deep_and_shared_nesting() {
    let grow = |step: &str, use_it: &str| {
        format!(
            "{{% set ns = namespace(x=[1]) %}}{{% for i in range(99999) %}}{{% set ns.x = {step} %}}{{% endfor %}}{use_it}"
        )
    };
    for step in [
        "[ns.x]",
        "[ns.x, ns.x]",
        "{'a': ns.x, 'b': ns.x}",
        "(ns.x, ns.x)",
        "ns.x | batch(1) | list",
        "[ns.x] + [ns.x]",
        "dict(a=ns.x)",
        "namespace(a=ns.x)",
    ] {
        refused(&grow(step, ""), &["deep", "items", "limit"]);
    }
    refused(&format!("{{{{ {}1{} }}}}", "[".repeat(30_000), "]".repeat(30_000)), &["recursion", "operators"]);
    refused("{{ {[1]: 2} }}", &["key"]);
    refused("{{ {}[[1]] }}", &["key"]);
}

/// Namespaces can change, so they can form circles and long chains.
#[test]
fn circles_and_chains_of_namespaces() {
    let circle = "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}";
    for use_it in
        ["{{ a }}", "{{ a | tojson }}", "{{ a == b }}", "{{ a in [b] }}", "{{ [a] }}", "{{ a | items | list }}"]
    {
        refused(&format!("{circle}{use_it}"), &["deep", "items", "limit"]);
    }
    assert_eq!(render(circle).unwrap(), "");
    let chain = "{% set ns = namespace(head=none) %}{% for i in range(50000) %}{% set n = namespace() %}{% set n.next = ns.head %}\
                 {% set ns.head = n %}{% endfor %}done";
    assert_eq!(render(chain).unwrap(), "done");
}

/// What Python templates escape through: none of it exists.
#[test]
fn nothing_of_the_host_is_reachable() {
    for source in [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__['os'].system('id') }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self._TemplateReference__context }}",
        "{{ lipsum.__globals__ }}",
        "{{ request.application }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ debug() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% from 'x' import y %}",
        "{% extends 'base' %}",
        "{{ [].append(1) }}",
        "{{ messages[0].pop('role') }}",
        "{{ 'x' | attr('__class__') | attr('__base__') }}",
        "{{ open('/etc/passwd').read() }}",
        "{{ __import__('os') }}",
    ] {
        refused(source, &["undefined", "unknown", "template", "method", "not found"]);
    }
}

/// Nesting that the parser or the compiler would follow by recursion.
#[test]
fn sources_that_nest() {
    let n = 100_000;
    for source in [
        format!("{{{{ a{} }}}}", ".a".repeat(n)),
        format!("{{{{ a{} }}}}", "[0]".repeat(n)),
        format!("{{{{ a{} }}}}", "|list".repeat(n)),
        format!("{{{{ {}a }}}}", "not ".repeat(n)),
        format!("{{{{ {}1 }}}}", "-".repeat(n)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(n)),
        format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(n)),
        format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n)),
        format!("{}{}", "{% if 1 %}".repeat(n), "{% endif %}".repeat(n)),
        format!("{}{}", "{% for i in [1] %}".repeat(n), "{% endfor %}".repeat(n)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(n / 2)),
        "{{".repeat(n),
        "{%".repeat(n),
        "{#".repeat(n),
        "\n".repeat(n),
    ] {
        refused(&source, &["line", "longer"]);
        // The same in lines of a hundred characters.
        let is_one_line = !source.contains('\n');
        if is_one_line {
            let lines: Vec<String> =
                source.split_inclusive([' ', '[', '|', '(', ')', '{', '.', '-']).map(str::to_owned).collect();
            let source = lines.chunks(100).map(|line| line.concat()).collect::<Vec<_>>().join("\n");
            refused(&source, &["recursion", "operators", "elif", "syntax", "longer"]);
        }
    }
}

/// The longest chains that are let through, compiled and dropped.
#[test]
fn chains_within_the_limits() {
    for link in [".a", " | list", " + a", " ~ a", " if a else a", "[0]", " and a", "(a)", " is defined"] {
        for source in [format!("{{{{ a{} }}}}", link.repeat(2000)), format!("{{% set a = a{} %}}", link.repeat(1300))] {
            let _ = render(&source);
        }
    }
    assert!(render(&format!("{{{{ {}1 }}}}", "1 + ".repeat(4000))).unwrap() == "4001");
    assert!(
        render(&format!("{{{{ '{}'{} }}}}", "a".repeat(9), " | upper | lower".repeat(2000))).unwrap() == "aaaaaaaaa"
    );
    assert_eq!(render(&format!("{{% if 0 %}}{}{{% else %}}x{{% endif %}}", "{% elif 0 %}".repeat(400))).unwrap(), "x");
}

#[test]
fn limits_are_the_callers() {
    let template =
        ChatTemplate::from_source("{% for i in range(1000) %}{{ 'ab' }}{% endfor %}", SpecialTexts::default()).unwrap();
    let with = |limits| template.render_with(&[], false, &RenderOptions { limits, ..Default::default() });
    assert_eq!(with(Limits::default()).unwrap().len(), 2000);
    assert!(check(&with(Limits { steps: 100, ..Default::default() }).unwrap_err()).contains("steps"));
    assert!(check(&with(Limits { text_bytes: 1999, ..Default::default() }).unwrap_err()).contains("1999"));
    assert!(check(&with(Limits { source_bytes: 10, ..Default::default() }).unwrap_err()).contains("10 bytes"));
}

#[test]
fn a_long_conversation_is_well_inside_the_limits() {
    let template = ChatTemplate::from_source(
        "{% set ns = namespace(all='') %}{% for m in messages %}{% if m.role in ['user', 'assistant'] and m.content | trim %}\
         {% set ns.all = ns.all ~ '<|im_start|>' ~ m.role ~ '\n' ~ m.content %}{% endif %}{% endfor %}{{ ns.all | length }}",
        SpecialTexts::default(),
    )
    .unwrap();
    let messages: Vec<Message> =
        (0..600).map(|i| Message::new(["user", "assistant"][i % 2], "word ".repeat(40))).collect();
    assert_eq!(template.render(&messages, true).unwrap(), (600 * 213 + 300 * (4 + 9)).to_string());
}
