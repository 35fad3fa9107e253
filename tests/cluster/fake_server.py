"""A cluster's job server without a cluster."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cluster.submit import Attempt, Submission


@dataclass
class FakeServer:
    """A cluster that starts whatever it is given; `says` is what every driver writes, `late` what somebody sends first."""

    address: str = "http://cluster:8265"
    says: str = ""
    code: int = 0
    known: list[Attempt] = field(default_factory=list)
    sent: list[Submission] = field(default_factory=list)
    late: Attempt | None = None

    def submit(self, submission: Submission) -> bool:
        if self.late is not None:
            self.known.append(self.late)
        if any(each.id == submission.id for each in self.known):
            return False
        self.sent.append(submission)
        self.known.append(Attempt(id=submission.id, status="RUNNING", metadata=submission.metadata))
        return True

    def attempts(self, job: str = "") -> list[Attempt]:
        return [each for each in self.known if each.job and job in ("", each.job)]

    def attempt(self, identity: str) -> Attempt:
        return next(each for each in self.known if each.id == identity)

    def log(self, identity: str) -> str:
        return self.says

    def follow(self, identity: str) -> Iterator[str]:
        yield self.says[:10]
        yield self.says[10:]
        self.end(identity, "FAILED" if self.code else "SUCCEEDED", self.code)

    def stop(self, identity: str) -> None:
        self.end(identity, "STOPPED", None)

    def forget(self, identity: str) -> None:
        self.known = [each for each in self.known if each.id != identity]

    def end(self, identity: str, status: str, code: int | None) -> None:
        at = next(at for at, each in enumerate(self.known) if each.id == identity)
        self.known[at] = replace(self.known[at], status=status, exit_code=code)
