"""Training a LoRA adapter for the embedded model on labelled pages. Needs requirements-training.txt."""
