"""schemathesis makes requests from the OpenAPI document, right and wrong ones: none is answered with a 5xx."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from people import Person
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.control import SkipTest

EXAMPLES = 8
"""Per route and kind of request, kept short here; raise it to search longer."""


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_breaks_the_server(eve: Person, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", eve.http.app)
    schema.config.generation.update(modes=[mode])
    asked: dict[int, int] = {}
    for operation in schema.get_all_operations():
        strategy = operation.ok().as_strategy(generation_mode=mode)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(headers=eve.headers)
            asked[answer.status_code] = asked.get(answer.status_code, 0) + 1
            case.validate_response(answer, checks=[not_a_server_error])

        try:
            ask()
        except SkipTest:
            continue  # nothing about this route can be wrong
    assert asked.get(400, 0) and not any(status >= 500 for status in asked), asked
