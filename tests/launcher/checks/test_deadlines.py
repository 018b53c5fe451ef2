import pytest

from launcher.checks import deadlines
from launcher.checks.gateway_settings import GatewaySettings
from launcher.checks.result import Status
from launcher.settings import load_settings
from launcher.tracks import Track


@pytest.mark.parametrize(
    ("deadline", "status"),
    [(345, Status.OK), (355, Status.OK), (356, Status.WARNING), (360, Status.FAILURE)],
)
def test_the_predict_deadline_leaves_time_for_the_reply(deadline: float, status: Status) -> None:
    row = deadlines.check_predict(GatewaySettings(predict_deadline_s=deadline), Track.METAX)
    assert row.status is status
    assert row.limit == "360 s of track metax"
    assert status is Status.OK or "PREDICT_DEADLINE_S=345" in row.advice


@pytest.mark.parametrize(
    ("budget", "track", "status"),
    [
        ("170", Track.METAX, Status.OK),
        ("178", Track.METAX, Status.WARNING),
        ("180", Track.MTHREADS, Status.FAILURE),
        ("180", Track.PARATERA, Status.OK),
        ("0", Track.METAX, Status.WARNING),
    ],
)
def test_the_health_budget_ends_before_the_track_s(
    budget: str, track: Track, status: Status
) -> None:
    settings = load_settings({"HEALTH_BUDGET_S": budget})
    assert deadlines.check_health(settings, track).status is status


def test_without_a_track_there_is_no_limit() -> None:
    assert deadlines.check_predict(GatewaySettings(), None).status is Status.SKIPPED
    assert deadlines.check_health(load_settings({}), None).status is Status.SKIPPED


def test_one_question_at_a_time_is_a_warning() -> None:
    assert deadlines.check_mode(GatewaySettings()).status is Status.OK
    assert deadlines.check_mode(GatewaySettings(batch_mode=False)).status is Status.WARNING
