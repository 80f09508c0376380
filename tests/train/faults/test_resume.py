"""A run that was killed goes on as if it had not been, on as many ranks as there are then."""

import shutil

import pytest

pytestmark = pytest.mark.slow


def test_killed_and_resumed_repeats_every_bit(jobs):
    whole = jobs("whole").write().finish(plan=False)
    assert len(whole) == 100
    job = jobs("killed").write()
    job.start(plan=False).until_step(45).kill()
    assert job.finish(plan=False) == whole


def test_two_ranks_killed_go_on_as_two_as_three_and_as_one(jobs):
    whole = jobs("whole").write().finish(ranks=2)
    assert len(whole) == 100
    killed = jobs("killed").write()
    killed.start(ranks=2).until_step(45).kill()
    before = killed.losses()
    assert before == whole[: len(before)]
    assert 40 <= int(killed.saved()[-1].removeprefix("step_")) < 100
    for ranks in (2, 3, 1):
        job = jobs(f"on {ranks}")
        shutil.copytree(killed.folder, job.folder, dirs_exist_ok=True)
        losses = job.finish(ranks=ranks)
        if ranks == 2:
            assert losses == whole
        else:
            assert losses == pytest.approx(whole, rel=1e-9)
