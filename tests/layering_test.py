"""The arrows between modules point one way, as read from their imports."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]

# A module of slstm may import those of a lower rank only.
RANKS = {
    'types': 0,
    'activations': 1,
    'parallel': 1,
    'coverage': 1,
    'stretch': 1,
    'surrogate': 1,
    'neurons': 2,
    'cells': 3,
    'encoders': 3,
    'fit_if': 3,
    'layerwise': 4,
    'wavefront': 4,
    'executor': 5,
    'importers': 4,
    'optimiser': 4,
    'fit_lif': 4,
    'model': 6,
    'rules': 5,
    'activity': 7,
    'counts': 8,
    'calibrate': 9,
    'checkpoint': 9,
    'energy': 9,
    'objective': 9,
    'train': 10,
    'convert': 10,
    'select': 11,
    '__init__': 12,
}


def imported(path):
  """Dotted names of all that a file imports, `from a import b` as a.b."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import, write it in full'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def assert_imports_none_of(folder, *forbidden):
  for path in sorted((ROOT / folder).rglob('*.py')):
    bad = [n for n in imported(path) if n.split('.')[0] in forbidden]
    assert not bad, f'{path.relative_to(ROOT)} may not import {bad}'


def test_slstm_knows_nothing_of_its_users():
  assert_imports_none_of('slstm', 'absl', 'experiments', 'third_party', 'tests',
                         'tensorflow_datasets')


def test_third_party_knows_nothing_of_its_users():
  assert_imports_none_of('third_party', 'slstm', 'experiments', 'tests')


def test_slstm_imports_lower_ranks_only():
  for path in sorted((ROOT / 'slstm').rglob('*.py')):
    assert path.stem in RANKS, f'{path.name}: add it to RANKS in this test'
    for name in imported(path):
      top, _, rest = name.partition('.')
      target = rest.split('.')[0] or '__init__'
      if top == 'slstm':
        rank = RANKS.get(target, RANKS['__init__'])
        assert rank < RANKS[path.stem], f'{path.name} may not import {name}'


def test_oracle_is_independent():
  oracle = ROOT / 'tests' / 'oracle.py'
  if oracle.exists():
    assert {n.split('.')[0] for n in imported(oracle)} == {'numpy'}
