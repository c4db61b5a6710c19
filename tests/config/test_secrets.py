"""A secret among the engine's options is refused, and the environment variable named."""

import pytest
from pydantic import ValidationError

from medsent.config.job import VllmSettings

HELD = "do-not-show-me"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"hf_token": HELD}, ("hf_token holds", "set HF_TOKEN")),
        ({"token": HELD}, ("token holds", "set HF_TOKEN")),
        ({"api_key": HELD}, ("api_key holds", "set VLLM_API_KEY")),
        (
            {"model_loader_extra_config": {"aws_secret_access_key": HELD}},
            ("model_loader_extra_config.aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
        ),
        ({"download_dir": f"hf_{'a' * 34}"}, ("download_dir holds", "set HF_TOKEN")),
        ({"headers": [{"token": HELD}]}, ("headers.0.token holds", "set HF_TOKEN")),
        ({"tokens": ["x", f"hf_{'a' * 34}"]}, ("tokens.1 holds", "set HF_TOKEN")),
        ({"aws": HELD}, ("aws holds", "AWS_SECRET_ACCESS_KEY")),
        ({"proxy": f"https://me:{HELD}@proxy:1"}, ("proxy holds", "in the environment")),
    ],
)
def test_a_secret_is_refused(options: dict[str, object], told: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        VllmSettings.model_validate({"options": options})
    [problem] = caught.value.errors()
    for part in told:
        assert part in problem["msg"]
    assert HELD not in problem["msg"]


def test_what_only_sounds_like_one_is_none() -> None:
    options = {
        "token": True,
        "tokenizer": "owner/name",
        "max_num_batched_tokens": 8,
        "tokenizer_mode": "auto",
        "hf_overrides": {
            "pad_token_id": 3,
            **{f"{name}_token": "<x>" for name in ("pad", "eos", "bos", "unk", "image", "mask")},
        },
        "draws": "many",
        "hf_token": "",
        "api_key": " ",
    }
    assert VllmSettings.model_validate({"options": options}).options == options
