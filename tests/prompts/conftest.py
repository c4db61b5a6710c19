"""Tokenizers by the name of their kind."""

from typing import Any

import pytest

from tests.prompts.models import byte_level, gemma_like, metaspace


@pytest.fixture(scope="session")
def models(tokenizer: Any) -> dict[str, Any]:
    """Name to tokenizer: Gemma's without a chat template, and three small ones with theirs."""
    return {
        "plain": tokenizer,
        "trimmed": gemma_like(),
        "chatml": byte_level(),
        "instructed": metaspace(),
    }
