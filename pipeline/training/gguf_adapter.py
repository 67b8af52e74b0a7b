"""Write a LoRA adapter as a GGUF file, which llama.cpp loads beside the base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch


def write_adapter(peft_model: Any, path: Path) -> None:
    """Write the adapter of a PEFT model, in 16-bit floats. Raises ValueError for a tensor that GGUF has no name for."""
    config, lora = peft_model.config, peft_model.peft_config["default"]
    architecture = config.model_type
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(lora.lora_alpha))
    for name, tensor in sorted(lora_tensors(peft_model).items()):
        module, _, side = name.rpartition(".lora_")
        target = names.get_name(module.removeprefix("base_model.model."))
        if target is None:
            raise ValueError(f"{module} has no name in GGUF")
        values = tensor.detach().float().cpu().numpy()
        if architecture == "llama" and side == "B" and module.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if module.endswith("q_proj") else config.num_key_value_heads
            values = _permuted(values, heads)
        writer.add_tensor(f"{target}.weight.lora_{side.lower()}", values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def lora_tensors(peft_model: Any) -> dict[str, torch.Tensor]:
    """The tensors of the adapter, as `<module>.lora_A` and `<module>.lora_B`."""
    return {
        name.replace(".default.weight", ""): value
        for name, value in peft_model.state_dict().items()
        if ".lora_A." in name or ".lora_B." in name
    }


def _permuted(values: Any, heads: int) -> Any:
    """The rows as llama.cpp orders queries and keys of Llama models: the halves of a head interleaved."""
    shape = values.shape
    return values.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
