import subprocess
import sys

import pytest

from pa_keras.datasets import NAMES, load


def test_the_nearest_name_is_offered():
    with pytest.raises(ValueError, match="glyphs, folder, .*received 'car196'.*mean 'cars196'"):
        load("car196")
    with pytest.raises(ValueError, match="mean 'manifest'"):
        load("Manifest")
    with pytest.raises(ValueError, match="For your own images: --dataset folder --data-dir PATH"):
        load("xyz")
    with pytest.raises(ValueError, match="mean 'tfds:NAME'"):
        load("tfds:")
    assert "glyphs" in NAMES


def test_a_path_in_place_of_a_name(tmp_path):
    with pytest.raises(ValueError, match=f"--dataset folder --data-dir {tmp_path}"):
        load(str(tmp_path))


def test_a_folder_without_the_name_of_the_dataset(tmp_path):
    with pytest.raises(ValueError, match="no data_dir with glyphs.*--dataset folder --data-dir"):
        load("glyphs", str(tmp_path))


def test_datasets_import_no_heavy_package():
    code = (
        "import sys, pa_keras.datasets; "
        "print({'tensorflow', 'keras', 'PIL', 'scipy', 'tensorflow_datasets'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
