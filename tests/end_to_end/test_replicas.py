"""Several Keeps of one deployment, as commands show them: how many there are, and what they write."""

from __future__ import annotations

from tests.end_to_end.conftest import eventually
from tests.faults.conftest import deployment  # noqa: F401 - a fixture


def of_each(log: str) -> dict[str, list[str]]:
    """Its lines, by the id that each begins with."""
    found: dict[str, list[str]] = {}
    for line in log.splitlines():
        keep, bar, said = line.partition(" | ")
        assert bar, line
        found.setdefault(keep, []).append(said)
    return found


def test_a_scaled_number_holds_until_the_manifest_wants_another_and_logs_are_of_all(deployment):  # noqa: F811
    echo = deployment("[deploy.default]\nreplicas = 1\n")
    echo.scale(2)
    first = {keep.id for keep in echo.known()}
    following = echo.cli.start("logs", echo.name, "--follow", "--stream", "stdout")
    assert " | echo: listening" in following.stdout.readline()

    echo.change("another")
    project = ("-C", str(echo.project))
    planned = echo.does("plan", *project)
    assert (planned["action"], planned["replicas"], planned["asked"]) == ("replace", 2, 1)
    said = "2, as it was scaled to; the manifest wants 1, as before"
    assert said in echo.cli("plan", *project).stdout
    shown = echo.cli("up", *project)
    assert shown.returncode == 0, shown.stderr
    assert said in shown.stdout
    eventually(lambda: echo.is_whole(2), "two are left")
    second = {keep.id for keep in echo.known()}
    assert not first & second

    manifest = echo.project / "Enarx.toml"
    manifest.write_text(manifest.read_text().replace("replicas = 1", "replicas = 3"))
    record = echo.up(echo.project).record
    assert (record["replicas"], record["asked"]) == (3, 3)
    eventually(lambda: echo.is_whole(3), "three are left")
    third = {keep.id for keep in echo.known()}

    def logged() -> dict[str, list[str]]:
        """What is in the logs, when all Keeps have theirs: a line may be on its way while its Keep serves already."""
        found = of_each(echo.cli("logs", echo.name, "--stream", "stdout").stdout)
        return found if third <= found.keys() else {}

    so_far = eventually(logged, "each of the three has written")
    assert all(lines[0].startswith("echo: listening") for lines in so_far.values())
    assert echo.cli("logs", min(third), "--stream", "stdout").stdout.startswith("echo: listening")

    # Those that came are followed too, and with the last of them it is over.
    assert echo.cli("stop", echo.name, "--grace", "0").returncode == 0
    rest, _ = following.communicate(timeout=120)
    assert following.returncode == 0
    assert third <= of_each(rest).keys()
