"""What every test shares: the asynchronous backend, and which modules are the slower ones."""

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

# Their tests start programs, wait, or draw: left out of `scripts/test unit`, which is to be quick.
PROCESS_MODULES = frozenset(
    {
        "tests.benchmarks.test_fanout_prober",
        "tests.chaos.test_chaos",
        "tests.chaos.test_interrupt",
        "tests.chaos.test_soak",
        "tests.evaluator.test_answer_command",
        "tests.evaluator.test_answering",
        "tests.evaluator.test_compare",
        "tests.evaluator.test_diff",
        "tests.evaluator.test_health",
        "tests.evaluator.test_html",
        "tests.evaluator.test_humaneval_generate",
        "tests.evaluator.test_humaneval_score",
        "tests.evaluator.test_judge",
        "tests.evaluator.test_judge_command",
        "tests.evaluator.test_main",
        "tests.evaluator.test_sandbox",
        "tests.evaluator.test_sandbox_container",
        "tests.evaluator.test_scoring",
        "tests.evaluator.test_service",
        "tests.evaluator.test_third_party",
        "tests.fakes.test_engine",
        "tests.fakes.test_running",
        "tests.gateway.test_app",
        "tests.gateway.test_engines",
        "tests.gateway.test_fanout",
        "tests.gateway.test_groups",
        "tests.gateway.test_hostile_bytes",
        "tests.gateway.test_hostile_memory",
        "tests.gateway.test_hostile_requests",
        "tests.gateway.test_main",
        "tests.gateway.test_openapi_live",
        "tests.gateway.test_predict",
        "tests.gateway.test_readiness",
        "tests.gateway.test_status",
        "tests.gateway.test_status_feed",
        "tests.gateway.test_status_watch",
        "tests.gateway.test_tracing",
        "tests.launcher.checks.test_engine_flags",
        "tests.launcher.checks.test_gateway_settings",
        "tests.launcher.checks.test_git_facts",
        "tests.launcher.checks.test_hub_listing",
        "tests.launcher.checks.test_model_parts",
        "tests.launcher.checks.test_secrets",
        "tests.launcher.test_chat",
        "tests.launcher.test_doctor",
        "tests.launcher.test_engine_choice",
        "tests.launcher.test_engine_install",
        "tests.launcher.test_external",
        "tests.launcher.test_flags",
        "tests.launcher.test_guardian",
        "tests.launcher.test_guardian_ladder",
        "tests.launcher.test_guardian_watchdog",
        "tests.launcher.test_guardian_wrapper",
        "tests.launcher.test_install_step",
        "tests.launcher.test_interpreter",
        "tests.launcher.test_main",
        "tests.launcher.test_model_upload",
        "tests.launcher.test_models",
        "tests.launcher.test_plan",
        "tests.launcher.test_process_group",
        "tests.launcher.test_resolve",
        "tests.launcher.test_standalone",
        "tests.launcher.test_status",
        "tests.launcher.test_tool_install",
        "tests.launcher.test_uv",
        "tests.launcher.test_virtualenv",
        "tests.launcher.test_watchdog",
        "tests.test_dockerfile",
        "tests.test_serve",
    }
)

# Coverage measures the programs that these start, in which alone some of the code runs. It makes a
# program half as slow again: measured everywhere, they were a third of what this run costs.
MEASURED_MODULES = frozenset(
    {
        "tests.gateway.test_main",
        "tests.gateway.test_tracing",
        "tests.launcher.checks.test_hub_listing",
        "tests.launcher.test_external",
        "tests.launcher.test_guardian",
        "tests.launcher.test_main",
        "tests.launcher.test_model_upload",
        "tests.launcher.test_status",
    }
)

# The client of ModelScope reads them when it is imported, by whichever test is first.
os.environ["MODELSCOPE_DOWNLOAD_MAX_RETRIES"] = "1"
os.environ["MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS"] = "1"

# Whoever runs the tests in the background, as nohup or a CI runner does, has them ignore the
# signals that they test, and with them every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A time limit's or a CI runner's signal ends them as Ctrl-C does: what they started goes with them.
signal.signal(signal.SIGTERM, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# How long an example takes is the machine's business.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def coverage_of_programs() -> str | None:
    """Take away what has coverage measure every program that a test starts; return it."""
    return os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture(scope="module", autouse=True)
def measured_programs(
    request: pytest.FixtureRequest, coverage_of_programs: str | None
) -> Iterator[None]:
    """Have the programs measured where no other test reaches what they do."""
    if coverage_of_programs is None or request.module.__name__ not in MEASURED_MODULES:
        yield
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COVERAGE_PROCESS_CONFIG", coverage_of_programs)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and item.module.__name__ in PROCESS_MODULES:
            item.add_marker(pytest.mark.process)
