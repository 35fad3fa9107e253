"""Files `phi_*`: logits, loss and gradients of the transformer alone."""

import json
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from unictokens.backbones.showo.language_model import LanguageModel
from unictokens.concepts.bank import ConceptBank
from unictokens.errors import DataError
from unictokens.parity.vectors import Check, Vectors, fill, seeded


def check_phi(vectors: Vectors) -> list[Check]:
    """Every recorded attention kind, with every recorded mask; bfloat16 where recorded."""
    masks = sorted((key for key in vectors.tensors if key.startswith("attn_")), reverse=True)
    if not masks:
        raise DataError(
            f"vector file '{vectors.name}' has no attention mask: it needs attn_additive_f32 or attn_allowed_u8"
        )
    checks: list[Check] = []
    kinds: tuple[Literal["sdpa", "eager"], ...] = ("sdpa", "eager")
    for kind in kinds:
        if any(f"_{kind}" in key and "bf16" not in key for key in vectors.tensors):
            checks += _attention_kind(vectors, kind, masks)
    checks += _half_precision(vectors, masks[0])
    weights = {key for key in vectors.tensors if key.startswith("sd.")}
    return checks + vectors.unknown(checks, {"input_ids", *masks, *weights})


def _attention_kind(vectors: Vectors, kind: Literal["sdpa", "eager"], masks: list[str]) -> list[Check]:
    model = _model(vectors, kind)
    checks: list[Check] = []
    for key in vectors.tensors:
        if key.startswith(f"logits_{kind}"):
            with torch.no_grad():
                checks.append(vectors.close(key, _logits(model, vectors, masks[0], _stride(vectors, key))))
            for other in masks[1:]:
                with torch.no_grad():
                    again = vectors.close(key, _logits(model, vectors, other, _stride(vectors, key)))
                checks.append(Check(f"{vectors.name}/{key}:{other}", again.difference, again.ok))
    tables = {"grad_embed": model.embed_VD, "grad_lmhead_w": model.head_VD, "grad_lmhead_b": model.bias_V}
    graded = [key for key in tables if f"{key}_{kind}" in vectors.tensors]
    if f"loss_{kind}" not in vectors.tensors and not graded:
        return checks
    # The recorded loss ignores nothing: every place predicts the next id.
    ids_BT = vectors.get("input_ids")
    logits_BTV = _logits(model, vectors, masks[0])
    loss = functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())
    if f"loss_{kind}" in vectors.tensors:
        checks.append(vectors.close(f"loss_{kind}", loss[None]))
    grads = torch.autograd.grad(loss, [tables[key] for key in graded]) if graded else ()
    return checks + [vectors.close(f"{key}_{kind}", grad) for key, grad in zip(graded, grads, strict=True)]


def _half_precision(vectors: Vectors, mask: str) -> list[Check]:
    """bfloat16 rounds differently on every kind of processor, so the recorded distance of bfloat16 from float32 is the limit."""
    key = "logits_bf16_sdpa_as_f32"
    if key not in vectors.tensors:
        return []
    model = _model(vectors, "sdpa")
    model.cast(torch.bfloat16)
    limit = float((vectors.get(key) - vectors.get("logits_sdpa")).abs().max())
    with torch.no_grad():
        return [vectors.close(key, _logits(model, vectors, mask, _stride(vectors, key)), limit)]


def _model(vectors: Vectors, attention: Literal["sdpa", "eager"]) -> LanguageModel:
    config = json.loads(vectors.setting("config"))
    model = LanguageModel(config, config["vocab_size"], attention)
    weights = {f"showo.{key[3:]}": tensor for key, tensor in vectors.tensors.items() if key.startswith("sd.")}
    if weights:
        model.load_state_dict(weights, strict=True)
    else:
        fill(model, *seeded(vectors.metadata.get("note", ""), 1234, 0.05))
    return model.train(False)


def _stride(vectors: Vectors, key: str) -> int:
    """Large recordings keep every n-th place only."""
    T, kept = vectors.get("input_ids").shape[1], vectors.get(key).shape[1]
    return next((n for n in range(1, T + 1) if -(-T // n) == kept), 1)


def _logits(model: LanguageModel, vectors: Vectors, mask_key: str, stride: int = 1) -> Tensor:
    """Logits float32 [B, ceil(T / stride), V]."""
    ids_BT, mask = vectors.get("input_ids"), vectors.get(mask_key)
    mask = mask if mask.is_floating_point() else mask.bool()
    bank, nobody_BS = ConceptBank.empty(model.width), torch.zeros(len(ids_BT), 1, dtype=torch.long)
    h_BTD = model.hidden(model.embed(ids_BT, bank, nobody_BS), mask)[:, ::stride]
    places = h_BTD.shape[1]
    return model.logits(h_BTD.flatten(0, 1), bank, nobody_BS.repeat_interleave(places, 0)).unflatten(0, (-1, places))
