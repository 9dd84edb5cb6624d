"""The keys of the other tasks."""

from __future__ import annotations

from byol_jax.config import key
from byol_jax.config import names
from byol_jax.config.kinds import choice
from byol_jax.config.kinds import CLASSES
from byol_jax.config.kinds import COUNT
from byol_jax.config.kinds import FEW
from byol_jax.config.kinds import flag
from byol_jax.config.kinds import path
from byol_jax.config.kinds import POSITIVE
from byol_jax.config.kinds import text
from byol_jax.config.kinds import whole

SECTIONS = key.Sections()
_add = SECTIONS.add

_add(
    'prepare: shards of images', ('prepare',),
    output=('', path(), 'the folder to write'),
    short_side=(0, COUNT, 'pixels; 0: images stay as they are'),
    quality=(95, whole(above=0, at_most=100), 'quality of JPEGs that become smaller'),
    images_per_shard=(1024, POSITIVE, 'images a file'))
_add(
    'embed: features for use elsewhere', ('embed',),
    split=('train', text(), 'the part to encode'),
    formats=('npz,parquet', choice('npz', 'parquet', 'npz,parquet', 'parquet,npz'),
             'files to write'),
    runtime=('jax', choice('jax', 'onnx'), 'who computes; onnx: onnxruntime, faster on '
             'a CPU (docs/weights.md)'),
    float16=(False, flag(), 'whether features are written as float16'))
_add(
    'export: the encoder for other programs (docs/weights.md)', ('export',),
    format=('safetensors', choice('safetensors', 'timm', 'onnx', 'all'),
            'what is written: our own file; a folder for timm, transformers and '
            'torchvision; an ONNX graph'),
    preparation=(True, flag(), 'onnx: whether the graph prepares the images'),
    half=(False, flag(), 'onnx: whether it has float16 weights, of half the size'),
    licence=('', text(), "of the weights, for the model card, as in apache-2.0"))
_add('report: the page of a run (docs/report.md)', ('report',), images=(
    2000, POSITIVE, 'training images whose features are looked at'))
_add('preview: what a run would learn from', ('preview',), looked_at=(
    1000, POSITIVE, 'training images whose formats and oddities are looked for'))
_add('compare: a table over runs', ('compare',),
     workdirs=('', path(), 'separated by commas; * stands for many'))
_add(
    'study: a grid of pretrainings (docs/studies.md)', ('study',),
    axis=('methods', choice(*names.STUDIES), "what is varied, as in the paper's "
          'tables'),
    grid=('', text(), "cells in place of the axis's: 'NAME: KEY=VALUE KEY=VALUE; "
          "NAME: KEY=VALUE'"),
    by_method=('', text(), "what all cells of a method change, likewise: 'simclr: "
               "KEY=VALUE'"),
    seeds=(3, FEW, 'runs of each cell, the first with seed, the next with seed + 1'),
    reference=('', text(), "the cell that others are compared with; empty: the axis's "
               "own, or the grid's first"),
    figure=('linear', choice('linear', 'knn'), 'what study.svg shows'))
_add(
    'preflight: does the step fit a pod?', ('preflight',),
    topology=('v3-512', text(), 'the devices to compile for; or as in v3:16x16'),
    images=(1_281_167, POSITIVE, 'number of training images; none is opened'),
    classes=(1000, CLASSES, 'number of classes; 0: no labels'))
