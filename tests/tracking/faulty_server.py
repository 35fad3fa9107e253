"""A tracking server that fails on request."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FaultyServer:
    """MLflow's application. Each request takes the next word of `faults`:

    "500", "503", "413"  answered so, and nothing done
    "lost"               done, but answered 500
    a number             answered after so many seconds
    """

    uri: str = ""
    database: str = ""
    faults: list[str | float] = field(default_factory=list)
    requests: int = 0

    def wrap(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        def called(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            self.requests += 1
            fault = self.faults.pop(0) if self.faults else ""
            if isinstance(fault, float):
                time.sleep(fault)
            elif fault:
                if fault == "lost":
                    b"".join(app(environ, lambda *_: None))  # type: ignore[arg-type]
                start(f"{fault if fault != 'lost' else '500'} Broken", [("Content-Type", "text/plain")])
                return [b"broken"]
            return app(environ, start)

        return called
