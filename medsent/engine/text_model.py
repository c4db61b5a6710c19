"""The text model alone out of a multimodal checkpoint: a `vllm.general_plugins` hook."""


def register() -> None:
    """Teach vLLM the text models of wrappers; safe to call again."""
