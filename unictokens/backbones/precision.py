"""How exactly a backbone computes: the dtype of its frozen weights, and whether a GPU may shorten float32 products.

Learned rows, their optimizer and the losses are float32 in every case, and so are the image tokenizer, which decides signs,
and the rotary frequencies.
"""

import torch

from unictokens.config import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""Dtype of the frozen transformer."""


def set_products(precision: Precision) -> None:
    """Tell torch, for this whole process, how to multiply float32 numbers; its own default shortens convolutions on GPUs."""
    short = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = short
    torch.backends.cudnn.allow_tf32 = short
