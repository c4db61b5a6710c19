"""A small tokenizer, in the place of a model: actors that are killed start quickly again."""

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from medsent.answers.methods.onepass import REFERENCE
from medsent.config.labels import LABELS

_VOCABULARY = 1_000
_BOS = "<bos>"


def write_tokenizer(folder: Path) -> Path:
    """Write a folder that serves as `model.source` of a scripted job; return it.

    Every label is one token, as is every digit: all methods can be used with it.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(False)])
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_BOS],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word}" for word in (*LABELS, REFERENCE)], trainer)
    folder.mkdir(parents=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=_BOS).save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    return folder
