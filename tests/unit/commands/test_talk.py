"""Progress for people: one line that says how far everything is."""

import pytest

from fabnet_secure.commands import output
from fabnet_secure.commands.output import Talk
from fabnet_secure.pipeline.pool import Overall


@pytest.fixture
def later(monkeypatch):
    """A clock that the test moves."""
    now = [1000.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def test_several_videos_have_one_rate_and_one_end(later, capsys):
    """Videos done of all, frames a second over all, and an end that counts what is under way; 30 s apart in a file."""
    overall = Overall(Talk(started=1000.0, spoken=1000.0), 10)
    overall.news(0, 0, 100)
    later(29.0)
    overall.news(0, 90, 100)
    assert capsys.readouterr().err == ""
    later(1.0)
    overall.finished(0)
    assert capsys.readouterr().err == "videos: 1/10  3 frames/s  ETA 270 s\n"
    overall.news(1, 0, 200)
    later(31.0)
    overall.news(1, 100, 200)
    assert capsys.readouterr().err == "videos: 1/10  3 frames/s  ETA 346 s\n"


def test_a_watcher_has_no_end(later, capsys):
    """Nobody knows how many videos will come."""
    overall = Overall(Talk(started=1000.0, spoken=1000.0), None)
    overall.news(0, 0, 100)
    later(40.0)
    overall.finished(0)
    assert capsys.readouterr().err == "videos: 1  0 frames/s\n"


def test_private_figures_stay_off_files(later, capsys):
    """The loss is shown on a terminal only."""
    talk = Talk(started=1000.0, spoken=1000.0)
    talk.advance("step", 1, 10, loss=0.5)
    later(60.0)
    talk.advance("step", 6, 10, loss=0.4)
    assert capsys.readouterr().err == "step: 6/10  0.1/s  ETA 40 s\n"
