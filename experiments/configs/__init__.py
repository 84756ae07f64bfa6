"""Configs of experiments: a file per data set, a variant after a colon.

  --config=experiments/configs/gsc.py:2x256_spiking

A file has `get_config(variant) -> Experiment`, and `VARIANTS`, what each
changes. Scores are in results/README.md, with commit and seeds.
"""

import difflib
import importlib
from typing import Any, Mapping

from experiments import config
from experiments.config import Experiment

# By name, the sections and options that each changes.
Variants = Mapping[str, dict[str, Any]]
FILES = ('har', 'gsc', 'mnist', 'npz')


def choose(experiment: Experiment, variants: Variants,
           variant: str) -> Experiment:
  """One of the variants of an experiment, or '' for the experiment itself."""
  if variant and variant not in variants:
    near = difflib.get_close_matches(variant, variants, 1, 0.5)
    hint = f'did you mean {near[0]!r}? ' if near else ''
    raise ValueError(f'no variant {variant!r}; {hint}There are '
                     f'{", ".join(variants)}.')
  return config.replace(experiment, **variants.get(variant, {}))


def every() -> dict[str, Experiment]:
  """All experiments, by what the command line calls them: 'har.py:2x64'."""
  found = {}
  for name in FILES:
    module = importlib.import_module(f'experiments.configs.{name}')
    found[f'{name}.py'] = module.get_config()
    for variant in module.VARIANTS:
      found[f'{name}.py:{variant}'] = module.get_config(variant)
  return found
