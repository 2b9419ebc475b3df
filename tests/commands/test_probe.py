"""`verigap probe` from outside: the contract's keys, one line on mistakes, an interruption that can be resumed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

import empirical
import verigap as vg
from empirical.probe import ProbeSpec, read_probe
from fits.plain import json_text
from tests.commands.command import document, refused, verigap
from verigap.face import checkpoints

STUDY = Path(empirical.__file__).parent / "studies" / "trained" / "cpu-campaign.yaml"

needs_train = pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra")


@pytest.mark.train
@needs_train
def test_the_document_has_the_contracts_keys_and_is_what_is_written(tmp_path: Path):
    out = tmp_path / "probe.json"
    common = ["probe", STUDY, "--groups", "16", "--group-size", "4", "--weights", "200"]
    found = document(*common, "--processes", "1", "--out", out)
    assert {"arms", "pass_rate", "snr2", "noise_scale"} <= set(found)
    wanted = {"arm", "fpr", "fnr", "relative_speed", "ci", "effective_rollouts", "exploit_rate"}
    assert wanted <= set(found["arms"][0])
    assert [arm["arm"] for arm in found["arms"][:2]] == ["clean", "fpr0.4"]
    assert read_probe(out).pass_rate == found["pass_rate"]
    again = vg.probe(STUDY, groups=16, group_size=4, weights=200, processes=1)
    assert json.loads(json_text(again.plain())) | {"seconds": 0} == found | {"seconds": 0}
    assert "pass rate" in repr(again)
    assert list(tmp_path.iterdir()) == [out], "blocks are left behind"
    for one in found["by_group_size"]:
        for arm in one["arms"]:
            assert (arm["relative_speed"] is None) == (arm["relative_speed_reason"] is not None)
            if arm["relative_speed"] is not None:
                assert arm["ci"][0] <= arm["relative_speed"] <= arm["ci"][1]


def test_an_interruption_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(spec: ProbeSpec, *_: object, report, **__: object):
        report(3, spec.blocks)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "measure", interrupted)
    monkeypatch.setattr(checkpoints, "initial_weights", lambda *_: None)
    done = verigap("probe", STUDY, "--out", tmp_path / "x.json")
    assert (done.code, done.out) == (3, "")
    assert done.err == "verigap: interrupted after 24 of 256 prompts; the same command goes on\n"


def test_what_the_hub_serves_today_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def interrupted(*_: object, **__: object):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "probe", interrupted)
    paper = STUDY.with_name("qwen2.5-gsm8k-paper.yaml")
    for asked, name in (
        ((), "Qwen/Qwen2.5-1.5B"),
        (("--model", "qwen2.5-0.5b"), "Qwen/Qwen2.5-0.5B"),
    ):
        said = verigap("probe", paper, *asked, "--out", tmp_path / "x.json").err.splitlines()[:-1]
        assert [line.split(":")[0] for line in said] == [f"model {name}", "data set openai/gsm8k"]
        assert said[0].endswith("it is what the Hub serves today; env.json says which commit")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["absent.yaml"], "absent.yaml: no such file"),
        ([STUDY, "--model", "x"], "--model x: no such model in study cpu-campaign, and no folder"),
        ([STUDY, "--model", STUDY.parent], "holds no config.json"),
        ([STUDY, "--out", STUDY.parent], "is a folder"),
        ([STUDY, "--group-size", "1"], "group-size"),
        ([STUDY, "--seed", "4294967296"], "seed"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[object], expected: str):
    assert expected in refused("probe", *arguments)
