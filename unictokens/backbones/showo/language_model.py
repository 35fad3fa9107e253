"""Show-o's transformer: transformers' Phi with q/k LayerNorm, and learned concept rows beside its frozen tables.

The tables are never resized: `embed` looks learned ids up in a bank, `logits` appends the bank's rows to the head.
Module names are the published checkpoint's (`showo.model...`, `showo.lm_head`). Only this file knows transformers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unictokens.concepts.bank import ConceptBank
from unictokens.concepts.tokenizer import ROW_STRIDE
from unictokens.errors import CheckpointError, ConceptError, DependencyError


def _phi(values: Mapping[str, Any], vocabulary: int, attention: str) -> Any:
    try:
        from transformers import PhiConfig, PhiForCausalLM
    except ModuleNotFoundError as error:
        raise DependencyError("Show-o needs the library 'transformers': pip install transformers") from error
    # Show-o forces these, whatever the language model's own file says.
    forced = {"vocab_size": vocabulary, "qk_layernorm": True, "use_cache": False, "tie_word_embeddings": False}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    try:
        config = PhiConfig(**{**values, **forced, **ends})
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"language model values are impossible ({error}): correct 'phi' in config.json"
        ) from error
    config._attn_implementation = attention
    made: Any = PhiForCausalLM(config)
    if config.hidden_act == "gelu_new":
        for layer in made.model.layers:
            layer.mlp.activation_fn = _Gelu(layer.mlp.activation_fn)
    return made


class _Gelu(nn.Module):
    """Phi's activation in one kernel instead of eight where that is the same number.

    In float32 it is; in bfloat16 the published model rounds after each of the eight, which its recorded logits show. On a
    GPU, where those eight passes over memory would cost more than the products beside them, it is one all the same.
    """

    def __init__(self, spelt_out: nn.Module) -> None:
        super().__init__()
        self.spelt_out = spelt_out

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(x, approximate="tanh") if x.dtype == torch.float32 or x.is_cuda else self.spelt_out(x)


class KeyValues:
    """Keys and values of what was already read (transformers' DynamicCache); `length` places so far."""

    def __init__(self) -> None:
        from transformers import DynamicCache

        self.layers = DynamicCache()

    @property
    def length(self) -> int:
        """Places read so far."""
        return int(self.layers.get_seq_length())

    @property
    def depth(self) -> int:
        """Layers that have read."""
        return len(self.layers.layers)

    def of(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, T, E] of one layer."""
        kept: Any = self.layers.layers[layer]
        return kept.keys, kept.values


class LanguageModel(nn.Module):
    """The transformer over a vocabulary of V ids, width D.

    `phi` are PhiConfig values; `attention` is how transformers computes attention. Inputs are embeddings, masks are
    always 4-D [B, 1, queries, keys], boolean (True = attend) or additive floats.
    """

    def __init__(self, phi: Mapping[str, Any], vocabulary: int, attention: Literal["sdpa", "eager"] = "sdpa") -> None:
        super().__init__()
        self.showo = _phi(phi, vocabulary, attention)
        self.vocabulary = vocabulary
        self.attention = attention

    @property
    def width(self) -> int:
        """Hidden width D."""
        return int(self.showo.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where it computes; its weights may wait elsewhere until they are needed."""
        return self.showo.model.rotary_emb.inv_freq.device

    @property
    def embed_VD(self) -> Tensor:
        """Frozen embedding rows [V, D]."""
        return self.showo.model.embed_tokens.weight

    @property
    def head_VD(self) -> Tensor:
        """Frozen head weights [V, D]."""
        return self.showo.lm_head.weight

    @property
    def bias_V(self) -> Tensor:
        """Frozen head biases [V]."""
        return self.showo.lm_head.bias

    def restore_frequencies(self, device: torch.device | None = None) -> None:
        """Compute the rotary frequencies anew, in float32 on `device` (by default where the weights are).

        They are in no checkpoint, so a model built on the meta device lacks them; and a cast to bfloat16 would round them.
        """
        rotary = self.showo.model.rotary_emb
        with torch.device("cpu"):
            fresh = type(rotary)(self.showo.config)
        self.showo.model.rotary_emb = fresh.to(device or self.embed_VD.device)

    def cast(self, dtype: torch.dtype) -> None:
        """Change the weights' dtype in place; rotary frequencies stay float32, as in the published code."""
        self.to(dtype)
        self.restore_frequencies()

    def embed(self, ids_BT: Tensor, bank: ConceptBank, concepts_BS: Tensor) -> Tensor:
        """Ids int64 [B, T] to embeddings [B, T, D] in the weights' dtype.

        concepts_BS int64 [B, S] names, per batch row, the bank's concept of each concept number in the ids; -1 = none.
        Raises ConceptError when an id refers to a row that the bank does not have.
        """
        learned_BT = ids_BT >= self.vocabulary
        places = learned_BT.nonzero(as_tuple=True)
        x_BTD = self.showo.model.embed_tokens(ids_BT.masked_fill(learned_BT, 0))
        if places[0].numel() == 0:
            return x_BTD
        number_M, row_M = self._places(ids_BT[places])
        if int(number_M.max()) >= concepts_BS.shape[1]:
            raise ConceptError(
                f"a prompt uses concept number {int(number_M.max())} but names {concepts_BS.shape[1]}: list them in 'concepts'"
            )
        concept_M = concepts_BS[places[0], number_M]
        if bool((concept_M < 0).any()) or int(concept_M.max()) >= bank.concepts:
            raise ConceptError(
                f"a prompt names a concept that is not among the bank's {bank.concepts}: correct 'concepts'"
            )
        missing = row_M >= bank.rows_C[concept_M]
        if bool(missing.any()):
            raise ConceptError(
                f"a prompt uses learned row {int(row_M[missing][0])} but the concept has "
                f"{int(bank.rows_C[concept_M[missing][0]])} rows: use the layout it was trained with"
            )
        return x_BTD.index_put(places, bank.embed_CKD[concept_M, row_M].to(x_BTD.dtype))

    def frozen_rows(self, ids: Tensor) -> Tensor:
        """Embeddings [..., D] of frozen ids int64 [...] in the weights' dtype."""
        return self.showo.model.embed_tokens(ids)

    def hidden(
        self, x_BTD: Tensor, mask: Tensor, positions: Tensor | None = None, past: KeyValues | None = None
    ) -> Tensor:
        """Embeddings [B, T, D] to final hidden states [B, T, D].

        mask [B or 1, 1, T, past + T]; positions int64 [B or 1, T], counted on from the past unless given; `past` is read and extended.
        """
        return self._run(x_BTD, mask, positions, past).last_hidden_state

    def hidden_and_inner(
        self, x_BTD: Tensor, mask: Tensor, positions: Tensor | None, layers: tuple[int, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Final hidden states as `hidden` gives them, and those after each number of layers in `layers`; all [B, T, D]."""
        output = self._run(x_BTD, mask, positions, output_hidden_states=True)
        return output.last_hidden_state, tuple(output.hidden_states[layer] for layer in layers)

    def attention_weights(self, x_BTD: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Attention weights float32 [B, H, T, T] of every layer, rows sum to one.

        The fast kernels never have them, so this pass alone computes attention in plain operations.
        """
        config, usual = self.showo.config, self.attention
        try:
            self.attention = config._attn_implementation = "eager"
            output = self._run(x_BTD, mask, None, output_attentions=True)
        finally:
            self.attention = config._attn_implementation = usual
        return tuple(weights_BHTT.float() for weights_BHTT in output.attentions)

    def _run(
        self, x_BTD: Tensor, mask: Tensor, positions: Tensor | None, past: KeyValues | None = None, **asked: bool
    ) -> Any:
        if mask.dtype == torch.bool and self.attention == "eager":  # which adds its mask
            mask = torch.zeros_like(mask, dtype=x_BTD.dtype).masked_fill(~mask, torch.finfo(x_BTD.dtype).min)
        return self.showo.model(
            inputs_embeds=x_BTD,
            attention_mask=mask.expand(x_BTD.shape[0], -1, -1, -1),
            position_ids=positions,
            past_key_values=None if past is None else past.layers,
            use_cache=past is not None,
            **asked,
        )

    def compiled_hidden_and_inner(
        self,
    ) -> Callable[[Tensor, Tensor, Tensor | None, tuple[int, ...]], tuple[Tensor, tuple[Tensor, ...]]]:
        """`hidden_and_inner` through torch.compile, for training at fixed shapes (the first call takes about a minute).

        The rotary tables stay outside: inside, their sines would be computed again in every fused kernel.
        """
        rotary = self.showo.model.rotary_emb
        rotary.forward = torch.compiler.disable(rotary.forward)
        return torch.compile(self.hidden_and_inner, dynamic=False)

    def logits(self, h_MD: Tensor, bank: ConceptBank, concepts_MS: Tensor) -> Tensor:
        """Hidden states [M, D] to logits float32 [M, V + S * K].

        Frozen columns first, then K columns for each of the S concepts named by the row of concepts_MS (int64 [M, S]);
        absent concepts (-1) and padded rows are -inf.
        """
        frozen_MV = functional.linear(h_MD, self.head_VD, self.bias_V).float()
        return torch.cat([frozen_MV, self.learned_logits(h_MD, bank, concepts_MS)], dim=1)

    def learned_logits(self, h_MD: Tensor, bank: ConceptBank, concepts_MS: Tensor) -> Tensor:
        """The columns of `logits` behind the frozen ones, float32 [M, S * K]."""
        C, K, D = bank.head_CKD.shape
        if K == 0 or concepts_MS.shape[1] == 0:
            return torch.zeros(len(h_MD), 0, device=h_MD.device)
        all_MCK = (
            functional.linear(h_MD.to(bank.head_CKD.dtype), bank.head_CKD.reshape(C * K, D)).float().view(-1, C, K)
        )
        all_MCK = all_MCK + bank.bias_CK
        named_MSK = all_MCK.gather(1, concepts_MS.clamp(min=0)[:, :, None].expand(-1, -1, K))
        return named_MSK.masked_fill((concepts_MS < 0)[:, :, None], float("-inf")).flatten(1)

    def frozen_logits(self, h: Tensor, first: int, last: int) -> Tensor:
        """Logits float32 [..., last - first] of the frozen ids first..last-1 only, from hidden states [..., D]."""
        return functional.linear(h, self.head_VD[first:last], self.bias_V[first:last]).float()

    def _places(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        learned = ids - self.vocabulary
        return learned // ROW_STRIDE, learned % ROW_STRIDE
