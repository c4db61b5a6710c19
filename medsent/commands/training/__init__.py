"""Training LoRA adapters for an answer method, with peft and the transformers Trainer."""
