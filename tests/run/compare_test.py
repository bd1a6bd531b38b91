"""Tables of runs from their records."""

import json
import sys

import pytest

from gen_jax.run import compare

RECORD = {
  "step": 10, "data": "Digits", "n": 100, "split": "test", "n_reference": 90, "features": "digits", "seed": 0,
  "features_accuracy": 0.99, "neighbours": 5, "parameters": "EMA", "frechet": 2.5, "frechet_floor": 0.25, "kid": 0.125,
  "kid_error": 0.002, "kid_floor": 0.0, "seconds_per_image": 0.5, "evaluations_per_image": 32,
}  # fmt: skip


@pytest.fixture
def runs(tmp_path, monkeypatch):
  records = {
    "a": RECORD | {"log_prob": -80.0, "log_prob_error": 0.5, "log_prob_kind": "ELBO"},
    "b": RECORD | {"frechet": 1.5},
    "c": RECORD | {"n": 50},
  }
  for name, record in records.items():
    (tmp_path / name).mkdir()
    (tmp_path / name / "metrics.json").write_text(json.dumps(record))
  monkeypatch.chdir(tmp_path)
  return list(records)


def call(monkeypatch, *arguments):
  monkeypatch.setattr(sys, "argv", ["compare", *arguments])
  return compare.main()


def test_markdown(runs, monkeypatch, capsys):
  assert call(monkeypatch, *runs, "--markdown") == 0
  first, second = capsys.readouterr().out.split("50 samples")
  lines = [line for line in first.splitlines() if line.startswith("|")]
  assert lines[0] == "| run | parameters | Frechet | KID | log p, nats | s/image | NFE |"
  assert lines[2] == "| training images (floor) |  | 0.25 | 0 |  |  |  |"
  assert lines[3] == "| a | EMA, step 10 | 2.5 | 0.125 ± 0.002 | -80 ± 0.5 (ELBO) | 0.5 | 32 |"
  assert lines[4].startswith("| b | EMA, step 10 | 1.5 |")
  assert len(lines) == 5
  assert "| c |" in second and "| a |" not in second  # another n is another table


def test_names_are_shown_as_they_are(runs, monkeypatch, capsys, tmp_path):
  (tmp_path / "run[").mkdir()
  (tmp_path / "a").rename(tmp_path / "run[" / "b]:cat:")
  assert call(monkeypatch, "run[/b]:cat:") == 0
  assert "run[/b]:cat:" in capsys.readouterr().out


def test_table(runs, monkeypatch, capsys):
  assert call(monkeypatch, *runs) == 0
  assert "digits (accuracy 99.00%)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("other", ["[1, 2]", json.dumps({k: v for k, v in RECORD.items() if k != "step"})])
def test_overrides_are_shown_and_what_is_no_evaluation_is_named(runs, monkeypatch, capsys, tmp_path, other):
  (tmp_path / "b" / "metrics.json").write_text(json.dumps(RECORD | {"overrides": ["family.steps: 8 -> 16"]}))
  (tmp_path / "c" / "metrics.json").write_text(other)
  assert call(monkeypatch, *runs, "--markdown") == 2
  captured = capsys.readouterr()
  assert "| b | EMA, step 10; family.steps: 8 -> 16 | 2.5 |" in captured.out and "| a | EMA, step 10 |" in captured.out
  assert captured.err.startswith("error: c/metrics.json is not an evaluation")


def test_files_beside_the_runs_are_passed_over(runs, monkeypatch, capsys, tmp_path):
  (tmp_path / "bench.json").write_text("{}")
  assert call(monkeypatch, *runs, "bench.json") == 0
  assert "bench" not in "".join(capsys.readouterr())


def test_a_run_without_an_evaluation(runs, monkeypatch, capsys):
  assert call(monkeypatch, "a", "elsewhere") == 2
  assert capsys.readouterr().err == (
    "error: no metrics.json in elsewhere: python launch.py --mode=eval --workdir=elsewhere\n"
  )
