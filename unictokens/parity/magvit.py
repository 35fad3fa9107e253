"""Files `magvit*`: encoder outputs, codes and rebuilt pictures of the image tokenizer."""

import re

import torch

from unictokens.backbones.showo.image_tokenizer import Magvit, MagvitConfig
from unictokens.parity.vectors import Check, Vectors, fill, seeded


@torch.no_grad()
def check_magvit(vectors: Vectors) -> list[Check]:
    """All recorded tensors of one image tokenizer with seeded weights."""
    note = vectors.setting("note")
    base = re.search(r"ch\s*=\s*(\d+)", note)
    x_BCHW, z_BCHW, codes_BN = (vectors.get(key) for key in ("x", "z", "codes"))
    model = Magvit(MagvitConfig(base=int(base.group(1)) if base else 128, bits=z_BCHW.shape[1])).eval()
    fill(model, *seeded(note, 77, 0.05), restore=("quantize.embedding",))
    height, width = z_BCHW.shape[2:]
    checks = [
        vectors.close("z", model.encode_bits(x_BCHW)),
        vectors.exact("codes", model.codes(x_BCHW)),
        vectors.exact("zq", model.quantize.signs(codes_BN, height, width)),
        vectors.close("decoded", model.decode_codes(codes_BN, (height, width))),
    ]
    return checks + vectors.unknown(checks, {"x"})
