"""A judge behind any endpoint that speaks OpenAI's chat protocol: a service, or a local server such as vLLM's."""

import base64
import hashlib
import json
import logging
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unictokens.atomic import write_json
from unictokens.errors import ConfigError, DependencyError
from unictokens.evaluation.judges import Case, Ruling

log = logging.getLogger(__name__)

SCALE = (0.0, 0.5, 1.0)
REPLY = re.compile(r"\s*(?:score\s*:+\s*)?(0|0\.0|0\.5|1|1\.0)\s*\.?\s*", re.IGNORECASE)
PASSING = (408, 409, 429, 500, 502, 503, 504)
"""Status codes after which it is worth asking again."""

RULES = {
    "answer": (
        "You grade an answer about a concept. Compare its content with the expected answer and ignore grammar and style. "
        "Reply with one number and nothing else: 1 if it says the same, 0.5 if part of it is right, 0 if it is wrong or off "
        "the point."
    ),
    "drawing": (
        "You grade a picture of a concept. The prompt refers to facts that are given to you and not to the painter. Reply with "
        "one number and nothing else: 1 if the picture shows what the facts demand of this prompt, 0.5 if it shows part of "
        "it, 0 if it does not."
    ),
}


@dataclass(frozen=True, kw_only=True)
class OpenAISettings:
    """Where and whom to ask.

    url       up to and with the version, "http://localhost:8000/v1"
    key_env   environment variable that holds the key; a local server may need none
    cache     folder for replies: the same case is never paid for twice
    retries   further attempts after a failure that may pass, with doubling pauses from `pause` seconds on
    """

    url: str
    model: str
    key_env: str = "OPENAI_API_KEY"
    cache: Path | None = None
    concurrency: int = 8
    retries: int = 4
    pause: float = 1.0
    timeout: float = 60.0


@dataclass
class Bill:
    """What a judge has done: requests sent, failed attempts, replies from the cache, tokens read and written."""

    requests: int = 0
    failures: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class OpenAIJudge:
    """Asks a language model. Raises ConfigError for an address or number that cannot be, at once."""

    def __init__(self, settings: OpenAISettings) -> None:
        if not settings.url.startswith(("http://", "https://")):
            raise ConfigError(
                f"judge address '{settings.url}' is no http address: write it like http://localhost:8000/v1"
            )
        if settings.concurrency < 1 or settings.retries < 0:
            raise ConfigError("a judge needs a concurrency of at least 1 and no negative number of retries")
        self.settings = settings
        self.bill = Bill()
        self._counting = threading.Lock()

    @property
    def name(self) -> str:
        """The model it asks."""
        return self.settings.model

    def judge(self, cases: Sequence[Case]) -> list[Ruling]:
        """One ruling per case; a reply that is not on the scale, or none at all, gives no score and says why.

        Raises DependencyError when the first answer says that the key or the address is wrong: no other would be better.
        """
        if not cases:
            return []
        first = self._rule(cases[0])
        with ThreadPoolExecutor(self.settings.concurrency) as threads:
            return [first, *threads.map(self._rule, cases[1:])]

    def _rule(self, case: Case) -> Ruling:
        body = {"model": self.settings.model, "messages": messages(case), "temperature": 0}
        reply = self._cached(body) or self._ask(body)
        if isinstance(reply, Ruling):
            return reply
        found = REPLY.fullmatch(reply)
        if found is None:
            return Ruling(None, f"the judge's reply is not one of 0, 0.5, 1: {reply[:200]!r}")
        self._keep(body, reply)
        return Ruling(float(found[1]), reply)

    def _ask(self, body: dict[str, Any]) -> str | Ruling:
        reason = ""
        for attempt in range(self.settings.retries + 1):
            if attempt:
                time.sleep(self.settings.pause * 2 ** (attempt - 1))
            self._count(requests=1)
            try:
                return self._send(body)
            except urllib.error.HTTPError as error:
                self._count(failures=1)
                reason = f"status {error.code}: {error.read(500).decode(errors='replace')}"
                if error.code in (401, 403, 404):
                    raise DependencyError(
                        f"judge '{self.settings.url}' refuses ({reason[:200]}): check --judge-url, the model's name and the "
                        f"key in {self.settings.key_env}"
                    ) from error
                if error.code not in PASSING:
                    break
            except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
                self._count(failures=1)
                reason = f"{type(error).__name__}: {error}"
        return Ruling(None, f"the judge did not answer ({reason[:200]})")

    def _send(self, body: dict[str, Any]) -> str:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.settings.key_env, "")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(
            self.settings.url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=self.settings.timeout) as response:
            said = json.loads(response.read())
        usage = said.get("usage") or {}
        self._count(
            prompt_tokens=int(usage.get("prompt_tokens", 0)), completion_tokens=int(usage.get("completion_tokens", 0))
        )
        return str(said["choices"][0]["message"]["content"])

    def _count(self, **numbers: int) -> None:
        with self._counting:
            for name, number in numbers.items():
                setattr(self.bill, name, getattr(self.bill, name) + number)

    def _path(self, body: dict[str, Any]) -> Path | None:
        if self.settings.cache is None:
            return None
        told = json.dumps([self.settings.url, body], sort_keys=True).encode()
        return self.settings.cache / f"{hashlib.sha256(told).hexdigest()}.json"

    def _cached(self, body: dict[str, Any]) -> str | None:
        path = self._path(body)
        if path is None or not path.is_file():
            return None
        try:
            reply = json.loads(path.read_text(encoding="utf-8"))["reply"]
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("'%s' is damaged: asking again", path)
            return None
        self._count(cached=1)
        return str(reply)

    def _keep(self, body: dict[str, Any], reply: str) -> None:
        path = self._path(body)
        if path is not None:
            write_json(path, {"reply": reply})


def messages(case: Case) -> list[dict[str, Any]]:
    """The conversation that asks for a verdict: rules, then the case, with the picture of a drawing."""
    told = f"What is known of the concept: {case.knowledge}\n"
    if case.picture is None:
        told += f"Question: {case.request}\nExpected answer: {case.expected}\nAnswer to grade: {case.answer}"
        content: Any = told
    else:
        told += f"Prompt: {case.request}\nFacts: {case.expected}"
        picture = base64.b64encode(case.picture.read_bytes()).decode()
        content = [
            {"type": "text", "text": told},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        ]
    return [{"role": "system", "content": RULES[case.kind]}, {"role": "user", "content": content}]
