"""The arrows between modules point one way, as read from their imports."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]

# A module of slstm may import those of an earlier line only.
RANKS = (
    'types',
    'padding',
    'activations integer neurons parallel',
    'borders integer_check sigma_delta',
    'cells',
    'scan',
    'wavefront',
    'model',
    'checkpoint weights_h',
    'activity calibrate export_c export_jax importers.stack integer_file'
    ' quantise stream tasks',
    'fitting front importers.keras importers.linen importers.nnx'
    ' importers.torch operations',
    'convert energy importers.to_torch train',
    'importers',
    'select',
    '__init__',
)

# A module of experiments, or all of a folder, may import those of its own and
# earlier lines. What is not named here is a program, the last of them.
LAYERS = (
    'augment binary config disk progress traces',
    'lock',
    'runs',
    'datasets',
    'configs stages',
    'reporting',
    'bench provenance',
)


def imported(path):
  """Dotted names of all that a file imports, `from a import b` as a.b."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import, write it in full'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def modules(package):
  """Path of each module of a package, by dotted name; its own is the folder."""
  paths = sorted((ROOT / package).rglob('*.py'))
  assert paths, f'{package} has no modules'
  names = ['.'.join(p.relative_to(ROOT).with_suffix('').parts) for p in paths]
  return {
      name.removesuffix('.__init__'): path for name, path in zip(names, paths)
  }


def imports_within(package):
  """For each module of a package, those of the package that it imports."""
  paths = modules(package)

  def module_of(name):
    """`a.b.f` is of the module a.b, if a.b.f is none."""
    while name and name not in paths:
      name = name.rpartition('.')[0]
    return name

  return {
      name: {module_of(found) for found in imported(path)} - {'', name}
      for name, path in paths.items()
  }


def find_cycle(graph):
  """A list of names, each of which imports the next one; empty if none."""
  done = set()

  def visit(name, path):
    if name in path:
      return path[path.index(name):] + [name]
    if name in done:
      return []
    done.add(name)
    cycles = (visit(other, path + [name]) for other in sorted(graph[name]))
    return next(filter(None, cycles), [])

  return next(filter(None, (visit(name, []) for name in sorted(graph))), [])


def layer_of(name, layers):
  """Index of the entry that has a module of `experiments`, else the last."""
  top = name.split('.')[1] if '.' in name else '__init__'
  places = [k for k, entry in enumerate(layers) if top in entry.split()]
  return places[0] if places else len(layers)


def assert_imports_none_of(package, *forbidden):
  for name, path in modules(package).items():
    bad = [n for n in imported(path) if n.split('.')[0] in forbidden]
    assert not bad, f'{name} may not import {bad}'


def test_slstm_knows_nothing_of_its_users():
  assert_imports_none_of('slstm', 'absl', 'experiments', 'ml_collections',
                         'third_party', 'tests', 'tensorflow_datasets')


def test_experiments_know_nothing_of_tests():
  assert_imports_none_of('experiments', 'tests')


def test_third_party_knows_nothing_of_its_users():
  assert_imports_none_of('third_party', 'slstm', 'experiments', 'tests')


def test_slstm_imports_lower_ranks_only():
  ranks = {name: k for k, row in enumerate(RANKS) for name in row.split()}
  graph = imports_within('slstm')
  short = lambda name: name.partition('.')[2] or '__init__'
  assert set(map(short, graph)) == set(ranks), 'RANKS has other modules'
  for name, others in graph.items():
    for other in others:
      assert ranks[short(other)] < ranks[short(
          name)], f'{name} may not import {other}'


def test_experiments_import_no_later_layers_and_have_no_cycles():
  graph = imports_within('experiments')
  for entry in ' '.join(LAYERS).split():
    assert any(name.split('.')[1:2] == [entry]
               for name in graph), f'LAYERS names {entry}, which is not there'
  for name, others in graph.items():
    for other in others - {'experiments'}:
      assert layer_of(other, LAYERS) <= layer_of(
          name, LAYERS), f'{name} may not import {other}'
  cycle = find_cycle(graph)
  assert not cycle, f'imports go in a circle: {" > ".join(cycle)}'


def test_a_cycle_is_found():
  assert not find_cycle({'a': {'b', 'c'}, 'b': {'c'}, 'c': set()})
  graph = {'a': {'b'}, 'b': {'c'}, 'c': {'d', 'b'}, 'd': set()}
  assert find_cycle(graph) == ['b', 'c', 'b']


def test_a_layer_is_that_of_the_module_or_of_its_folder():
  layers = ('config', 'runs reporting')
  found = [
      layer_of(f'experiments.{name}', layers)
      for name in ('config', 'runs', 'reporting.load', 'pipeline')
  ]
  assert found == [0, 1, 1, 2]


def test_oracle_is_independent():
  """Fails if the file is missing, too."""
  oracle = ROOT / 'tests' / 'oracle.py'
  assert {name.split('.')[0] for name in imported(oracle)} == {'numpy'}
