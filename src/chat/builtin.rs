//! Templates by name, for files that carry none. Each writes the prompt format of its family in the shortest way.

/// Names and sources.
const TEMPLATES: &[(&str, &str)] = &[
    (
        "chatml",
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    (
        "llama2",
        "{% set ns = namespace(system='') %}{% for m in messages %}\
         {% if m.role == 'system' %}{% set ns.system = '<<SYS>>\n' ~ m.content ~ '\n<</SYS>>\n\n' %}\
         {% elif m.role == 'user' %}{{ bos_token }}[INST] {{ ns.system ~ m.content }} [/INST]{% set ns.system = '' %}\
         {% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}",
    ),
    (
        "llama3",
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n\
         {{ m.content | trim }}<|eot_id|>{% endfor %}\
         {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ),
    (
        "gemma",
        "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}\
         {% if m.role == 'system' %}{% set ns.system = m.content | trim ~ '\n\n' %}{% else %}\
         <start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ ns.system ~ m.content | trim }}<end_of_turn>\n\
         {% set ns.system = '' %}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    ),
    (
        "mistral",
        "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}\
         {% if m.role == 'system' %}{% set ns.system = m.content ~ '\n\n' %}\
         {% elif m.role == 'user' %}[INST] {{ ns.system ~ m.content }} [/INST]{% set ns.system = '' %}\
         {% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
    ),
    (
        "phi3",
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    ),
    (
        "zephyr",
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    ),
    (
        "vicuna",
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n\n\
         {% elif m.role == 'user' %}USER: {{ m.content }}\n{% else %}ASSISTANT: {{ m.content }}{{ eos_token }}\n{% endif %}\
         {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    ),
    (
        "deepseek",
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}\
         {% elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content }}<｜end▁of▁sentence｜>{% else %}{{ m.content }}{% endif %}\
         {% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %}",
    ),
    (
        "command-r",
        "{{ bos_token }}{% for m in messages %}<|START_OF_TURN_TOKEN|>\
         {{ {'system': '<|SYSTEM_TOKEN|>', 'user': '<|USER_TOKEN|>'}.get(m.role, '<|CHATBOT_TOKEN|>') }}\
         {{ m.content | trim }}<|END_OF_TURN_TOKEN|>{% endfor %}\
         {% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
    ),
];

/// The source of a template by name.
pub(super) fn source(name: &str) -> Option<&'static str> {
    TEMPLATES.iter().find(|template| template.0 == name).map(|template| template.1)
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|template| template.0)
}
