"""The settings of TensorFlow for CPUs: chosen before its import, and never over the user's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pa_keras
from pa_keras import cpu
from pa_keras.cli import run_command
from pa_keras.runs.folder import RunFolder
from pa_keras.runs.resume import warn_of_other_cpu_settings


def run(code, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        cwd=Path(pa_keras.__file__).parents[1],
    )


@pytest.mark.skipif(cpu.instruction_set() == "other", reason="the CPU has no AVX2")
def test_onednn_is_switched_on():
    result = run("import pa_keras; print(pa_keras.tune_cpu()['TF_ENABLE_ONEDNN_OPTS'])")
    assert result.stdout.strip() == "1", result.stderr


def test_settings_of_the_user_stay():
    code = "import os, pa_keras; pa_keras.tune_cpu(); print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    assert run(code, TF_ENABLE_ONEDNN_OPTS="0").stdout.strip() == "0"


def test_after_tensorflow_it_refuses():
    with pytest.raises(RuntimeError, match="before TensorFlow is imported"):
        pa_keras.tune_cpu()


def test_a_command_in_a_program_that_has_tensorflow_runs():
    assert "tensorflow" in sys.modules
    ran = []
    run_command(lambda: ran.append(True))
    assert ran


def test_nothing_is_said_before_the_first_line_of_a_command():
    code = """
from pa_keras.cli import run_command
def command():
    import tensorflow as tf
    tf.config.list_physical_devices("GPU")
    tf.ones(3)
run_command(command)
"""
    result = run(code)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_import_that_fails_shows_what_was_written(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'why it failed')\nraise OSError('no library')\n"
    )
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from pa_keras import cpu
cpu.instruction_set = lambda: "AVX2"
cpu.import_tensorflow_quietly()
"""
    result = run(code)
    assert result.stderr.startswith("why it failed") and "no library" in result.stderr


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("fpu sse4_2 avx2 avx512f avx512_vnni", "AVX-512 VNNI"),
        ("fpu sse4_2 avx2 avx512f", "AVX-512"),
        ("fpu sse4_2 avx2", "AVX2"),
        ("fpu sse4_2 avx", "other"),
        ("", "other"),
    ],
)
def test_instruction_set(flags, found):
    assert cpu.instruction_set(f"model name : avx2 of a kind\nflags\t: {flags}\n") == found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("200000 100000\n", 2),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("max 100000", None),
        ("", None),
        ("nonsense", None),
        ("100 0", None),
    ],
)
def test_the_time_limit_of_a_container(text, number):
    assert cpu.quota(text) == number


def test_threads_follow_the_time_limit(monkeypatch):
    monkeypatch.setattr(cpu, "quota", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    assert cpu._best_settings()["TF_NUM_INTRAOP_THREADS"] == "1"
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert "TF_NUM_INTRAOP_THREADS" not in cpu._best_settings()


@pytest.mark.parametrize("began", ["TF_ENABLE_ONEDNN_OPTS=0", cpu.DEFAULTS])
def test_a_resumed_run_with_other_settings_says_so(tmp_path, caplog, monkeypatch, began):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    folder = RunFolder(tmp_path)
    folder.write_versions()
    warn_of_other_cpu_settings(folder)
    assert not caplog.records
    versions = json.loads(folder.versions.read_text())
    folder.versions.write_text(json.dumps({**versions, "cpu_settings": began}))
    warn_of_other_cpu_settings(folder)
    assert "TF_ENABLE_ONEDNN_OPTS=1" in caplog.text


@pytest.mark.parametrize("text", [None, "", "[]", '{"cores": 2}'])
def test_a_run_without_recorded_settings_is_resumed(tmp_path, caplog, text):
    folder = RunFolder(tmp_path)
    if text is not None:
        folder.versions.write_text(text)
    warn_of_other_cpu_settings(folder)
    assert not caplog.records


@pytest.mark.parametrize("closed", ["import os; os.close(2)", "import sys; sys.stderr = None"])
def test_a_command_runs_with_stderr_closed(closed):
    code = "from pa_keras.cli import run_command; run_command(lambda: print('ran'))"
    result = run(f"{closed}; {code}")
    assert (result.returncode, result.stdout) == (0, "ran\n")


def test_a_command_runs_where_no_folder_is_writable():
    code = """
import tempfile
def refuse(*arguments, **options):
    raise FileNotFoundError("No usable temporary directory found")
tempfile.TemporaryFile = refuse
from pa_keras.cli import run_command
run_command(lambda: print('ran'))
"""
    result = run(code)
    assert (result.returncode, result.stdout) == (0, "ran\n")
