"""The starter model's shape: its tokenizer, its chat template and its architecture.

A Qwen2 causal LM with many thin layers: deciding is retrieval and assembly, not world knowledge. Its tokenizer keeps each word,
space, digit and punctuation run apart, so that a word is the same tokens in the request, in a tool's name and in the JSON that
is written. The chat template shows tools as one-line signatures; the reserved tools are known by heart and not shown.
"""

from collections.abc import Iterable
from typing import Any

from runtime.decision import CALL_CLOSE, CALL_OPEN, RESERVED_TOOLS

PIECES = 4096
"""Tokens that are learnt from texts; whole words come on top (`learner.vocabulary`)."""
TURN_START, TURN_END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

_WORDS = r"\p{Lu}?\p{Ll}+|\p{Lu}+|\p{L}|\p{N}|[^\S\n]|\n|[^\s\p{L}\p{N}]+"

CHAT_TEMPLATE = (
    f"{{%- set reserved = {sorted(RESERVED_TOOLS)!r} -%}}"
    """
{%- macro type(s) -%}
{%- if s.enum is defined -%}{{ s.enum | join('|') }}
{%- elif s.type is defined and s.type == 'array' -%}[{{ type(s['items']) if s['items'] is defined else 'any' }}]
{%- elif s.properties is defined -%}{ {{- fields(s) -}} }
{%- elif s.format is defined -%}{{ s.format }}
{%- elif s.type is defined and s.type is string -%}{{ s.type }}
{%- else -%}any{%- endif -%}
{%- endmacro -%}
{%- macro fields(p) -%}
{%- for name, s in (p.properties or {}).items() -%}
{{ name }}{{ '*:' if name in (p.required or []) else '?:' }}{{ type(s) }}{{ '' if loop.last else ' ' }}
{%- endfor -%}
{%- endmacro -%}
{%- if tools -%}<|im_start|>tools
{% for t in tools if t.function.name not in reserved -%}
{%- set f = t.function -%}{%- set p = f.parameters or {} -%}
{{ f.name }}({{ fields(p) }}) {{ f.description }}
{% endfor -%}<|im_end|>
{% endif -%}
{%- for m in messages -%}<|im_start|>{{ m.role }}
{% if m.content is string -%}{{ m.content }}{%- elif m.content -%}
{%- for part in m.content if part.type == 'text' -%}{{ part.text }}{%- endfor -%}{%- endif -%}
{%- for c in m.tool_calls or [] -%}<tool_call>{"name":{{ c.function.name | tojson }},"arguments":
{{- c.function.arguments if c.function.arguments is string else c.function.arguments | tojson(separators=(',', ':')) -}}
}</tool_call>{%- endfor -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
)


def train_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE over words, spaces, digits and punctuation runs; returns a PreTrainedTokenizerFast.

    Beside a config of Qwen2's, transformers reads it with Qwen2's way of splitting texts. The tokens are the same in all but odd
    places, for no merge crosses from one of these runs to another.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    special = [PAD, TURN_START, TURN_END]
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES - 2,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    # Ordinary, not special: what decodes with skip_special_tokens must still see them.
    bpe.add_tokens([AddedToken(CALL_OPEN, normalized=False), AddedToken(CALL_CLOSE, normalized=False)])
    return as_pretrained(bpe)


def as_pretrained(tokenizer: Any) -> Any:
    """A `tokenizers.Tokenizer` with the starter's control tokens as a PreTrainedTokenizerFast that renders its chat template."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=PAD,
        additional_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
        padding_side="left",
    )


CONTEXT = 2048
SIZES: dict[str, dict[str, Any]] = {
    "starter": {
        "hidden_size": 192,
        "num_hidden_layers": 8,
        "intermediate_size": 768,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
    },
    "starter-plus": {
        "hidden_size": 448,
        "num_hidden_layers": 11,
        "intermediate_size": 768,
        "num_attention_heads": 7,
        "num_key_value_heads": 7,
    },
    "tiny": {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "intermediate_size": 192,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


def build_model(size: str, tokenizer: Any) -> Any:
    """A freshly initialised Qwen2ForCausalLM of one of `SIZES`."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.02,
        use_cache=True,
        **SIZES[size],
    )
    return Qwen2ForCausalLM(config)
