"""Answering: the whole sequence again for every new id, as published, against keys and values kept."""

import argparse

import torch

from benchmarks.shapes import photos, shape
from benchmarks.timing import Result, in_turn
from unictokens.backbones.base import Decoding
from unictokens.backbones.showo.answering import Answering
from unictokens.backbones.showo.attention import understanding_mask
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.bank import ConceptBank
from unictokens.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--shape", default="trial", help="mini, trial or full")
    parser.add_argument("--ids", type=int, default=50, help="ids of an answer (50)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=3)


def measure(options: argparse.Namespace) -> Result:
    """Seconds of one answer about one photo, and the ratio; both give the same ids, which is checked."""
    backbone = shape(options.shape).make().to(options.device)
    codes_N = backbone.encode(photos(backbone, 1).to(options.device))[0]
    sequences = backbone.sequences
    prefix = sequences.image_prefix(sequences.code_ids(codes_N))
    # As much text as the model has room for: the sequence ends at its full length.
    text = sequences.question(("Describe the photo. " * 40,), answer_start=True)
    room = backbone.config.text_length - options.ids
    if room < 2:
        raise ConfigError(
            f"--ids {options.ids} leaves no room for a question in {backbone.config.text_length} text ids"
        )
    asked = [*text[: room - 1], text[-1]]
    found: dict[str, list[int]] = {}
    works = (
        lambda: found.update(plain=plain_answer(backbone, prefix, asked, options.ids)),
        lambda: found.update(ours=_ours(backbone, prefix, asked, options.ids)),
    )
    plain, ours = in_turn(works, options.rounds, backbone.device)
    if found["plain"][: len(found["ours"])] != found["ours"]:
        raise ConfigError("the two ways gave different ids: this comparison means nothing")
    row = {"ids": options.ids, "sequence": len(prefix) + len(asked) + options.ids, "plain s": plain, "ours s": ours}
    settings = {"shape": options.shape, "device": options.device, "rounds": options.rounds}
    return Result("answer", settings, ({**row, "ratio": plain / ours},))


@torch.no_grad()
def plain_answer(backbone: ShowO, prefix: list[int], asked: list[int], count: int) -> list[int]:
    """`count` greedy ids by the published loop, which reads everything again for each."""
    model, nobody = backbone.language_model, ConceptBank.empty(backbone.info.width).to(backbone.device)
    ids = [*prefix, *asked]
    for _ in range(count):
        ids_BT = torch.tensor([ids], device=backbone.device)
        none_BS = ids_BT.new_zeros(1, 1)
        mask = understanding_mask(len(prefix), len(ids)).to(backbone.device)
        h_TD = model.hidden(model.embed(ids_BT, nobody, none_BS), mask)[0]
        logits_TV = model.logits(h_TD, nobody, none_BS.expand(len(ids), 1))
        ids.append(int(logits_TV[-1].argmax()))
    return ids[-count:]


def _ours(backbone: ShowO, prefix: list[int], asked: list[int], count: int) -> list[int]:
    nobody = ConceptBank.empty(backbone.info.width).to(backbone.device)
    answering = Answering(backbone.language_model, backbone.vocabulary, backbone.tokenizer, nobody)
    return answering.decode([prefix], [asked], [()], Decoding(max_tokens=count))[0]
