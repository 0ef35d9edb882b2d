"""Fails unless the wheel holds the package and its configs, and nothing else."""

import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
strange = [n for n in names if not n.startswith("pa_keras/") and ".dist-info/" not in n]
needed = {
    "pa_keras/py.typed",
    "pa_keras/configs/glyphs.yaml",
    "pa_keras/configs/compare/glyphs.yaml",
    "pa_keras/configs/recipes/reference.yaml",
    "pa_keras/fit.py",
}
if strange or not needed <= set(names):
    sys.exit(f"unexpected in the wheel: {strange}; missing: {sorted(needed - set(names))}")
sys.stdout.write(f"{len(names)} files in the wheel, as they should be\n")
