"""A random Qwen2 with a tokenizer and a chat template of its own: seconds to build, nothing to download.

It knows nothing; tests use it for shapes, protocols and training mechanics, never for quality.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONTEXT_LENGTH = 2048
END_OF_TURN = "<|im_end|>"
PADDING = "<|endoftext|>"

CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}
{% endif %}Tools:
{% for tool in tools %}{{ tool.function | tojson }}
{% endfor %}Call one with <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for message in messages if message.role != 'system' %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {% if call.function.arguments is string -%}
{{ call.function.arguments }}{% else %}{{ call.function.arguments | tojson }}{% endif %}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

_TEXT = (
    "What time is it in Paris when it is noon in Tokyo? Convert 3 miles to kilometres, please.",
    '{"name": "convert_time", "arguments": {"time": "12:00", "from": "Asia/Tokyo", "to": "Europe/Paris"}}',
    '{"type": "function", "function": {"name": "ask_user", "description": "Ask the user for required values",',
    '"parameters": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}}}',
    '{"name": "decline", "arguments": {"category": "out_of_scope", "reason": "No tool can do that."}}',
    "Tools: call one of them. The assistant answers the user; a tool gives its result. 0123456789",
)


def build_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Writes the model and its tokenizer into `folder` (made if need be) and returns it."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _build_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TURN),
        pad_token_id=tokenizer.convert_tokens_to_ids(PADDING),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
        _spread(model)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _spread(model: Any) -> None:
    """Widens the weights, so that answers differ by prompt and no token is a near tie with another."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)


def _build_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[PADDING, "<|im_start|>", END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_training_text(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    # Ordinary added tokens, not special ones: decoding that skips special tokens must keep the calls.
    tokenizer.add_tokens(["<tool_call>", "</tool_call>"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", END_OF_TURN]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _training_text() -> Iterator[str]:
    for _ in range(4):
        yield from _TEXT


def build_adapter(folder: Path, model: Path, seed: int = 0, *, rank: int = 8, strength: float = 1.0) -> Path:
    """Writes a random LoRA adapter of `model`, as PEFT saves it and without a manifest, and returns `folder`.

    Args:
        strength: how far it moves the model; 1 changes nearly every answer, 0 none.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base: Any = AutoModelForCausalLM.from_pretrained(model)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(base, LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, task_type="CAUSAL_LM"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_A" in name:
                parameter.normal_(generator=generator).mul_(parameter.shape[1] ** -0.5)
            elif "lora_B" in name:
                parameter.normal_(std=strength * 0.5, generator=generator)
    adapted.save_pretrained(str(folder))
    return folder
