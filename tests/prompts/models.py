"""Small tokenizers of the kinds that models have, with chat templates of the kinds they have."""

import json

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteFallback, Fuse, Sequence
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import Metaspace as MetaspaceDecoder
from tokenizers.decoders import Replace as ReplaceDecoder
from tokenizers.models import BPE
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Split
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from medsent.config.labels import LABELS

# As Gemma's instruction-tuned models have it, for text alone: no system role, contents trimmed.
TRIMMED = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Mistral's: the system's words go before those of the last user turn.
INSTRUCTED = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\n\n' %}"
    "{% elif message['role'] == 'user' %}"
    "{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}{% set ns.system = '' %}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
INSTRUCTED = "{% set ns = namespace(system='') %}" + INSTRUCTED

CORPUS = [
    *LABELS,
    "Opinion of a patient: the nurse was kind, but I waited for two hours. Reader: Answer:",
    "Pani doktor była miła i wszystko spokojnie wyjaśniła. Opinia: Odpowiedź: żółć\n\n",
]


def gemma_like() -> PreTrainedTokenizerFast:
    """A tokenizer of Gemma's kind: bytes for what it lacks, added tokens for lines and tags."""
    named = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    learnt = Tokenizer(BPE())
    learnt.normalizer, learnt.pre_tokenizer = Replace(" ", "▁"), _gemmas_split()
    trainer = BpeTrainer(vocab_size=400, special_tokens=named, show_progress=False)
    learnt.train_from_iterator(CORPUS, trainer)
    model = json.loads(learnt.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for name in [f"<0x{byte:02X}>" for byte in range(256)]:
        vocabulary[name] = len(vocabulary)
    merges = [tuple(pair) for pair in model["merges"]]
    inner = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer, inner.pre_tokenizer = Replace(" ", "▁"), _gemmas_split()
    inner.decoder = Sequence([ReplaceDecoder("▁", " "), ByteFallback(), Fuse()])
    inner.add_special_tokens(named)
    own = ["\n\n", "\n\n\n", "▁▁", "<h1>", "<strong>"]
    inner.add_tokens([AddedToken(each, normalized=False) for each in own])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    made.chat_template = TRIMMED
    return made


def _gemmas_split() -> Split:
    return Split(" ", "merged_with_previous")


def byte_level() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes with ChatML's tokens, as Qwen's: no BOS, and one added word."""
    inner = Tokenizer(BPE())
    inner.pre_tokenizer, inner.decoder = ByteLevel(False), ByteLevelDecoder()
    trainer = BpeTrainer(vocab_size=700, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    inner.train_from_iterator(CORPUS, trainer)
    inner.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
    inner.add_tokens([AddedToken("<think>", normalized=False)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>")
    made.chat_template = CHATML
    return made


def metaspace() -> PreTrainedTokenizerFast:
    """A tokenizer that begins a text, and only a text, with a space, as Mistral's."""
    inner = Tokenizer(BPE(unk_token="<unk>"))
    inner.pre_tokenizer = Metaspace(prepend_scheme="first")
    inner.decoder = MetaspaceDecoder(prepend_scheme="first")
    named = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    alphabet = [chr(code) for code in (*range(32, 127), 10)]
    trainer = BpeTrainer(
        vocab_size=600, special_tokens=named, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    made.chat_template = INSTRUCTED
    return made


def tiny() -> PreTrainedTokenizerFast:
    """Six tokens; merging plain characters reaches the id of the special one."""
    vocabulary = {"<s>": 0, "<": 1, "s": 2, ">": 3, "<s": 4, "a": 5}
    inner = Tokenizer(BPE(vocabulary, [("<", "s"), ("<s", ">")]))
    inner.add_special_tokens([AddedToken("<s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>")
