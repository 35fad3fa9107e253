"""How far back the endpoint looks before it grows."""

import pytest

pytest.importorskip("ray.serve", reason="Ray Serve is not installed")

from serve.deployment import RAYS_LOOK_BACK, RAYS_REPORT, look_back


@pytest.mark.parametrize("grow_after", [0.5, 2.0, RAYS_REPORT, 12.0, 20.0, 600.0])
def test_the_mean_that_decides_has_reports_in_it_and_no_more_than_ray_takes(grow_after: float) -> None:
    """Where queues are told of sooner than Ray does by itself, they are told of that often; else one report at least must be in."""
    seconds = look_back(grow_after)
    assert seconds == grow_after if grow_after < RAYS_REPORT else RAYS_REPORT < seconds <= RAYS_LOOK_BACK
    assert seconds <= max(grow_after, 1.5 * RAYS_REPORT), "a queue that has just grown must not wait for older ones"
