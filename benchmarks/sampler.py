"""Drawing: every place of both halves at every step, as published, against text read once and code logits only."""

import argparse
import copy

import torch
from torch import Generator, Tensor

from benchmarks.shapes import shape
from benchmarks.timing import Result, Row, in_turn
from unictokens.backbones.base import GenerationRequest, Sampling
from unictokens.backbones.precision import DTYPES
from unictokens.backbones.showo.attention import drawing_mask
from unictokens.backbones.showo.backbone import ShowO
from unictokens.concepts.bank import ConceptBank
from unictokens.sampling import maskgit

PROMPT = "A photo of a brown dog with a red hat at the beach."


def add(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--shape", default="trial", help="mini, trial or full")
    parser.add_argument("--images", default="1,4", help="images drawn together, with commas")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="of ours; the plain path is float32"
    )
    parser.add_argument("--no-plain", action="store_true", help="leave the published algorithm out")
    parser.add_argument("--rounds", type=int, default=3)


def measure(options: argparse.Namespace) -> Result:
    """Seconds per image (codes only; decoding them to pixels is a column of its own) and the ratio."""
    plain_one = shape(options.shape).make().to(options.device)
    backbone = plain_one
    if DTYPES[options.precision] != torch.float32:
        backbone = copy.deepcopy(plain_one).to(options.device, DTYPES[options.precision])
    sampling = Sampling(steps=options.steps, guidance=options.guidance)
    nobody, rows = ConceptBank.empty(backbone.info.width), list[Row]()
    for images in (int(count) for count in options.images.split(",")):
        requests = [GenerationRequest((PROMPT,), seed, ()) for seed in range(images)]
        codes_BN = torch.zeros(images, backbone.config.num_vq_tokens, dtype=torch.long)
        works = [
            lambda wanted=requests: backbone.generate(wanted, nobody, sampling),
            lambda codes=codes_BN: backbone.decode(codes),
        ]
        if not options.no_plain:
            works.append(lambda count=images: plain_drawing(plain_one, count, sampling))
        ours, decoding, *plain = in_turn(works, options.rounds, backbone.device)
        row: Row = {"images": images, "ours s/image": ours / images, "decoding s/image": decoding / images}
        if plain:
            row |= {"plain s/image": plain[0] / images, "ratio": plain[0] / ours}
        rows.append(row)
    kept = ("shape", "steps", "guidance", "device", "precision")
    return Result("sampler", {name: getattr(options, name) for name in kept}, tuple(rows))


@torch.no_grad()
def plain_drawing(
    backbone: ShowO, images: int, sampling: Sampling, randomness: maskgit.Randomness | None = None
) -> Tensor:
    """Codes int64 [images, N] by the published loop: padded prompts, whole sequences, logits of the whole vocabulary.

    randomness  a number for each code of each place from one generator, as published, unless given
    """
    model, ids, sequences = backbone.language_model, backbone.vocabulary, backbone.sequences
    nobody, N = ConceptBank.empty(model.width).to(backbone.device), backbone.config.num_vq_tokens
    text = sequences.drawing_text(sequences.text((PROMPT,)))
    prompts_BT = torch.tensor([text] * images + [sequences.drawing_text([])] * images, device=backbone.device)

    def logits_of(codes_BN: Tensor) -> Tensor:
        hidden_BN = codes_BN == maskgit.HIDDEN
        codes_BN = (codes_BN + ids.code_offset).masked_fill(hidden_BN, ids.mask).repeat(2, 1)
        soi_B1, eoi_B1 = (codes_BN.new_full((2 * images, 1), number) for number in (ids.soi, ids.eoi))
        ids_BT = torch.cat([prompts_BT, soi_B1, codes_BN, eoi_B1], dim=1)
        none_BS = ids_BT.new_zeros(2 * images, 1)
        h_BTD = model.hidden(model.embed(ids_BT, nobody, none_BS), drawing_mask(ids_BT, ids.pad, ids.soi, ids.eoi))
        logits_BTV = model.logits(h_BTD.flatten(0, 1), nobody, none_BS.expand(ids_BT.shape).reshape(-1, 1))
        logits_BTV = logits_BTV.view(*ids_BT.shape, -1)
        conditional, unconditional = logits_BTV.chunk(2)
        guided = (1 + sampling.guidance) * conditional - sampling.guidance * unconditional
        return guided[:, -(N + 1) : -1, ids.code_offset : ids.mask][hidden_BN]

    start_BN = torch.full((images, N), maskgit.HIDDEN, device=backbone.device)
    randomness = randomness or Generator(backbone.device).manual_seed(0)
    return maskgit.decode(logits_of, start_BN, sampling.steps, sampling.temperature, randomness)[0]
